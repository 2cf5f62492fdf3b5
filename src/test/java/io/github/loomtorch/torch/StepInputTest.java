package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.EngineConfig;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import java.nio.IntBuffer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class StepInputTest {
    private static final int PAGE_SIZE = 8;
    private static final int ROW_SIZE = StepInput.rowSize(16);

    private final Map<Sequence, IntBuffer> foreseen = new HashMap<>();
    private int compared;

    @Test
    void theRowForeseenIsTheRowThatComes() {
        SamplingParams params = SamplingParams.builder()
                .temperature(0.7f)
                .topK(50)
                .topP(0.9f)
                .minP(0.01f)
                .seed(5L)
                .maxNewTokens(40)
                .ignoreEos(true)
                .build();
        FakeCausalLm lm = new FakeCausalLm(2, PAGE_SIZE, 32, 128).onLaunch(this::compare);
        try (NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, EngineConfig.defaults()), 2)) {
            scheduler.submit(new GenerationRequest(new int[] {1, 2, 3}, params));
            scheduler.submit(new GenerationRequest(new int[] {4}, params)).join();
        }
        assertTrue(compared > 60, "compared " + compared);
    }

    /** Each row with what was foreseen a step before, where the page is the same; and foresees the next. */
    private void compare(List<Chunk> chunks) {
        for (Chunk chunk : chunks) {
            IntBuffer row = IntBuffer.allocate(ROW_SIZE);
            StepInput.put(row, 0, chunk, chunk.start() + chunk.count() - 1, PAGE_SIZE, StepInput.BIASED);
            IntBuffer next = IntBuffer.allocate(ROW_SIZE);
            StepInput.putNext(next, 0, row, 0, ROW_SIZE, chunk.sequence());
            IntBuffer expected = foreseen.put(chunk.sequence(), next);
            if (expected != null && chunk.start() % PAGE_SIZE != 0) {
                assertEquals(-1, expected.get(StepInput.TOKEN));
                assertArrayEquals(expected.put(StepInput.TOKEN, row.get(StepInput.TOKEN)).array(), row.array());
                compared++;
            }
        }
    }
}
