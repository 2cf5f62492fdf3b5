package io.github.loomtorch.hub;

import static java.nio.charset.StandardCharsets.US_ASCII;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.regex.Pattern;

/**
 * A file as the hub announces it. Immutable.
 *
 * @param name plain, without a folder
 * @param hash the SHA-256 of a large file, else Git's SHA-1; the name of its blob in the cache
 * @param size in bytes
 */
record HubFile(String name, String hash, long size) {
    private static final Pattern HASH = Pattern.compile("[0-9a-f]{40}|[0-9a-f]{64}");

    HubFile {
        if (!HASH.matcher(hash).matches()) {
            throw new IllegalArgumentException("hash must be a SHA-256 or a SHA-1, got " + hash);
        }
        if (size < 0) {
            throw new IllegalArgumentException("size must be >= 0, got " + size);
        }
    }

    /** A digest that has the hash after all bytes of the file. */
    MessageDigest digest() {
        boolean isGit = hash.length() == 40;
        try {
            MessageDigest digest = MessageDigest.getInstance(isGit ? "SHA-1" : "SHA-256");
            if (isGit) {
                digest.update(("blob " + size + "\0").getBytes(US_ASCII));
            }
            return digest;
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java platform has SHA-1 and SHA-256", e);
        }
    }

    /** Ends the digest. */
    void check(MessageDigest digest) throws HubFailure {
        String got = HexFormat.of().formatHex(digest.digest());
        if (!got.equals(hash)) {
            throw HubFailure.permanent(name + ": expected the hash " + hash + ", got " + got);
        }
    }
}
