package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.Checkpoints;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class SafetensorsConverterTest {
    @TempDir
    Path dir;

    private Path copy(String checkpoint) throws IOException {
        try (Stream<Path> files = Files.list(Checkpoints.ROOT.resolve(checkpoint))) {
            for (Path file : files.toList()) {
                Files.copy(file, dir.resolve(file.getFileName()));
            }
        }
        return dir;
    }

    private Set<String> files() throws IOException {
        try (Stream<Path> files = Files.list(dir)) {
            return new TreeSet<>(
                    files.map(file -> file.getFileName().toString()).toList());
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "zip", "legacy", "strided", "f16", "bf16", "f64", "untied", "padded", "nobias", "sharded", "nanogpt"
            })
    void theConvertedFileHasTheSameWeights(String checkpoint) throws IOException {
        copy(checkpoint);
        Gpt2Weights expected = ModelDirectory.open(dir).weights();

        assertTrue(SafetensorsConverter.convert(dir));

        ModelDirectory converted = ModelDirectory.open(dir);
        Gpt2Weights actual = converted.weights();
        assertEquals(expected.config(), actual.config());
        assertEquals(expected.dtype(), actual.dtype());
        for (String name : expected.names()) {
            assertEquals(dir.resolve("model.safetensors"), actual.get(name).file());
            assertTrue(actual.get(name).hasDataOf(expected.get(name)), name);
        }
        assertEquals(
                Set.of(), files().stream().filter(name -> name.endsWith(".tmp")).collect(Collectors.toSet()));
    }

    @Test
    void namesAreHuggingFaces() throws IOException {
        SafetensorsConverter.convert(copy("untied"));
        Set<String> names = Checkpoint.open(dir.resolve("model.safetensors")).names();
        assertTrue(names.containsAll(List.of("transformer.wte.weight", "transformer.h.1.ln_2.bias", "lm_head.weight")));
    }

    @Test
    void theDataIsAligned() throws IOException {
        SafetensorsConverter.convert(copy("f64"));
        byte[] file = Files.readAllBytes(dir.resolve("model.safetensors"));
        long headerBytes = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).getLong();
        assertEquals(0, headerBytes % 8);
    }

    @Test
    void convertingAgainChangesNothing() throws IOException {
        copy("nanogpt");
        assertTrue(SafetensorsConverter.convert(dir));
        byte[] first = Files.readAllBytes(dir.resolve("model.safetensors"));
        assertFalse(SafetensorsConverter.convert(dir));
        assertEquals(Set.of("ckpt.pt", "config.json", "model.safetensors"), files());
        assertArrayEquals(first, Files.readAllBytes(dir.resolve("model.safetensors")));
    }

    @Test
    void anotherFileIsNotReplaced() throws IOException {
        copy("zip");
        Path file = dir.resolve("model.safetensors");
        SafetensorsConverter.convert(dir);
        byte[] other = Files.readAllBytes(file);
        other[other.length - 1] ^= 1;
        Files.write(file, other);
        assertFails(file + " must be that of the weights, got another; move it away or delete it");
        other[other.length - 1] ^= 1;
        Files.write(file, Arrays.copyOf(other, other.length + 1));
        assertFails(file + " must be that of the weights, got another; move it away or delete it");
        Files.writeString(file, "mine");
        assertFails(file + " must be that of the weights, got another; move it away or delete it");
        assertEquals("mine", Files.readString(file));
        assertEquals(Set.of("config.json", "model.safetensors", "pytorch_model.bin"), files());
    }

    @Test
    void aBadCheckpointLeavesNothing() throws IOException {
        copy("zip");
        Path bin = dir.resolve("pytorch_model.bin");
        Files.write(bin, Arrays.copyOf(Files.readAllBytes(bin), 5000));
        assertThrows(IOException.class, () -> SafetensorsConverter.convert(dir));
        assertEquals(Set.of("config.json", "pytorch_model.bin"), files());
    }

    @Test
    void aDirectoryWithoutSuchACheckpointIsRefused() throws IOException {
        copy("activation");
        assertFails(
                dir + ": expected one of [pytorch_model.bin, pytorch_model.bin.index.json] or ckpt.pt, got a directory"
                        + " without them");
    }

    private void assertFails(String message) {
        assertEquals(
                message,
                assertThrows(IOException.class, () -> SafetensorsConverter.convert(dir))
                        .getMessage());
    }
}
