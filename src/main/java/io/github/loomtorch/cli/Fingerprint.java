package io.github.loomtorch.cli;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.ModelOptions;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;

/** Names what decides a model's tokens: this version, the files of the model, and how it computes. */
final class Fingerprint {
    private Fingerprint() {}

    /**
     * {@code loomtorch-VERSION-HASH}, where the hash is of the files in the directory and of the options of each
     * replica.
     */
    static String of(ModelDirectory directory, List<ModelOptions> replicas) throws IOException {
        MessageDigest hash;
        try {
            hash = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every Java has it
        }
        List<Path> files;
        try (Stream<Path> all = Files.list(directory.path())) {
            files = all.filter(Files::isRegularFile).sorted().toList();
        }
        byte[] part = new byte[1 << 16];
        for (Path file : files) {
            try (InputStream in = Files.newInputStream(file)) {
                for (int read; (read = in.read(part)) >= 0; ) {
                    hash.update(part, 0, read);
                }
            }
        }
        for (ModelOptions options : replicas) {
            String how = options.device() + " " + options.dtype() + " " + options.deterministic() + " "
                    + options.int8Weights();
            hash.update(how.getBytes(StandardCharsets.UTF_8));
        }
        return "loomtorch-" + Versions.loomtorch() + "-" + HexFormat.of().formatHex(hash.digest(), 0, 4);
    }
}
