package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.torch.cuda.AttentionChoice.Kind;
import java.io.IOException;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class AttentionChoiceTest {
    /** GPT-2 in float16 on an H100. */
    private static final AttentionChoice H100 = new AttentionChoice(12, 1024, 256, 132, true, true);

    @ParameterizedTest
    @CsvSource({
        // decode rows, longest, expected
        "1, 256, PAGED",
        "1, 257, SPLIT_KV",
        "4, 1024, SPLIT_KV",
        "5, 1024, PAGED",
        "43, 10, PAGED",
        "44, 10, PERSISTENT"
    })
    void whatIsFastestForDecodeRowsOnAnH100(int rows, int longest, Kind expected) {
        assertEquals(expected, H100.decode(rows, longest));
    }

    @ParameterizedTest
    @CsvSource({"0, PREFILL", "43, PREFILL", "44, PREFILL_AND_PERSISTENT"})
    void whatIsFastestWithPrefillChunksOnAnH100(int decodeRows, Kind expected) {
        assertEquals(expected, H100.withPrefill(decodeRows));
    }

    @Test
    void olderGpusAndOtherElementsUseTheKernelsThatTheyHave() {
        AttentionChoice a100 = new AttentionChoice(12, 1024, 256, 108, false, true);
        assertEquals(Kind.PAGED, a100.decode(1, 1024));
        assertEquals(Kind.PAGED, a100.decode(500, 1024));
        assertEquals(Kind.PREFILL, a100.withPrefill(500));
        AttentionChoice float32 = new AttentionChoice(12, 1024, 128, 132, true, false);
        assertEquals(Kind.PERSISTENT, float32.decode(500, 1024));
        assertEquals(Kind.PAGED, float32.withPrefill(500));
    }

    /**
     * A step is replayed from the graph of the recorded number of rows that is next: that must have been recorded with
     * its kind.
     */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 8, 50, 64})
    void everyStepsKindIsAmongThoseOfItsRows(int batch) {
        TreeSet<Integer> recorded = new TreeSet<>(StepGraphs.recordedRows(batch, batch + 512));
        for (int many = 1; many <= batch + 1; many++) {
            AttentionChoice choice = new AttentionChoice(4, 1024, 256, many, true, true); // so many rows are many
            for (int rows = 1; rows <= batch + 512; rows++) {
                int count = recorded.ceiling(rows);
                Set<Kind> kinds = choice.kinds(count, batch);
                for (int longest : new int[] {1, 256, 257, 1024}) {
                    if (rows <= batch) {
                        assertContains(kinds, choice.decode(count, longest), count);
                    }
                }
                for (int decodeRows = 0; decodeRows <= Math.min(rows - 2, batch - 1); decodeRows++) {
                    assertContains(kinds, choice.withPrefill(decodeRows), count);
                }
            }
        }
    }

    @Test
    void realStepsFindTheirGraphAndUseEveryKind() throws IOException {
        int batch = 60;
        TreeSet<Integer> recorded = new TreeSet<>(StepGraphs.recordedRows(batch, batch + 512));
        Set<Kind> used = EnumSet.noneOf(Kind.class);
        FakeCausalLm lm = new FakeCausalLm(batch, 16, 1024, 1024).onLaunch(chunks -> {
            int count = recorded.ceiling(chunks.stream().mapToInt(Chunk::count).sum());
            Kind kind = H100.kind(chunks, count);
            assertContains(H100.kinds(count, batch), kind, count);
            used.add(kind);
        });
        EngineOptions smallChunks =
                EngineOptions.builder().maxPrefillTokensPerStep(100).build();
        Random random = new Random(1);
        try (ContinuousScheduler scheduler = new ContinuousScheduler(() -> new Engine(lm, smallChunks))) {
            List<Generation> generations = new ArrayList<>();
            for (int i = 0; i < 2 * batch; i++) { // the first outlives the others
                int[] prompt = random.ints(i == 0 ? 300 : 1 + random.nextInt(30), 0, 90)
                        .toArray();
                SamplingParams greedy = SamplingParams.greedy(i == 0 ? 200 : 30 + random.nextInt(30)).toBuilder()
                        .ignoreEos(true)
                        .build();
                generations.add(scheduler.submit(new GenerationRequest(prompt, greedy)));
            }
            generations.forEach(Generation::join);
        }
        assertEquals(EnumSet.allOf(Kind.class), used);
    }

    private static void assertContains(Set<Kind> kinds, Kind kind, int count) {
        assertTrue(kinds.contains(kind), () -> kind + " of " + count + " rows is not among " + kinds);
    }
}
