package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(20)
class RandomWeightsTest {
    private static final Gpt2Config CONFIG =
            new Gpt2Config(3000, 32, 128, 2, 2, 512, Activation.GELU, 1e-5, true, false, true, List.of());

    private static float[] floats(long seed, String name) throws IOException {
        CheckpointTensor tensor = RandomWeights.of(CONFIG, seed).get(name);
        float[] values = new float[tensor.data().remaining() / Float.BYTES];
        tensor.data().asFloatBuffer().get(values);
        return values;
    }

    @Test
    void namesAndShapesAreThoseOfACheckpoint() {
        Gpt2Weights weights = RandomWeights.of(CONFIG, 1);
        assertEquals(Gpt2Weights.shapes(CONFIG).keySet(), weights.names());
        assertArrayEquals(new long[] {3000, 128}, weights.get("wte.weight").shape());
        assertEquals(DType.F32, weights.dtype());
    }

    /** The mean is within five of its standard errors. The fourth moment is 2.7, not 3, as large values are missing. */
    @ParameterizedTest
    @CsvSource({"wte.weight, 0.02", "h.1.mlp.c_fc.weight, 0.02", "h.1.mlp.c_proj.weight, 0.01"})
    void matricesAreNearlyNormal(String name, double deviation) throws IOException {
        float[] values = floats(1, name);
        double sum = 0;
        double squares = 0;
        double fourth = 0;
        for (float value : values) {
            double z = value / deviation;
            sum += z;
            squares += z * z;
            fourth += z * z * z * z;
        }
        assertEquals(0, sum / values.length, 5 / Math.sqrt(values.length));
        assertEquals(1, squares / values.length, 0.02);
        assertEquals(2.7, fourth / values.length, 0.1);
    }

    @Test
    void biasesAreZeroAndLayerNormWeightsOne() throws IOException {
        assertArrayEquals(new float[384], floats(1, "h.0.attn.c_attn.bias"));
        float[] ones = new float[128];
        Arrays.fill(ones, 1);
        assertArrayEquals(ones, floats(1, "ln_f.weight"));
        assertArrayEquals(ones, floats(1, "h.0.ln_2.weight"));
    }

    @Test
    void theSeedAndTheNameDecide() throws IOException {
        float[] values = floats(1, "h.0.mlp.c_fc.weight");
        assertArrayEquals(values, floats(1, "h.0.mlp.c_fc.weight"));
        assertFalse(Arrays.equals(values, floats(2, "h.0.mlp.c_fc.weight")));
        float[] other = floats(1, "h.1.mlp.c_fc.weight");
        int equal = 0;
        for (int i = 0; i < values.length; i++) {
            equal += values[i] == other[i] ? 1 : 0;
        }
        assertTrue(equal < 10, equal + " of " + values.length);
    }
}
