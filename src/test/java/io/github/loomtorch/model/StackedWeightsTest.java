package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(20)
class StackedWeightsTest {
    /** V 5, padded to 64. */
    private static final Gpt2Config CONFIG =
            new Gpt2Config(5, 3, 4, 2, 2, 6, Activation.GELU, 1e-5, true, false, false, List.of());

    @TempDir
    private Path directory;

    /** An archive whose elements are all different: the i-th of a parameter is 1000 times its number, plus i. */
    private TorchScriptArchive archive(Map<String, long[]> shapes, DType dtype) throws IOException {
        Path file = directory.resolve("model.ts");
        TemporaryFile.write(file, output -> {
            TorchScriptWriter writer = new TorchScriptWriter(output);
            int number = 0;
            for (Map.Entry<String, long[]> parameter : shapes.entrySet()) {
                int count = 1;
                for (long size : parameter.getValue()) {
                    count *= (int) size;
                }
                ByteBuffer data = ByteBuffer.allocate(count * dtype.sizeBytes()).order(ByteOrder.LITTLE_ENDIAN);
                for (int i = 0; i < count && dtype == DType.F32; i++) {
                    data.putFloat(1000 * number + i);
                }
                number++;
                writer.tensor(parameter.getKey(), dtype, parameter.getValue(), List.of(data.rewind()));
            }
            writer.finish("");
        });
        return TorchScriptArchive.open(file);
    }

    private static float[] floats(CheckpointTensor tensor) throws IOException {
        float[] values = new float[tensor.data().remaining() / Float.BYTES];
        tensor.data().asFloatBuffer().get(values);
        return values;
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void namesAndShapesAreThoseOfACheckpoint(boolean tied) throws IOException {
        Gpt2Config config = CONFIG.withTieWordEmbeddings(tied);
        Gpt2Weights weights = StackedWeights.of(archive(StackedWeights.shapes(config), DType.F32), config);
        Map<String, long[]> expected = Gpt2Weights.shapes(config);
        assertEquals(expected.keySet(), weights.names());
        for (String name : expected.keySet()) {
            assertArrayEquals(expected.get(name), weights.get(name).shape(), name);
        }
        assertEquals(tied, weights.config().tieWordEmbeddings());
    }

    @Test
    void everyWeightHasItsNameOnce() {
        Set<String> names = new HashSet<>();
        for (String parameter : StackedWeights.shapes(CONFIG).keySet()) {
            for (int layer = 0; layer < (StackedWeights.isOfLayers(parameter) ? 2 : 1); layer++) {
                assertTrue(names.add(StackedWeights.checkpointName(parameter, layer)));
            }
        }
        assertEquals(Gpt2Weights.shapes(CONFIG).keySet(), names);
    }

    @Test
    void aLayersMatrixIsAViewThatIsTransposed() throws IOException {
        Gpt2Weights weights = StackedWeights.of(archive(StackedWeights.shapes(CONFIG), DType.F32), CONFIG);
        CheckpointTensor fc = weights.get("h.1.mlp.c_fc.weight"); // [4, 6] of fc_w [2, 6, 4], number 10
        assertFalse(fc.isContiguous());
        assertTrue(fc.transposed().isContiguous());
        assertArrayEquals(new float[] {10024, 10028, 10032, 10036, 10040, 10044}, Arrays.copyOf(floats(fc), 6));
        assertArrayEquals(new float[] {10024, 10025, 10026, 10027}, Arrays.copyOf(floats(fc.transposed()), 4));
    }

    @Test
    void aLayersVectorIsASlice() throws IOException {
        Gpt2Weights weights = StackedWeights.of(archive(StackedWeights.shapes(CONFIG), DType.F32), CONFIG);
        assertArrayEquals(new float[] {2004, 2005, 2006, 2007}, floats(weights.get("h.1.ln_1.weight")));
    }

    @Test
    void thePaddingOfTheVocabularyIsCutOff() throws IOException {
        Gpt2Weights weights = StackedWeights.of(archive(StackedWeights.shapes(CONFIG), DType.F32), CONFIG);
        assertEquals(5 * 4, floats(weights.get("wte.weight")).length);
        assertEquals(16000, floats(weights.get("lm_head.weight"))[0]);
    }

    @ParameterizedTest
    @CsvSource({"lnf_b, none of that name", "qkv_w, '[2, 4, 12]'"})
    void refusesWhatTheConfigurationDoesNotCallFor(String name, String got) throws IOException {
        Map<String, long[]> shapes = StackedWeights.shapes(CONFIG);
        String expected = Arrays.toString(shapes.get(name));
        shapes.put(name, new long[] {2, 4, 12});
        if (got.startsWith("none")) {
            shapes.remove(name);
        }
        TorchScriptArchive archive = archive(shapes, DType.F32);
        String message = assertThrows(IOException.class, () -> StackedWeights.of(archive, CONFIG))
                .getMessage();
        assertEquals(
                archive.path() + ": expected parameter " + name + " of shape " + expected + " from config.json, got "
                        + got,
                message);
    }
}
