package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class StepGraphsTest {
    @Test
    void sizesDoubleToEightAndThenGrowByAQuarterAtMost() {
        assertEquals(List.of(1, 2, 4, 8, 10, 12, 14, 16, 20, 24, 28, 30), StepGraphs.rowCounts(30));
    }

    /** A step of decode rows only has a graph of at most as many rows as there can be sequences. */
    @ParameterizedTest
    @ValueSource(ints = {1, 7, 64, 100, 200, 300})
    void aFullBatchIsRecordedAsItIs(int batch) {
        TreeSet<Integer> recorded = new TreeSet<>(StepGraphs.recordedRows(batch, batch + 512));

        assertTrue(recorded.contains(batch), recorded.toString());
        assertEquals(batch + 512, recorded.last());
    }
}
