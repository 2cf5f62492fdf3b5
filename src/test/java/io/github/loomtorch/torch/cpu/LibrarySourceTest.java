package io.github.loomtorch.torch.cpu;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The library in the jar holds the hash of the sources that it was compiled from. */
@Timeout(value = 30, unit = TimeUnit.SECONDS)
class LibrarySourceTest {
    private static final Path SOURCES = Path.of("src/main/c");
    private static final Path LIBRARY =
            Path.of("src/main/resources/io/github/loomtorch/torch/cpu/linux-x86_64/libloomtorch.so");

    /** As in dev/build-native: headers first, and that script last, as it has the compiler's options. */
    @Test
    void theLibraryIsCompiledFromTheseSources() throws IOException, NoSuchAlgorithmException {
        MessageDigest sha256 = MessageDigest.getInstance("SHA-256");
        for (String suffix : List.of(".h", ".c")) {
            try (Stream<Path> files = Files.list(SOURCES)) {
                for (Path file : files.filter(path -> path.toString().endsWith(suffix))
                        .sorted()
                        .toList()) {
                    sha256.update(Files.readAllBytes(file));
                }
            }
        }
        sha256.update(Files.readAllBytes(Path.of("dev/build-native")));
        String expected = "SHA-256 of the sources: " + HexFormat.of().formatHex(sha256.digest());
        String library = new String(Files.readAllBytes(LIBRARY), StandardCharsets.ISO_8859_1);
        assertTrue(library.contains(expected), "src/main/c or dev/build-native has changed: run dev/build-native");
    }
}
