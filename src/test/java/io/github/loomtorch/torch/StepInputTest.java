package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.EngineConfig;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.NaiveScheduler;
import java.nio.IntBuffer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class StepInputTest {
    private static final int PAGE_SIZE = 8;
    private static final int ROW_SIZE = StepInput.rowSize(16);

    @Test
    void theRowForeseenIsTheRowThatComes() {
        SamplingParams params = SamplingParams.builder()
                .temperature(0.7f)
                .topK(50)
                .topP(0.9f)
                .minP(0.01f)
                .logitBias(Map.of(3, 1f))
                .seed(5L)
                .maxNewTokens(40)
                .ignoreEos(true)
                .build();
        ForeseeingLm lm = new ForeseeingLm();
        try (NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, EngineConfig.defaults()), 2)) {
            scheduler.submit(new GenerationRequest(new int[] {1, 2, 3}, params));
            scheduler.submit(new GenerationRequest(new int[] {4}, params)).join();
        }
        assertTrue(lm.compared > 60, "compared " + lm.compared);
    }

    /** At each decode, compares the row with what was foreseen a step before, where the page is the same. */
    private static final class ForeseeingLm implements CausalLm {
        int compared;
        private final Map<Sequence, IntBuffer> foreseen = new HashMap<>();
        private List<Chunk> launched = List.of();

        @Override
        public void launch(List<Chunk> chunks) {
            launched = chunks;
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

        @Override
        public void await() {
            launched.stream().filter(Chunk::samples).forEach(chunk -> chunk.sampled(chunk.start() % 100));
        }

        @Override
        public int vocabSize() {
            return 100;
        }

        @Override
        public int contextLength() {
            return 128;
        }

        @Override
        public int endOfTextId() {
            return -1;
        }

        @Override
        public int maxBatchSize() {
            return 2;
        }

        @Override
        public int pageSize() {
            return PAGE_SIZE;
        }

        @Override
        public int pageCount() {
            return 64;
        }

        @Override
        public void close() {}
    }
}
