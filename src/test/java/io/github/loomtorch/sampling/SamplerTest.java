package io.github.loomtorch.sampling;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.request.UnusableLogitsException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SamplerTest {
    private static final float BANNED = Float.NEGATIVE_INFINITY;
    private static final int[] NO_TOKENS = {};

    // Logits whose probabilities are 1/2, 1/4, 1/8, 1/16, 1/16, at ids 3, 1, 4, 0, 2.
    private static final float[] HALVES = logs(1, 4, 1, 8, 2);

    // ---- Against the specification

    @Test
    void agreesWithTheSpecificationOnRandomRows() {
        SplittableRandom random = new SplittableRandom(1);
        for (int row = 0; row < 4000; row++) {
            agree(random, row, random.nextInt(1, row % 20 == 0 ? 2001 : 101));
        }
    }

    @Test
    void agreesWithTheSpecificationOnFullVocabularies() {
        SplittableRandom random = new SplittableRandom(2);
        for (int row = 0; row < 8; row++) {
            agree(random, row, 50_257);
        }
    }

    private static void agree(SplittableRandom random, int row, int vocabSize) {
        float[] logits = randomLogits(random, vocabSize);
        int[] tokens = random.ints(random.nextInt(0, 40), 0, vocabSize).toArray();
        int promptLength = random.nextInt(0, tokens.length + 1);
        SamplingParams params = randomParams(random, vocabSize);
        int[] banned = {};
        int open = IntStream.range(0, vocabSize)
                .filter(id -> logits[id] > BANNED)
                .findFirst()
                .orElseThrow();
        if (random.nextInt(3) == 0) {
            Set<Integer> allowed =
                    random.ints(1 + vocabSize / 2, 0, vocabSize).boxed().collect(Collectors.toSet());
            allowed.add(open);
            params = params.toBuilder().allowedTokenIds(allowed).build();
        }
        if (random.nextInt(3) == 0) {
            banned = random.ints(random.nextInt(20), 0, vocabSize)
                    .filter(id -> id != open)
                    .toArray();
        }
        float[] before = logits.clone();
        Sampler sampler = new Sampler(vocabSize);
        for (long seed = 0; seed < 3; seed++) {
            float u = Philox.uniform(seed, tokens.length - promptLength);
            int expected = SpecificationSampler.sample(logits, params, u, tokens, promptLength, tokens.length, banned);
            int got = sampler.sample(logits, params, seed, tokens, promptLength, tokens.length, banned);
            SamplingParams used = params;
            assertEquals(
                    expected,
                    got,
                    () -> "row " + row + " " + used + " logits " + Arrays.toString(Arrays.copyOf(logits, 40)));
        }
        assertArrayEquals(before, logits);
    }

    private static float[] randomLogits(SplittableRandom random, int vocabSize) {
        float scale = pick(random, 0, 1e-20f, 1e-3f, 1, 4, 30, 1e6f, 1e30f);
        float shift = pick(random, 0, 0, -35, 35, 1e4f);
        float grid = pick(random, 0, 0, 0.5f, 2); // > 0 makes ties
        double banned = pick(random, 0, 0, 0.1f, 0.9f);
        float[] logits = new float[vocabSize];
        for (int id = 0; id < vocabSize; id++) {
            double gaussian = random.nextGaussian();
            float x = (float) ((grid > 0 ? Math.rint(gaussian / grid) * grid : gaussian) * scale) + shift;
            logits[id] = random.nextDouble() < banned ? BANNED : x;
        }
        logits[random.nextInt(vocabSize)] = shift;
        if (scale == 0 && shift == 0) {
            logits[random.nextInt(vocabSize)] = -0f;
        }
        return logits;
    }

    private static SamplingParams randomParams(SplittableRandom random, int vocabSize) {
        Map<Integer, Float> bias = new HashMap<>();
        if (vocabSize > 20 && random.nextInt(3) == 0) {
            for (int i = 0; i < 5; i++) {
                bias.put(random.nextInt(vocabSize), pick(random, -3, 3, 100));
            }
        }
        return SamplingParams.builder()
                .temperature(pick(
                        random, 0, Float.MIN_VALUE, 1e-30f, 0.1f, 0.7f, 0.7f, 1, 1, 1.5f, 100, 1e10f, Float.MAX_VALUE))
                .topK((int) pick(random, 0, 0, 0, 1, 2, 5, 50, vocabSize / 2, vocabSize - 1, vocabSize, 100_000))
                .topP(pick(random, 1, 1, 1e-30f, 0.1f, 0.5f, 0.95f, 0.95f, 0.999f, Math.nextDown(1f)))
                .minP(pick(random, 0, 0, 0, 1e-30f, 1e-3f, 0.1f, 0.5f, 1))
                .repetitionPenalty(pick(random, 1, 1, 1.3f, 0.5f))
                .frequencyPenalty(pick(random, 0, 0, 0.4f, -1))
                .presencePenalty(pick(random, 0, 0, 0.6f, -2))
                .logitBias(bias)
                .build();
    }

    private static float pick(SplittableRandom random, float... values) {
        return values[random.nextInt(values.length)];
    }

    @Test
    void oneSamplerServesManyRowsInTurn() {
        SplittableRandom random = new SplittableRandom(3);
        Sampler sampler = new Sampler(500);
        for (int row = 0; row < 1000; row++) {
            float[] logits = randomLogits(random, 500);
            int[] tokens = random.ints(20, 0, 500).toArray();
            SamplingParams params = randomParams(random, 500);
            assertEquals(
                    SpecificationSampler.sample(logits, params, Philox.uniform(row, 13), tokens, 7, 20),
                    sampler.sample(logits, params, row, tokens, 7, 20),
                    "row " + row);
        }
    }

    @Test
    void weightIsTheExponential() {
        assertEquals(1L << 40, SpecificationSampler.weight(0));
        assertEquals(1L << 39, SpecificationSampler.weight(-1));
        assertEquals(1, SpecificationSampler.weight(-40));
        assertEquals(0, SpecificationSampler.weight(-41));
        for (float exponent = 0; exponent >= -41; exponent -= 0x1p-10f) {
            double exact = Math.pow(2, 40 + (double) exponent);
            assertEquals(exact, SpecificationSampler.weight(exponent), exact * 2e-7 + 1);
        }
    }

    // ---- Draws of small cases, for each parameter

    @Test
    void drawsByInverseCdfInDescendingOrder() {
        SamplingParams params = SamplingParams.builder().build();
        for (int index = 0; index < 1000; index++) {
            float u = Philox.uniform(9, index);
            int expected = u < 0.5 ? 3 : u < 0.75 ? 1 : u < 0.875 ? 4 : u < 0.9375 ? 0 : 2;
            assertEquals(expected, sampleAt(index, HALVES, params));
        }
    }

    @Test
    void temperatureDividesTheLogits() {
        SamplingParams params = SamplingParams.builder().temperature(0.5f).build(); // squares: 64, 16, 4, 1, 1 of 86
        for (int index = 0; index < 1000; index++) {
            float u = Philox.uniform(9, index) * 86;
            assertEquals(u < 64 ? 3 : u < 80 ? 1 : u < 84 ? 4 : u < 85 ? 0 : 2, sampleAt(index, HALVES, params));
        }
    }

    @Test
    void topKKeepsTheKLargestAndTiesWithTheLast() {
        assertEquals(List.of(1, 3), drawn(HALVES, SamplingParams.builder().topK(2)));
        assertEquals(
                List.of(0, 1, 2, 3, 4), drawn(HALVES, SamplingParams.builder().topK(4)));
        assertEquals(
                List.of(0, 1, 2, 3, 4), drawn(HALVES, SamplingParams.builder().topK(1000)));
        assertEquals(
                List.of(1, 2),
                drawn(new float[] {-1, -0f, 0f, -1}, SamplingParams.builder().topK(1)));
    }

    @Test
    void topPKeepsEachTokenWhosePrecedingMassIsBelowIt() {
        assertEquals(List.of(3), drawn(HALVES, SamplingParams.builder().topP(1e-30f)));
        assertEquals(List.of(3), drawn(HALVES, SamplingParams.builder().topP(0.49f)));
        assertEquals(List.of(1, 3), drawn(HALVES, SamplingParams.builder().topP(0.51f)));
        assertEquals(List.of(1, 3, 4), drawn(HALVES, SamplingParams.builder().topP(0.76f)));
        assertEquals(
                List.of(0, 1, 2, 3, 4), drawn(HALVES, SamplingParams.builder().topP(0.95f)));
        assertEquals(List.of(0), drawn(new float[2], SamplingParams.builder().topP(0.5f)));
    }

    @Test
    void topPCutsTiesByAscendingId() {
        assertEquals(
                List.of(0, 1, 2), drawn(new float[8], SamplingParams.builder().topP(0.26f)));
    }

    @Test
    void topPCountsTheTopKSurvivorsOnly() {
        // 2/3 and 1/3 after top-k
        assertEquals(List.of(3), drawn(HALVES, SamplingParams.builder().topK(2).topP(0.6f)));
        assertEquals(
                List.of(1, 3), drawn(HALVES, SamplingParams.builder().topK(2).topP(0.7f)));
    }

    @Test
    void minPIsRelativeToTheMostProbable() {
        assertEquals(List.of(3), drawn(HALVES, SamplingParams.builder().minP(1)));
        assertEquals(List.of(1, 3), drawn(HALVES, SamplingParams.builder().minP(0.49f)));
        assertEquals(List.of(3), drawn(HALVES, SamplingParams.builder().minP(0.51f)));
        assertEquals(List.of(1, 3, 4), drawn(HALVES, SamplingParams.builder().minP(0.24f)));
        assertEquals(
                List.of(3), drawn(HALVES, SamplingParams.builder().minP(0.26f).temperature(0.5f)));
    }

    @Test
    void greedyTakesTheLowestIdAmongEquals() {
        SamplingParams greedy = SamplingParams.greedy(1);
        assertEquals(1, sampleAt(0, new float[] {-3, 2, 1, 2, 2}, greedy));
        assertEquals(0, sampleAt(0, new float[] {-0f, 0f, -1}, greedy));
        assertEquals(2, sampleAt(0, new float[] {BANNED, BANNED, -1e30f}, greedy));
        assertEquals(0, sampleAt(0, new float[] {5}, greedy));
    }

    @Test
    void greedyIsTheLimitOfLowTemperature() {
        SamplingParams coldest =
                SamplingParams.builder().temperature(Float.MIN_VALUE).build();
        assertEquals(List.of(3), drawn(HALVES, coldest.toBuilder()));
    }

    @Test
    void repetitionPenaltyAppliesOnceToEachTokenOfPromptAndOutput() {
        SamplingParams params =
                SamplingParams.builder().temperature(0).repetitionPenalty(2).build();
        int[] tokens = {0, 0, 1}; // the prompt is {0, 0}
        assertEquals(2, new Sampler(3).sample(new float[] {4, 4, 2.1f}, params, 0, tokens, 2, 3));
        assertEquals(0, new Sampler(3).sample(new float[] {4, 3.9f, 1.9f}, params, 0, tokens, 2, 3));
        assertEquals(2, new Sampler(3).sample(new float[] {-1, -1, -1.9f}, params, 0, tokens, 2, 3));
        assertEquals(0, new Sampler(3).sample(new float[] {-1, -1, -2.1f}, params, 0, tokens, 2, 3));
    }

    @Test
    void presencePenaltyAppliesOnceToEachTokenOfTheOutput() {
        SamplingParams params =
                SamplingParams.builder().temperature(0).presencePenalty(1).build();
        int[] tokens = {0, 1, 1, 1}; // the prompt is {0}
        assertEquals(1, new Sampler(3).sample(new float[] {1.9f, 3, 1.9f}, params, 0, tokens, 1, 4));
        assertEquals(0, new Sampler(3).sample(new float[] {2.1f, 3, 2}, params, 0, tokens, 1, 4));
    }

    @Test
    void frequencyPenaltyAppliesForEachOccurrenceInTheOutput() {
        SamplingParams params =
                SamplingParams.builder().temperature(0).frequencyPenalty(1).build();
        int[] tokens = {0, 1, 1, 1}; // the prompt is {0}
        assertEquals(1, new Sampler(3).sample(new float[] {1.9f, 5, 1.9f}, params, 0, tokens, 1, 4));
        assertEquals(0, new Sampler(3).sample(new float[] {2.1f, 5, 2}, params, 0, tokens, 1, 4));
    }

    @Test
    void tokensBeyondLengthDoNotCount() {
        SamplingParams params =
                SamplingParams.builder().temperature(0).presencePenalty(9).build();
        assertEquals(1, new Sampler(2).sample(new float[] {1, 2}, params, 0, new int[] {0, 0, 1}, 1, 2));
    }

    @Test
    void penaltiesAreAppliedAfterBiasAndInTheirOrder() {
        // (-1 + 3) / 2 - 2 * 0.25 - 0.125 = 0.375
        SamplingParams params = SamplingParams.builder()
                .temperature(0)
                .logitBias(Map.of(0, 3f))
                .repetitionPenalty(2)
                .frequencyPenalty(0.25f)
                .presencePenalty(0.125f)
                .build();
        int[] tokens = {0, 0};
        assertEquals(0, new Sampler(2).sample(new float[] {-1, 0.375f}, params, 0, tokens, 0, 2));
        assertEquals(1, new Sampler(2).sample(new float[] {-1, Math.nextUp(0.375f)}, params, 0, tokens, 0, 2));
        assertEquals(0, new Sampler(2).sample(new float[] {-1, Math.nextDown(0.375f)}, params, 0, tokens, 0, 2));
    }

    @Test
    void biasOfNegativeInfinityBansAToken() {
        assertEquals(List.of(0, 1, 2, 4), drawn(HALVES, SamplingParams.builder().logitBias(Map.of(3, BANNED))));
        assertEquals(
                1,
                sampleAt(
                        0,
                        HALVES,
                        SamplingParams.builder()
                                .temperature(0)
                                .logitBias(Map.of(3, BANNED))
                                .build()));
    }

    @Test
    void biasIsAddedToTheLogit() {
        assertEquals(
                2,
                sampleAt(
                        0,
                        HALVES,
                        SamplingParams.builder()
                                .temperature(0)
                                .logitBias(Map.of(2, 3f))
                                .build()));
    }

    // ---- Distribution

    @Test
    void drawsFollowTheExactDistribution() {
        float[] logits = {2, -1, 0.5f, 1.5f, 0.5f, -0.25f, 3, BANNED, 1, -2};
        double[] p = softmax(logits, 1);
        followsByIndex(p, logits, SamplingParams.builder());
        followsBySeed(p, logits, SamplingParams.builder());
        followsByIndex(softmax(logits, 1.7), logits, SamplingParams.builder().temperature(1.7f));
        followsByIndex(keep(p, 6, 3, 0, 8), logits, SamplingParams.builder().topK(4));
        followsBySeed(
                keep(p, 6, 0, 3, 8, 2, 4), logits, SamplingParams.builder().topK(5)); // 2 and 4 tie
        followsByIndex(keep(p, 6, 0, 3), logits, SamplingParams.builder().topP(0.75f));
        followsBySeed(keep(p, 6, 0, 3, 8), logits, SamplingParams.builder().minP(0.12f));
        double[] cool = keep(softmax(logits, 0.7), 6, 0, 3, 8); // 0.68, 0.16, 0.08, 0.04 of the top 6
        followsByIndex(
                cool,
                logits,
                SamplingParams.builder().temperature(0.7f).topK(6).topP(0.95f).minP(0.01f));
        float[] biased = logits.clone();
        biased[6] = BANNED;
        biased[1] += 2;
        followsBySeed(softmax(biased, 1), logits, SamplingParams.builder().logitBias(Map.of(6, BANNED, 1, 2f)));
    }

    private static void followsByIndex(double[] expected, float[] logits, SamplingParams.Builder builder) {
        SamplingParams params = builder.build();
        Sampler sampler = new Sampler(logits.length);
        follows(
                expected,
                IntStream.range(0, DRAWS).map(i -> sampler.sample(logits, params, 11, NO_TOKENS, 0, i)),
                params);
    }

    private static void followsBySeed(double[] expected, float[] logits, SamplingParams.Builder builder) {
        SamplingParams params = builder.build();
        Sampler sampler = new Sampler(logits.length);
        follows(
                expected,
                IntStream.range(0, DRAWS).map(i -> sampler.sample(logits, params, i, NO_TOKENS, 0, 0)),
                params);
    }

    private static final int DRAWS = 100_000;

    // Upper 0.1 % points of the chi-square distribution, by degrees of freedom.
    private static final double[] CRITICAL = {0, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12, 27.88, 29.59};

    private static void follows(double[] expected, IntStream draws, SamplingParams params) {
        int[] counts = new int[expected.length];
        draws.forEach(id -> counts[id]++);
        double chiSquare = 0;
        int degrees = -1;
        for (int id = 0; id < expected.length; id++) {
            if (expected[id] == 0) {
                assertEquals(0, counts[id], "draws of a token that is not kept: " + id + " " + params);
            } else {
                double mean = expected[id] * DRAWS;
                chiSquare += (counts[id] - mean) * (counts[id] - mean) / mean;
                degrees++;
            }
        }
        assertTrue(chiSquare < CRITICAL[degrees], "chi-square " + chiSquare + ", " + degrees + " degrees, " + params);
    }

    private static double[] softmax(float[] logits, double temperature) {
        double[] p = new double[logits.length];
        for (int id = 0; id < p.length; id++) {
            p[id] = Math.exp(logits[id] / temperature);
        }
        return normalise(p);
    }

    private static double[] keep(double[] p, int... ids) {
        double[] kept = new double[p.length];
        for (int id : ids) {
            kept[id] = p[id];
        }
        return normalise(kept);
    }

    private static double[] normalise(double[] p) {
        double sum = Arrays.stream(p).sum();
        return Arrays.stream(p).map(x -> x / sum).toArray();
    }

    // ---- Logprobs

    @Test
    void logprobsAreThoseOfTheDoubleSoftmax() {
        SplittableRandom random = new SplittableRandom(4);
        for (int vocabSize : new int[] {1, 2, 19, 1000, 50_257}) {
            for (float scale : new float[] {0, 1, 4, 50}) {
                float[] logits = new float[vocabSize];
                for (int id = 0; id < vocabSize; id++) {
                    logits[id] = (float) random.nextGaussian() * scale - 35;
                }
                double max = IntStream.range(0, vocabSize)
                        .mapToDouble(i -> logits[i])
                        .max()
                        .orElseThrow();
                double logSum = max
                        + Math.log(IntStream.range(0, vocabSize)
                                .mapToDouble(i -> Math.exp(logits[i] - max))
                                .sum());
                List<Integer> descending =
                        new ArrayList<>(IntStream.range(0, vocabSize).boxed().toList());
                descending.sort(Comparator.comparingDouble(id -> -logits[id])); // stable

                int sampled = random.nextInt(vocabSize);
                TokenLogprobs got = new Sampler(vocabSize).logprobs(logits, sampled, 20);
                near(logits[sampled] - logSum, got.logprob());
                assertEquals(
                        descending.subList(0, Math.min(20, vocabSize)),
                        got.top().stream().map(TokenLogprobs.Entry::tokenId).toList());
                got.top().forEach(entry -> near(logits[entry.tokenId()] - logSum, entry.logprob()));
            }
        }
    }

    private static void near(double expected, float got) {
        assertEquals(expected, got, 2e-6 + Math.abs(expected) * 1e-7); // the softmax's error, and float rounding
    }

    @Test
    void topLogprobsAreDescendingWithTiesByAscendingId() {
        TokenLogprobs got = new Sampler(6).logprobs(new float[] {1, 5, 2, 5, 2, 2}, 0, 4);
        assertEquals(
                List.of(1, 3, 2, 4),
                got.top().stream().map(TokenLogprobs.Entry::tokenId).toList());
    }

    @Test
    void noTopLogprobsIsTheSampledTokensOnly() {
        TokenLogprobs got = new Sampler(2).logprobs(new float[2], 1, 0);
        assertEquals(new TokenLogprobs((float) Math.log(0.5), List.of()), got);
    }

    @Test
    void logprobsLeaveTheLogitsIntact() {
        float[] logits = HALVES.clone();
        new Sampler(5).logprobs(logits, 1, 3);
        assertArrayEquals(HALVES, logits);
    }

    @Test
    void logprobsOfABannedTokenIsNegativeInfinity() {
        assertEquals(
                BANNED, new Sampler(2).logprobs(new float[] {0, BANNED}, 1, 0).logprob());
    }

    // ---- Errors

    @Test
    void refusesLogitsThatAreNotNumbers() {
        String advice = "; the model or its weights are damaged, or float16 overflowed: try dtype float32";
        float negativeNaN = Float.intBitsToFloat(0xffc00000);
        for (float bad : new float[] {Float.NaN, negativeNaN, Float.POSITIVE_INFINITY}) {
            float[] logits = new float[20];
            logits[17] = bad;
            String message = "logits must be finite or -infinity, got " + bad + " at token id 17" + advice;
            fails(message, () -> sampleAt(0, logits, SamplingParams.greedy(1)));
            fails(message, () -> sampleAt(0, logits, SamplingParams.creative()));
            fails(
                    message,
                    () -> sampleAt(
                            0,
                            logits,
                            SamplingParams.builder()
                                    .logitBias(Map.of(17, BANNED))
                                    .build()));
            fails(message, () -> new Sampler(20).logprobs(logits, 0, 1));
        }
        float[] banned = {BANNED, BANNED};
        String message = "logits must not all be -infinity, got -infinity at all 2 token ids" + advice;
        fails(message, () -> sampleAt(0, banned, SamplingParams.greedy(1)));
        fails(message, () -> new Sampler(2).logprobs(banned, 0, 1));
    }

    @Test
    void refusesBiasAndPenaltiesThatLeaveNoNumbers() {
        fails(
                "logits must be finite or -infinity after logitBias and penalties, got Infinity at token id 1; bring these"
                        + " closer to their defaults",
                () -> sampleAt(
                        0,
                        new float[] {0, 3e38f},
                        SamplingParams.builder().logitBias(Map.of(1, 3e38f)).build()));
        fails(
                "logitBias, bans and penalties must leave a token to choose, got -infinity at all 2 token ids; ban fewer",
                () -> sampleAt(
                        0,
                        new float[] {0, BANNED},
                        SamplingParams.builder().logitBias(Map.of(0, BANNED)).build()));
    }

    private static void fails(String message, Runnable action) {
        assertEquals(
                message,
                assertThrows(UnusableLogitsException.class, action::run).getMessage());
    }

    @ParameterizedTest
    @ValueSource(ints = {0, -1, (1 << 22) + 1})
    void refusesVocabulariesOutOfRange(int vocabSize) {
        assertEquals(
                "vocabSize must be in [1, 4194304], got " + vocabSize,
                assertThrows(IllegalArgumentException.class, () -> new Sampler(vocabSize))
                        .getMessage());
    }

    @Test
    void refusesArgumentsOutOfRange() {
        Sampler sampler = new Sampler(3);
        refuses("logits must hold 3 values, got 2", () -> sampler.logprobs(new float[2], 0, 0));
        refuses(
                "logits must hold 3 values, got 4",
                () -> sampler.sample(new float[4], SamplingParams.greedy(1), 0, NO_TOKENS, 0, 0));
        refuses("token id must be in [0, 3), got 3", () -> sampler.logprobs(new float[3], 3, 0));
        refuses("token id must be in [0, 3), got -1", () -> sampler.logprobs(new float[3], -1, 0));
        refuses("top must be in [0, 20], got -1", () -> sampler.logprobs(new float[3], 0, -1));
        refuses("top must be in [0, 20], got 21", () -> sampler.logprobs(new float[3], 0, 21));
    }

    private static void refuses(String message, Runnable action) {
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, action::run).getMessage());
    }

    // ---- Helpers

    private static float[] logs(double... weights) {
        float[] logits = new float[weights.length];
        for (int i = 0; i < weights.length; i++) {
            logits[i] = (float) Math.log(weights[i]);
        }
        return logits;
    }

    private static int sampleAt(int index, float[] logits, SamplingParams params) {
        return new Sampler(logits.length).sample(logits, params, 9, NO_TOKENS, 0, index);
    }

    // The ids that 1000 draws produce, ascending.
    private static List<Integer> drawn(float[] logits, SamplingParams.Builder builder) {
        SamplingParams params = builder.build();
        return IntStream.range(0, 1000)
                .map(i -> sampleAt(i, logits, params))
                .distinct()
                .sorted()
                .boxed()
                .toList();
    }
}
