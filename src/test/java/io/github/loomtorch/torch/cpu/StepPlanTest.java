package io.github.loomtorch.torch.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class StepPlanTest {
    private static final int PAGE_SIZE = 8;

    private final StepPlan plan = new StepPlan(PAGE_SIZE);
    private int mixed;
    private int wanted;
    private int most;

    @Test
    void holdsEveryChunkOfAStep() {
        FakeCausalLm lm = new FakeCausalLm(6, PAGE_SIZE, 400, 400).onLaunch(this::check);
        EngineOptions options = EngineOptions.builder()
                .maxPrefillTokensPerStep(600)
                .maxPrefillTokensBesideDecode(40)
                .build();
        Random random = new Random(4);
        NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, options), 6);
        try (scheduler) {
            for (int i = 0; i < 30; i++) {
                SamplingParams sampling = SamplingParams.builder()
                        .maxNewTokens(1 + random.nextInt(9))
                        .promptScoring(PromptScoring.from(1 + random.nextInt(3)))
                        .build();
                int[] prompt = random.ints(4 + random.nextInt(380), 0, 99).toArray();
                scheduler.submit(new GenerationRequest(prompt, sampling));
            }
        }
        assertTrue(mixed > 5 && wanted > 500 && most > 256, mixed + " mixed, " + wanted + " wanted, " + most);
    }

    private void check(List<Chunk> chunks) {
        plan.set(chunks);
        int[] numbers = plan.array();
        int at = 0;
        assertEquals(chunks.size(), numbers[at++]);
        for (Chunk chunk : chunks) {
            int count = (int) IntStream.range(chunk.start(), chunk.end())
                    .filter(chunk::wants)
                    .count();
            assertArrayEquals(new int[] {chunk.start(), chunk.count(), count}, Arrays.copyOfRange(numbers, at, at + 3));
            at += 3;
            wanted += count;
        }
        for (Chunk chunk : chunks) {
            for (int position = chunk.start(); position < chunk.end(); position++) {
                assertEquals(chunk.sequence().tokens()[position], numbers[at++]);
            }
        }
        for (Chunk chunk : chunks) {
            for (int page = 0; page <= (chunk.end() - 1) / PAGE_SIZE; page++) {
                assertEquals(chunk.sequence().page(page), numbers[at++]);
            }
        }
        assertEquals(at, plan.length());
        most = Math.max(most, at);
        mixed += chunks.getFirst().count() == 1 && chunks.getLast().count() > 1 ? 1 : 0;
    }
}
