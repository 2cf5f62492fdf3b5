package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.model.Gpt2Config;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class StepCostTest {
    private static final Gpt2Config GPT2 = Gpt2Config.shape("gpt2");

    @Test
    void bytesOfPartsOfOneRow() {
        StepCost cost = new StepCost(GPT2, 2, false);

        assertEquals(2 * (3 * 768 * 768 + 4 * 768), cost.bytes(StepPart.QKV, 1, 200));
        assertEquals(2 * (2 * 199 + 6) * 768, cost.bytes(StepPart.ATTENTION, 1, 200));
        assertEquals(2 * (768 * 50304 + 768 + 50304), cost.bytes(StepPart.HEAD, 1, 200));
        assertEquals(2 * 50304, cost.bytes(StepPart.SAMPLING, 1, 200));
    }

    @Test
    void int8WeightsHalveTheWeightsOfAtMost16Rows() {
        StepCost cost = new StepCost(GPT2, 2, true);

        assertEquals(768 * 768 + 2 * 3 * 768 * 16, cost.bytes(StepPart.PROJECTION, 16, 1));
        assertEquals(2 * 768 * 768 + 2 * 3 * 768 * 17, cost.bytes(StepPart.PROJECTION, 17, 1));
    }

    /** Two operations for each weight and token, and attention. */
    @Test
    void operationsOfAPrefill() {
        double weights = 12 * (12 * 768.0 * 768);
        double attention = 12 * 2 * 768.0 * 1024;

        assertEquals(
                1024 * (2 * weights + attention) + 2 * 768.0 * 50257, new StepCost(GPT2, 2, false).operations(1, 1024));
    }
}
