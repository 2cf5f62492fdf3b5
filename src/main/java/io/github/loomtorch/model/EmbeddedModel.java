package io.github.loomtorch.model;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;

/**
 * The model tales on the class path, which the jar with the classifier {@code tales} has. It is unpacked into the cache
 * folder, because weights are mapped from a file. Thread-safe, also between processes.
 */
public final class EmbeddedModel {
    /** A file, and what it must be. */
    private record Content(String name, long size, String sha256) {

        boolean isIn(Path directory) throws IOException {
            Path file = directory.resolve(name);
            if (!Files.isRegularFile(file) || Files.size(file) != size) {
                return false;
            }
            try (InputStream in = Files.newInputStream(file)) {
                return hash(in, (buffer, at) -> {}).equals(sha256);
            }
        }
    }

    private static final String RESOURCES = "io/github/loomtorch/models/tales/";
    private static final List<Content> FILES = List.of(
            new Content("config.json", 331, "0fdd1c2e400d2776862c061cdf3197ba1e7c63bbde003ee93eae872a100f7062"),
            new Content(
                    "model.safetensors",
                    38_901_648,
                    "b4588845523d1631484151b77e2ee9d3f2c5fcb56e40a46143478f7c032f81d9"));

    private static final int BUFFER_BYTES = 1 << 20;

    private EmbeddedModel() {}

    /**
     * Unpacks the model, unless it is there, whole and unchanged.
     *
     * @param loader finds the files on the class path
     * @param cache created if it is not there
     * @return the model's directory
     * @throws IOException if the model is not on the class path, or the cache cannot be written
     */
    public static Path unpack(ClassLoader loader, Path cache) throws IOException {
        Path directory =
                cache.resolve("tales-" + FILES.getLast().sha256().substring(0, 12)); // another version, another folder
        for (Content file : FILES) {
            if (!file.isIn(directory)) {
                unpack(loader, file, directory);
            }
        }
        return directory;
    }

    private static void unpack(ClassLoader loader, Content file, Path directory) throws IOException {
        try (InputStream in = loader.getResourceAsStream(RESOURCES + file.name())) {
            if (in == null) {
                throw new IOException("the embedded model must be on the class path, got no " + RESOURCES + file.name()
                        + "; add the dependency io.github.loomtorch:loomtorch with the classifier tales, put loomtorch-tales.jar"
                        + " beside loomtorch.jar, or name another model");
            }
            create(directory);
            TemporaryFile.write(directory.resolve(file.name()), output -> {
                String sha256 = hash(in, output);
                if (!sha256.equals(file.sha256())) {
                    throw new IOException("embedded " + file.name() + " must have SHA-256 " + file.sha256() + ", got "
                            + sha256 + "; the jar with the classifier tales must have this library's version");
                }
            });
        }
    }

    private static void create(Path directory) throws IOException {
        try {
            Files.createDirectories(directory);
        } catch (IOException e) {
            throw new IOException(
                    directory
                            + " could not be created for the embedded model; choose another cache folder by the system"
                            + " property loomtorch.cache or the environment variable LOOMTORCH_CACHE",
                    e);
        }
    }

    /** The SHA-256 of all bytes, which are handed on too. */
    private static String hash(InputStream in, TemporaryFile.Output output) throws IOException {
        MessageDigest digest;
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java platform has SHA-256", e);
        }
        byte[] buffer = new byte[BUFFER_BYTES];
        long at = 0;
        for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
            digest.update(buffer, 0, count);
            output.write(ByteBuffer.wrap(buffer, 0, count), at);
            at += count;
        }
        return HexFormat.of().formatHex(digest.digest());
    }
}
