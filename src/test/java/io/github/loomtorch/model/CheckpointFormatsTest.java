package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.Checkpoints;
import io.github.loomtorch.testing.NaiveGpt2;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Files that PyTorch wrote, of every format, against the logits that PyTorch computes from the same weights. */
@Timeout(60)
class CheckpointFormatsTest {
    @TempDir
    Path temporary;

    @TestFactory
    Stream<DynamicTest> everyCheckpointGivesTheLogitsOfTransformersOrNanoGpt() throws IOException {
        return Checkpoints.expected().entrySet().stream()
                .map(expected -> DynamicTest.dynamicTest(
                        expected.getKey(),
                        () -> assertArrayEquals(
                                expected.getValue(),
                                logits(Checkpoints.directory(expected.getKey(), temporary)),
                                1e-6)));
    }

    private static double[] logits(Path directory) throws IOException {
        int[] prompt = Checkpoints.PROMPT;
        return new NaiveGpt2(directory).logits(prompt)[prompt.length - 1];
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "zip",
                "legacy",
                "protocol4",
                "parameter",
                "nested",
                "strided",
                "shared",
                "onlyhead",
                "masks",
                "sharded"
            })
    void everyFormHasTheBytesOfTheSafetensorsOfTheSameWeights(String name) throws IOException {
        Gpt2Weights expected = ModelDirectory.open(Checkpoints.directory("activation", temporary))
                .weights();
        Gpt2Weights actual =
                ModelDirectory.open(Checkpoints.directory(name, temporary)).weights();
        assertTrue(actual.config().tieWordEmbeddings());
        assertEquals(expected.names(), actual.names());
        for (String tensor : expected.names()) {
            assertTrue(expected.get(tensor).hasDataOf(actual.get(tensor)), tensor);
            assertEquals(expected.get(tensor).data(), actual.get(tensor).data(), tensor);
        }
    }

    @Test
    void aStoredHeadThatDiffersIsUsed() throws IOException {
        ModelDirectory model = ModelDirectory.open(Checkpoints.directory("untied", temporary));
        assertTrue(model.config().tieWordEmbeddings());
        assertFalse(model.weights().config().tieWordEmbeddings());
    }

    @Test
    void readsTheConfigurationOfNanoGpt() throws IOException {
        assertEquals(
                new Gpt2Config(43, 12, 8, 2, 2, 32, Activation.GELU, 1e-5, true, false, true, List.of()),
                ModelDirectory.open(Checkpoints.directory("nanogpt", temporary)).config());
    }

    @ParameterizedTest
    @ValueSource(strings = {"zip", "legacy"})
    void aPickleThatWouldRunACommandIsRefusedByName(String format) {
        Path file = Checkpoints.ROOT.resolve("hostile").resolve(format + ".bin");
        String message =
                assertThrows(IOException.class, () -> Checkpoint.open(file)).getMessage();
        assertTrue(message.startsWith(file + ": "), message);
        assertTrue(
                message.matches(".*: byte \\d+: global must be one that tensors need, got (posix|nt)\\.system;.*"),
                message);
        assertFalse(Files.exists(Path.of("executed")));
    }

    @ParameterizedTest
    @ValueSource(strings = {"zip", "legacy"})
    void everyTruncationIsRefused(String format) throws IOException {
        byte[] whole =
                Files.readAllBytes(Checkpoints.directory(format, temporary).resolve("pytorch_model.bin"));
        Path file = temporary.resolve("cut.bin");
        for (int length = 0; length < whole.length; length += length < 4000 ? 37 : 1001) {
            Files.write(file, Arrays.copyOf(whole, length));
            String message =
                    assertThrows(IOException.class, () -> Checkpoint.open(file)).getMessage();
            assertTrue(message.startsWith(file + ": "), message);
        }
    }

    @Test
    void entriesThatAreCompressedAreRefused() throws IOException {
        Path file = temporary.resolve("x.bin");
        Map<String, byte[]> entries = Map.of("archive/data.pkl", new byte[] {(byte) 0x80, 2, '}', '.'});
        Checkpoints.writeZip(file, entries, /* compressed= */ true);
        assertEquals(
                file + ": entry archive/data.pkl must be stored, got a compressed one; torch.save does not compress",
                assertThrows(IOException.class, () -> Checkpoint.open(file)).getMessage());
        Checkpoints.writeZip(file, entries, /* compressed= */ false);
        assertEquals(Set.of(), Checkpoint.open(file).names());
    }
}
