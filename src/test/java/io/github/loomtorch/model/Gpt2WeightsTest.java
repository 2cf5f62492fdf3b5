package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.testing.RandomCheckpoint;
import io.github.loomtorch.testing.SafetensorsWriter;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class Gpt2WeightsTest {
    private static final Gpt2Config TIED =
            new Gpt2Config(5, 4, 2, 2, 1, 8, Activation.GELU, 1e-5, true, false, true, List.of());
    private static final Gpt2Config UNTIED =
            new Gpt2Config(5, 4, 2, 2, 1, 8, Activation.GELU, 1e-5, true, false, false, List.of());

    @TempDir
    Path dir;

    @Test
    void theEmbeddedModelHasEveryTensor() throws IOException {
        ModelDirectory tales = ModelDirectory.open(Path.of("models/tales"));
        Gpt2Config config = tales.config();
        assertEquals(
                new Gpt2Config(
                        50257, 1024, 256, 8, 4, 1024, Activation.GELU_TANH, 1e-5, true, false, true, List.of(50256)),
                config);
        assertEquals(19_446_528, config.parameterCount());
        Gpt2Weights weights = tales.weights();
        assertEquals(4 + 8 * 12, weights.names().size());
        assertArrayEquals(new long[] {50257, 256}, weights.get("wte.weight").shape());
        assertArrayEquals(
                new long[] {256, 768}, weights.get("h.7.attn.c_attn.weight").shape());
        assertArrayEquals(
                new long[] {1024, 256}, weights.get("h.0.mlp.c_proj.weight").shape());
        for (String name : weights.names()) {
            assertEquals(DType.F16, weights.get(name).dtype());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "transformer.", "module.", "_orig_mod.transformer.", "module._orig_mod.transformer."})
    void findsTensorsWithOrWithoutPrefix(String prefix) throws IOException {
        Map<String, long[]> tensors = new LinkedHashMap<>();
        Gpt2Weights.shapes(UNTIED)
                .forEach((name, shape) -> tensors.put(name.equals("lm_head.weight") ? name : prefix + name, shape));

        Gpt2Weights weights = Gpt2Weights.of(UNTIED, checkpoint(tensors, DType.F32));

        assertEquals(Gpt2Weights.shapes(UNTIED).keySet(), weights.names());
        assertEquals(
                prefix + "h.1.mlp.c_fc.weight",
                weights.get("h.1.mlp.c_fc.weight").name());
        assertArrayEquals(new long[] {2, 8}, weights.get("h.1.mlp.c_fc.weight").shape());
        assertArrayEquals(new long[] {5, 2}, weights.get("lm_head.weight").shape());
    }

    @ParameterizedTest
    @EnumSource(names = {"F32", "F16", "BF16"})
    void takesEveryFloatTypeOfWeights(DType dtype) throws IOException {
        Path directory = RandomCheckpoint.write(dir, RandomCheckpoint.tinyConfig(), dtype, 1);
        Gpt2Weights weights = Gpt2Weights.of(RandomCheckpoint.tinyConfig(), Checkpoint.open(directory));
        assertEquals(dtype, weights.get("wpe.weight").dtype());
        assertEquals(
                32 * 16 * dtype.sizeBytes(), weights.get("wpe.weight").data().remaining());
    }

    @Test
    void passesOverMasksAndACopyOfTheTiedHead() throws IOException {
        Map<String, long[]> tensors = Gpt2Weights.shapes(TIED);
        tensors.put("h.0.attn.bias", new long[] {1, 1, 4, 4});
        tensors.put("transformer.h.1.attn.masked_bias", new long[] {});
        tensors.put("lm_head.weight", new long[] {5, 2});
        Checkpoint checkpoint = checkpoint(tensors, DType.F32);
        assertEquals(
                "",
                logOf(() -> assertEquals(
                        Gpt2Weights.shapes(TIED).keySet(),
                        Gpt2Weights.of(TIED, checkpoint).names())));
    }

    @Test
    void warnsOfTensorsThatTheModelDoesNotUse() throws IOException {
        Map<String, long[]> tensors = Gpt2Weights.shapes(TIED);
        tensors.put("score.weight", new long[] {2});
        tensors.put("h.2.ln_1.bias", new long[] {2});
        Checkpoint checkpoint = checkpoint(tensors, DType.F32);
        String log = logOf(() -> Gpt2Weights.of(TIED, checkpoint));
        assertEquals(
                checkpoint.path() + ": 2 tensors are not part of the model and ignored: [h.2.ln_1.bias, score.weight]",
                log.substring(log.indexOf(checkpoint.path().toString())).strip());
    }

    @Test
    void absentBiasesAreZero() throws IOException {
        Map<String, long[]> tensors = Gpt2Weights.shapes(TIED);
        tensors.keySet().removeIf(name -> name.endsWith(".bias"));
        Gpt2Weights weights = Gpt2Weights.of(TIED, checkpoint(tensors, DType.F16));
        assertEquals(Gpt2Weights.shapes(TIED).keySet(), weights.names());
        assertArrayEquals(new long[] {6}, weights.get("h.1.attn.c_attn.bias").shape());
        assertEquals(
                ByteBuffer.allocate(12), weights.get("h.1.attn.c_attn.bias").data());
        assertEquals(DType.F16, weights.dtype());
    }

    @Test
    void biasesOfLayerNormsAloneMayBeAbsent() throws IOException {
        Map<String, long[]> tensors = Gpt2Weights.shapes(TIED);
        tensors.keySet().removeIf(name -> name.endsWith(".bias") && name.contains("ln_"));
        assertEquals(
                28, Gpt2Weights.of(TIED, checkpoint(tensors, DType.F32)).names().size());
    }

    @ParameterizedTest
    @ValueSource(strings = {"h.1.attn.c_proj.bias", "h.0.ln_2.bias", "ln_f.bias"})
    void oneAbsentBiasIsAnError(String name) throws IOException {
        Map<String, long[]> tensors = Gpt2Weights.shapes(TIED);
        tensors.remove(name);
        assertFails(": expected tensor " + name + " of shape [2], got none of that name", TIED, tensors, DType.F32);
    }

    @Test
    void refusesTwoTensorsOfOneName() throws IOException {
        Map<String, long[]> tensors = Gpt2Weights.shapes(TIED);
        tensors.put("transformer.wte.weight", new long[] {5, 2});
        assertFails(
                ": expected one tensor wte.weight, got wte.weight and transformer.wte.weight",
                TIED,
                tensors,
                DType.F32);
    }

    @ParameterizedTest
    @CsvSource({"8, true", "16, true", "1024, true", "7, false", "4, false", "1032, false"})
    void rowsOfPaddingAreCutOff(int rows, boolean good) throws IOException {
        Map<String, long[]> tensors = Gpt2Weights.shapes(TIED);
        tensors.put("wte.weight", new long[] {rows, 2});
        if (good) {
            Gpt2Weights weights = Gpt2Weights.of(TIED, checkpoint(tensors, DType.F32));
            assertArrayEquals(new long[] {5, 2}, weights.get("wte.weight").shape());
            assertEquals(40, weights.get("wte.weight").data().remaining());
        } else {
            assertFails(
                    ": tensor wte.weight: expected shape [5, 2] from the configuration, got [" + rows + ", 2]",
                    TIED,
                    tensors,
                    DType.F32);
        }
    }

    @Test
    void mixedTypesAreHeldInF32() throws IOException {
        SafetensorsWriter writer = new SafetensorsWriter();
        for (Map.Entry<String, long[]> tensor : Gpt2Weights.shapes(TIED).entrySet()) {
            boolean half = tensor.getKey().equals("wte.weight");
            int elements = (int) Arrays.stream(tensor.getValue()).reduce(1, (x, y) -> x * y);
            writer.add(tensor.getKey(), half ? "F16" : "F32", tensor.getValue(), new byte[elements * (half ? 2 : 4)]);
        }
        Checkpoint checkpoint = Checkpoint.open(writer.write(dir.resolve("model.safetensors")));
        assertEquals(DType.F32, Gpt2Weights.of(TIED, checkpoint).dtype());
        assertEquals(
                DType.F32,
                Gpt2Weights.of(TIED, checkpoint(Gpt2Weights.shapes(TIED), DType.F64))
                        .dtype());
    }

    @Test
    void refusesAMissingTensor() throws IOException {
        Map<String, long[]> tensors = Gpt2Weights.shapes(TIED);
        tensors.remove("h.1.mlp.c_fc.weight");
        assertFails(
                ": expected tensor h.1.mlp.c_fc.weight of shape [2, 8], got none of that name",
                TIED,
                tensors,
                DType.F32);
    }

    @Test
    void anUntiedHeadNeedsAWeight() {
        assertFails(
                ": expected tensor lm_head.weight of shape [5, 2], got none of that name",
                UNTIED,
                Gpt2Weights.shapes(TIED),
                DType.F32);
    }

    @Test
    void refusesAWrongShape() throws IOException {
        Map<String, long[]> tensors = Gpt2Weights.shapes(TIED);
        tensors.put("h.0.attn.c_attn.weight", new long[] {6, 2});
        assertFails(
                ": tensor h.0.attn.c_attn.weight: expected shape [2, 6] from the configuration, got [6, 2]",
                TIED,
                tensors,
                DType.F32);
    }

    @Test
    void refusesADtypeThatIsNotOfWeights() {
        assertFails(
                ": tensor wte.weight: dtype must be one of [F32, F16, BF16, F64], got I8",
                TIED,
                Gpt2Weights.shapes(TIED),
                DType.I8);
    }

    @Test
    void refusesANameThatIsNoWeight() throws IOException {
        Gpt2Weights weights = Gpt2Weights.of(TIED, checkpoint(Gpt2Weights.shapes(TIED), DType.F32));
        IllegalArgumentException e = assertThrows(IllegalArgumentException.class, () -> weights.get("lm_head.weight"));
        assertEquals("name must be one of the model's 28 weights, got lm_head.weight", e.getMessage());
    }

    private Checkpoint checkpoint(Map<String, long[]> tensors, DType dtype) throws IOException {
        SafetensorsWriter writer = new SafetensorsWriter();
        for (Map.Entry<String, long[]> tensor : tensors.entrySet()) {
            int size = dtype.sizeBytes();
            for (long n : tensor.getValue()) {
                size *= (int) n;
            }
            writer.add(tensor.getKey(), dtype.name(), tensor.getValue(), new byte[size]);
        }
        return Checkpoint.open(writer.write(dir.resolve("model.safetensors")));
    }

    private void assertFails(String message, Gpt2Config config, Map<String, long[]> tensors, DType dtype) {
        IOException e = assertThrows(IOException.class, () -> Gpt2Weights.of(config, checkpoint(tensors, dtype)));
        assertEquals(dir.resolve("model.safetensors") + message, e.getMessage());
    }

    private interface Action {
        void run() throws IOException;
    }

    /** What slf4j-simple writes meanwhile. */
    private static String logOf(Action action) throws IOException {
        PrintStream standard = System.err;
        ByteArrayOutputStream log = new ByteArrayOutputStream();
        System.setErr(new PrintStream(log, true, StandardCharsets.UTF_8));
        try {
            action.run();
        } finally {
            System.setErr(standard);
        }
        return log.toString(StandardCharsets.UTF_8);
    }
}
