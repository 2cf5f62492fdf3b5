package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.UnusableLogitsException;
import io.github.loomtorch.sampling.Sampler;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletionException;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class ScoreRowsTest {
    private static final int VOCAB = 300;
    private static final PromptScoring ALL = new PromptScoring(1, 5, true, true);

    /** Runs two requests: one is scored from its third token on and continued, the other only scored. */
    private static void onFirstStep(Consumer<List<Chunk>> check) {
        boolean[] done = {false};
        FakeCausalLm lm = new FakeCausalLm(2, 8, 32, 128).onLaunch(chunks -> {
            if (!done[0]) {
                done[0] = true;
                check.accept(chunks);
            }
        });
        try (NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, EngineOptions.defaults()), 2)) {
            SamplingParams params = SamplingParams.greedy(2);
            scheduler.submit(new GenerationRequest(
                    new int[] {11, 12, 13, 14},
                    params.toBuilder()
                            .promptScoring(new PromptScoring(2, 3, true, false))
                            .build()));
            scheduler
                    .submit(new GenerationRequest(
                            new int[] {21, 22, 23},
                            params.toBuilder()
                                    .maxNewTokens(0)
                                    .promptScoring(PromptScoring.from(1))
                                    .build()))
                    .join();
        }
        assertTrue(done[0]);
    }

    private static int[] input(ScoreRows rows, Consumer<IntBuffer> put) {
        IntBuffer buffer = IntBuffer.allocate(rows.count() * ScoreInput.SIZE);
        put.accept(buffer);
        assertEquals(0, buffer.remaining());
        return buffer.array();
    }

    @Test
    void rowsOfAStepAreThoseOfItsTokens() {
        onFirstStep(chunks -> {
            ScoreRows rows = new ScoreRows();
            rows.addTokens(chunks);
            assertEquals(4, rows.count());
            int statistics = ScoreInput.STATISTICS;
            assertArrayEquals(
                    new int[] {
                        // row, target, flags, top
                        1, 13, statistics, 3, 2, 14, statistics, 3, 4, 22, 0, 0, 5, 23, 0, 0
                    },
                    input(rows, rows::put));
            assertEquals(ResultRow.TOP + 6, rows.stride());
        });
    }

    @Test
    void rowsOfALargePrefillAreThoseOfItsWantedPositions() {
        onFirstStep(chunks -> {
            ScoreRows rows = new ScoreRows();
            assertArrayEquals(new int[] {2}, rows.addWanted(chunks)); // after the first prompt
            IntBuffer sources = IntBuffer.allocate(4);
            rows.putSources(sources);
            assertArrayEquals(new int[] {0, 1, 3, 4}, sources.array());
            int[] blocks = input(rows, buffer -> rows.putBlocks(buffer, 3));
            assertArrayEquals(
                    new int[] {0, 1, 2, 0},
                    IntStream.range(0, 4).map(i -> blocks[i * ScoreInput.SIZE]).toArray());
            rows.clear();
            assertEquals(0, rows.count());
            assertEquals(ResultRow.TOP, rows.stride());
        });
    }

    @Test
    void rowsOfPromptsThatAreScoredSampleNothing() {
        onFirstStep(chunks -> {
            IntBuffer row = IntBuffer.allocate(StepInput.rowSize(16));
            List<Integer> sampling = new ArrayList<>();
            for (Chunk chunk : chunks) {
                for (int position = chunk.start(); position < chunk.end(); position++) {
                    StepInput.put(row, 0, chunk, position, 8, 0);
                    if (row.get(StepInput.FLAGS) != 0) {
                        sampling.add(position);
                        assertEquals(0, row.get(StepInput.UNCOUNTED));
                    }
                }
            }
            assertEquals(List.of(3), sampling);
            assertEquals(3, StepInput.firstSampled(chunks.get(0)));
            assertEquals(chunks.get(1).end(), StepInput.firstSampled(chunks.get(1)));
        });
    }

    @Test
    void unusableLogitsFailTheirRequestOnly() {
        List<WantedPosition> scored = new ArrayList<>();
        FakeCausalLm lm = new FakeCausalLm(1, 8, 32, 128).onLaunch(chunks -> {
            ScoreRows rows = new ScoreRows();
            rows.addTokens(chunks);
            IntBuffer results = IntBuffer.allocate(rows.count() * rows.stride());
            results.put(ResultRow.RANK, -1);
            results.put(ResultRow.REASON, Sampler.Unusable.LOGIT.ordinal());
            results.put(ResultRow.ID, 7);
            results.put(ResultRow.LOGIT, Float.floatToIntBits(Float.NaN));
            rows.take(results, VOCAB);
            scored.addAll(chunks.getFirst().wantedPositions());
        });
        try (NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, EngineOptions.defaults()), 1)) {
            var generation = scheduler.submit(new GenerationRequest(
                    new int[] {1, 2},
                    SamplingParams.greedy(1).toBuilder()
                            .maxNewTokens(0)
                            .promptScoring(PromptScoring.from(1))
                            .build()));
            Throwable cause =
                    assertThrows(CompletionException.class, generation::join).getCause();
            assertTrue(cause instanceof UnusableLogitsException, cause::toString);
            assertTrue(cause.getMessage().contains("NaN at token id 7"), cause::getMessage);
        }
        assertEquals(1, scored.size());
    }

    /** The definition of each result, in double precision, read as the reference sampler scores. */
    @Test
    void resultsMeanWhatTheReferenceReports() {
        Random random = new Random(3);
        Sampler reference = new Sampler(VOCAB);
        for (int round = 0; round < 50; round++) {
            float[] logits = new float[VOCAB];
            boolean[] wordStarts = new boolean[VOCAB];
            for (int id = 0; id < VOCAB; id++) {
                logits[id] = (float) (4 * random.nextGaussian() - 30);
                wordStarts[id] = random.nextInt(3) == 0;
            }
            int target = random.nextInt(VOCAB);
            PositionScore expected = reference.score(logits, target, ALL, wordStarts);
            PositionScore got = ScoreRows.score(IntBuffer.wrap(result(logits, target, wordStarts)), ALL, VOCAB);

            assertEquals(expected.logprobs().logprob(), got.logprobs().logprob(), 2e-6);
            for (int i = 0; i < 5; i++) {
                assertEquals(
                        expected.logprobs().top().get(i).tokenId(),
                        got.logprobs().top().get(i).tokenId());
                assertEquals(
                        expected.logprobs().top().get(i).logprob(),
                        got.logprobs().top().get(i).logprob(),
                        2e-6);
            }
            PositionScore.Statistics statistics = expected.statistics().orElseThrow();
            assertEquals(statistics.rank(), got.statistics().orElseThrow().rank());
            assertEquals(statistics.entropy(), got.statistics().orElseThrow().entropy(), 1e-5);
            assertEquals(statistics.variance(), got.statistics().orElseThrow().variance(), 1e-5);
            assertEquals(
                    expected.wordStartLogprob().orElseThrow(),
                    got.wordStartLogprob().orElseThrow(),
                    1e-5);
        }
    }

    private static int[] result(float[] logits, int target, boolean[] wordStarts) {
        double max =
                IntStream.range(0, VOCAB).mapToDouble(id -> logits[id]).max().orElseThrow();
        double mass = 0;
        double mean = 0;
        double square = 0;
        double starts = 0;
        for (int id = 0; id < VOCAB; id++) {
            double p = Math.exp(logits[id] - max);
            mass += p;
            mean += p * (logits[id] - max);
            square += p * (logits[id] - max) * (logits[id] - max);
            starts += wordStarts[id] ? p : 0;
        }
        mean /= mass;
        int[] row = new int[ResultRow.size(5)];
        row[ResultRow.RANK] = 1
                + (int) IntStream.range(0, VOCAB)
                        .filter(id -> logits[id] > logits[target])
                        .count();
        row[ResultRow.TOKEN_LOGIT] = Float.floatToIntBits(logits[target]);
        row[ResultRow.MAX_LOGIT] = Float.floatToIntBits((float) max);
        long units = (long) (mass * 0x1p40);
        row[ResultRow.MASS] = (int) units;
        row[ResultRow.MASS + 1] = (int) (units >> 32);
        row[ResultRow.MEAN] = Float.floatToIntBits((float) mean);
        row[ResultRow.VARIANCE] = Float.floatToIntBits((float) (square / mass - mean * mean));
        row[ResultRow.WORD_STARTS] = Float.floatToIntBits((float) (starts / mass));
        int[] best = IntStream.range(0, VOCAB)
                .boxed()
                .sorted(Comparator.comparing((Integer id) -> -logits[id]))
                .mapToInt(Integer::intValue)
                .toArray();
        for (int i = 0; i < 5; i++) {
            row[ResultRow.TOP + 2 * i] = best[i];
            row[ResultRow.TOP + 2 * i + 1] = Float.floatToIntBits(logits[best[i]]);
        }
        return row;
    }
}
