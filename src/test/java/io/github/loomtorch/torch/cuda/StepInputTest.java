package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class StepInputTest {
    private static final int PAGE_SIZE = 8;
    private static final int ROW_SIZE = StepInput.rowSize(16);

    @Test
    void theRowOfAPendingTokenIsThatOfAKnownOneButForTheToken() {
        List<int[]> known = rows(false);
        List<int[]> pending = rows(true);
        assertEquals(2 * 40, known.size());
        assertEquals(known.size(), pending.size());
        for (int i = 0; i < known.size(); i++) {
            if (i >= 2) { // behind the prompts
                assertEquals(-1, pending.get(i)[StepInput.TOKEN]);
                pending.get(i)[StepInput.TOKEN] = known.get(i)[StepInput.TOKEN];
            }
            assertArrayEquals(known.get(i), pending.get(i), "row " + i);
        }
    }

    /** Attention of prefill chunks depends on it: a row too many would read and write pages that are not its own. */
    @Test
    void aRowSaysHowManyTokensItsChunkHasUntilItIsPadding() {
        FakeCausalLm lm = new FakeCausalLm(1, PAGE_SIZE, 32, 128).onLaunch(chunks -> {
            Chunk chunk = chunks.get(0);
            IntBuffer row = IntBuffer.allocate(ROW_SIZE);
            for (int position = chunk.start(); position < chunk.end(); position++) {
                StepInput.put(row, 0, chunk, position, PAGE_SIZE, 0);
                assertEquals(position + 1, row.get(StepInput.LENGTH));
                assertEquals(chunk.count(), row.get(StepInput.CHUNK_TOKENS));
                assertEquals(chunk.start(), row.get(StepInput.FIRST));
            }
            StepInput.clear(row, 0);
            assertEquals(0, row.get(StepInput.LENGTH));
            assertEquals(0, row.get(StepInput.CHUNK_TOKENS));
        });
        EngineOptions threeAtOnce =
                EngineOptions.builder().maxPrefillTokensPerStep(3).build();
        try (NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, threeAtOnce), 1)) {
            scheduler
                    .submit(new GenerationRequest(new int[] {1, 2, 3, 4, 5}, SamplingParams.greedy(2)))
                    .join();
        }
        assertEquals(3, lm.steps());
    }

    /** The last row of each chunk of two requests. */
    private static List<int[]> rows(boolean ahead) {
        SamplingParams params = SamplingParams.builder()
                .temperature(0.7f)
                .topK(50)
                .topP(0.9f)
                .minP(0.01f)
                .repetitionPenalty(1.2f)
                .seed(5L)
                .maxNewTokens(40)
                .ignoreEos(true)
                .build();
        List<int[]> rows = new ArrayList<>();
        FakeCausalLm lm = new FakeCausalLm(2, PAGE_SIZE, 32, 128)
                .runningAhead(ahead)
                .onLaunch(chunks -> {
                    for (Chunk chunk : chunks) {
                        IntBuffer row = IntBuffer.allocate(ROW_SIZE);
                        StepInput.put(row, 0, chunk, chunk.end() - 1, PAGE_SIZE, StepInput.PENALISED);
                        rows.add(row.array());
                    }
                });
        try (NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, EngineOptions.defaults()), 2)) {
            scheduler.submit(new GenerationRequest(new int[] {1, 2, 3}, params));
            scheduler.submit(new GenerationRequest(new int[] {4}, params)).join();
        }
        return rows;
    }
}
