package io.github.loomtorch.sampling;

import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.request.UnusableLogitsException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Chooses a token from a row of logits, exactly as the package description says, or scores one. It reads the logits and
 * never writes them; its scratch memory, 36 bytes per token id, is made once. Confined to the engine thread.
 */
public final class Sampler {
    /*
     * Every truncation keeps a prefix of one order: descending logit, ties by ascending id. So the kept tokens are described by their
     * mass alone, the sum of their integer weights, and one operation, "the first token whose cumulative mass exceeds x", does both
     * top-p and the draw. To find that token without sorting the vocabulary, the masses are first summed per bucket of weight, 32 to a
     * factor of two, and only the one bucket that x falls into is sorted.
     */
    private static final int MAX_VOCAB_SIZE = 1 << 22; // times the largest weight, 2^40: their sum fits a long

    private static final double LOG2_E = 1 / StrictMath.log(2);
    private static final float LOWEST_EXPONENT = -41; // 2^-41 of the largest weight is 0
    private static final int BUCKETS_PER_OCTAVE = 32;
    private static final int BUCKETS = 41 * BUCKETS_PER_OCTAVE + 1;

    private final int vocabSize;
    private final float[] adjusted; // logits after bias and penalties
    private final int[] occurrences; // per id: 0 unseen, else 1 + occurrences in the output; all 0 between calls
    private final float[] heap;

    private final int[] ids; // the candidates, ascending ...
    private final float[] candidates; // ... their logits ...
    private final int[] mantissas; // ... and their weights
    private final int[] buckets;
    private final long[] bucketMass = new long[BUCKETS];
    private final long[] order; // some candidates as sorted: by logit, then position

    private int found; // position of the candidate that find() found
    private long foundMass; // mass of the tokens up to it, itself included

    /**
     * Allocates the scratch memory.
     *
     * @param vocabSize V, in [1, 4194304]
     * @throws IllegalArgumentException if it is out of range
     */
    public Sampler(int vocabSize) {
        if (vocabSize < 1 || vocabSize > MAX_VOCAB_SIZE) {
            throw new IllegalArgumentException("vocabSize must be in [1, " + MAX_VOCAB_SIZE + "], got " + vocabSize);
        }
        this.vocabSize = vocabSize;
        adjusted = new float[vocabSize];
        occurrences = new int[vocabSize];
        heap = new float[vocabSize];
        ids = new int[vocabSize];
        candidates = new float[vocabSize];
        mantissas = new int[vocabSize];
        buckets = new int[vocabSize];
        order = new long[vocabSize];
    }

    /**
     * Chooses the next token of a sequence.
     *
     * @param logits [V] float32, finite or negative infinity
     * @param params how to choose; its ids passed {@link SamplingParams#checkTokenIds}
     * @param seed of the request
     * @param tokens prompt, then output; ids in {@code [0, V)}
     * @param promptLength how many of the tokens are the prompt's
     * @param length how many tokens there are; the new one's index in the output is {@code length - promptLength}
     * @param bannedIds ids that must not be chosen here, beside those that {@code params} bans everywhere
     * @return the token id, in {@code [0, V)}
     * @throws IllegalArgumentException if the number of logits is not V
     * @throws UnusableLogitsException if a logit is NaN or positive infinity, or all are negative infinity, before or
     *     after bias and penalties
     */
    public int sample(
            float[] logits,
            SamplingParams params,
            long seed,
            int[] tokens,
            int promptLength,
            int length,
            int... bannedIds) {
        float[] row = adjust(logits, params, tokens, promptLength, length, bannedIds);
        int best = argmax(row, logits);
        if (params.temperature() == 0) {
            return best;
        }
        float max = row[best];
        float scale = scale(params);

        int n = params.topK() > 0 && params.topK() < vocabSize ? keepTop(params.topK(), row) : keepAll(row);
        long mass = weigh(n, max, scale);
        if (params.topP() < 1) {
            find((long) Math.ceil(params.topP() * (double) mass) - 1, n);
            mass = foundMass;
        }
        if (params.minP() > 0) {
            mass = Math.min(mass, massAbove(minExponent(params), n, max, scale));
        }
        find((long) (Philox.uniform(seed, length - promptLength) * (double) mass), n);
        return ids[found];
    }

    /** {@return what logits are multiplied by before they are powers of two: log2(e) / temperature} */
    public static float scale(SamplingParams params) {
        return Math.min((float) (LOG2_E / params.temperature()), Float.MAX_VALUE);
    }

    /** {@return the power of two below which min-p drops a token, relative to the largest} */
    public static float minExponent(SamplingParams params) {
        return params.minP() == 0 ? Float.NEGATIVE_INFINITY : (float) (StrictMath.log(params.minP()) * LOG2_E);
    }

    /**
     * Natural-log probabilities under the softmax of the logits alone.
     *
     * @param logits [V] float32, finite or negative infinity
     * @param tokenId the token that was sampled, in {@code [0, V)}
     * @param top how many of the most probable tokens to name as well, in [0, 20]; at most V are
     * @return the logprobs, exact to about 1e-6
     * @throws IllegalArgumentException if an argument is out of range
     * @throws UnusableLogitsException if a logit is NaN or positive infinity, or all are negative infinity
     */
    public TokenLogprobs logprobs(float[] logits, int tokenId, int top) {
        if (tokenId < 0 || tokenId >= vocabSize) {
            throw new IllegalArgumentException("token id must be in [0, " + vocabSize + "), got " + tokenId);
        }
        if (top < 0 || top > SamplingParams.MAX_TOP_LOGPROBS) {
            throw new IllegalArgumentException(
                    "top must be in [0, " + SamplingParams.MAX_TOP_LOGPROBS + "], got " + top);
        }
        float max = logits[argmax(checkSize(logits), logits)];
        long mass = weigh(keepAll(logits), max, (float) LOG2_E);
        double logSum = max + StrictMath.log(mass * 0x1p-40);

        List<TokenLogprobs.Entry> entries = new ArrayList<>(top);
        if (top > 0) {
            int n = keepTop(Math.min(top, vocabSize), logits);
            for (int i = 0; i < n; i++) {
                order[i] = orderOf(i);
            }
            Arrays.sort(order, 0, n);
            for (int i = 0; i < Math.min(top, n); i++) {
                int id = ids[(int) order[i]];
                entries.add(new TokenLogprobs.Entry(id, (float) (logits[id] - logSum)));
            }
        }
        return new TokenLogprobs((float) (logits[tokenId] - logSum), entries);
    }

    /**
     * Scores a token that is known. The log-probabilities are the same bits as {@link #logprobs} gives.
     *
     * @param logits [V] float32, finite or negative infinity
     * @param tokenId the token to score, in {@code [0, V)}
     * @param scoring what to report
     * @param wordStarts [V], the ids that begin a word or end the text; not read unless
     *     {@link PromptScoring#wordStarts()}
     * @return the score, exact to about 1e-6
     * @throws IllegalArgumentException if an argument is out of range
     * @throws UnusableLogitsException if a logit is NaN or positive infinity, or all are negative infinity
     */
    public PositionScore score(float[] logits, int tokenId, PromptScoring scoring, boolean[] wordStarts) {
        TokenLogprobs logprobs = logprobs(logits, tokenId, scoring.top()); // leaves all weights as they are
        return Scores.of(logits, tokenId, scoring, logprobs, this::weight, wordStarts);
    }

    private long mass() {
        long mass = 0;
        for (long bucket : bucketMass) {
            mass += bucket;
        }
        return mass;
    }

    private float[] checkSize(float[] logits) {
        if (logits.length != vocabSize) {
            throw new IllegalArgumentException("logits must hold " + vocabSize + " values, got " + logits.length);
        }
        return logits;
    }

    // Bias, bans and penalties; the logits themselves where there are none.
    private float[] adjust(
            float[] logits, SamplingParams params, int[] tokens, int promptLength, int length, int[] bannedIds) {
        checkSize(logits);
        boolean penalties =
                params.repetitionPenalty() != 1 || params.frequencyPenalty() != 0 || params.presencePenalty() != 0;
        if (!penalties && !LogitBias.applies(params, bannedIds)) {
            return logits;
        }
        System.arraycopy(logits, 0, adjusted, 0, vocabSize);
        LogitBias.add(adjusted, params, bannedIds);
        if (penalties) {
            for (int i = 0; i < length; i++) {
                int seen = Math.max(occurrences[tokens[i]], 1);
                occurrences[tokens[i]] = i < promptLength ? seen : seen + 1;
            }
            for (int i = 0; i < length; i++) {
                int id = tokens[i];
                if (occurrences[id] > 0) {
                    adjusted[id] = penalise(adjusted[id], occurrences[id] - 1, params);
                    occurrences[id] = 0;
                }
            }
        }
        return adjusted;
    }

    private static float penalise(float logit, int outputOccurrences, SamplingParams params) {
        float repeated = logit > 0 ? logit / params.repetitionPenalty() : logit * params.repetitionPenalty();
        return outputOccurrences == 0
                ? repeated
                : repeated - params.frequencyPenalty() * outputOccurrences - params.presencePenalty();
    }

    // The lowest id among those of the largest logit. One comparison a logit finds NaN and +infinity too.
    private static int argmax(float[] row, float[] logits) {
        int best = -1;
        float max = Float.NEGATIVE_INFINITY;
        for (int id = 0; id < row.length; id++) {
            float logit = row[id];
            if (!(logit <= max)) {
                if (!(logit < Float.POSITIVE_INFINITY)) {
                    throw unusable(row, logits);
                }
                max = logit;
                best = id;
            }
        }
        if (best < 0) {
            throw unusable(row, logits);
        }
        return best;
    }

    /** What can be wrong with a row of logits, in the order in which it is looked for. */
    public enum Unusable {
        /** A logit is NaN or positive infinity. */
        LOGIT,
        /** One is, after bias and penalties. */
        ADJUSTED_LOGIT,
        /** All are negative infinity, but not before bias and penalties. */
        ALL_BANNED,
        /** All are negative infinity. */
        ALL_INFINITE
    }

    private static UnusableLogitsException unusable(float[] row, float[] logits) {
        int bad = firstUnusable(logits);
        if (bad < logits.length) {
            return unusable(Unusable.LOGIT, bad, logits[bad], row.length);
        }
        bad = firstUnusable(row);
        if (bad < row.length) {
            return unusable(Unusable.ADJUSTED_LOGIT, bad, row[bad], row.length);
        }
        for (float logit : logits) {
            if (logit != Float.NEGATIVE_INFINITY) {
                return unusable(Unusable.ALL_BANNED, 0, Float.NEGATIVE_INFINITY, row.length);
            }
        }
        return unusable(Unusable.ALL_INFINITE, 0, Float.NEGATIVE_INFINITY, row.length);
    }

    /**
     * Says why no token can be chosen.
     *
     * @param why what is wrong
     * @param tokenId the first with such a logit, if it is one's
     * @param logit of that token
     * @param vocabSize V
     * @return the exception, to be thrown by the caller
     */
    public static UnusableLogitsException unusable(Unusable why, int tokenId, float logit, int vocabSize) {
        String damaged = "; the model or its weights are damaged, or float16 overflowed: try dtype float32";
        return new UnusableLogitsException(
                switch (why) {
                    case LOGIT ->
                        "logits must be finite or -infinity, got " + logit + " at token id " + tokenId + damaged;
                    case ADJUSTED_LOGIT ->
                        "logits must be finite or -infinity after logitBias and penalties, got " + logit
                                + " at token id " + tokenId + "; bring these closer to their defaults";
                    case ALL_BANNED ->
                        "logitBias, bans and penalties must leave a token to choose, got -infinity at all " + vocabSize
                                + " token ids; ban fewer";
                    case ALL_INFINITE ->
                        "logits must not all be -infinity, got -infinity at all " + vocabSize + " token ids" + damaged;
                });
    }

    private static int firstUnusable(float[] row) {
        int i = 0;
        while (i < row.length && row[i] < Float.POSITIVE_INFINITY) {
            i++;
        }
        return i;
    }

    // Makes every token a candidate; returns V.
    private int keepAll(float[] row) {
        System.arraycopy(row, 0, candidates, 0, vocabSize);
        for (int id = 0; id < ids.length; id++) {
            ids[id] = id;
        }
        return vocabSize;
    }

    // Makes the tokens candidates whose logit is not below the k-th largest; returns how many. One pass with a min-heap
    // of the k largest
    // so far; what passed while the heap was still low is dropped at the end.
    private int keepTop(int k, float[] row) {
        for (int id = 0; id < k; id++) {
            heap[id] = row[id];
            ids[id] = id;
        }
        for (int i = k / 2 - 1; i >= 0; i--) {
            siftDown(i, k);
        }
        int passed = k;
        float threshold = heap[0];
        for (int id = k; id < row.length; id++) {
            float logit = row[id];
            if (logit >= threshold) {
                ids[passed++] = id;
                if (logit > threshold) {
                    heap[0] = logit;
                    siftDown(0, k);
                    threshold = heap[0];
                }
            }
        }
        int kept = 0;
        for (int i = 0; i < passed; i++) {
            int id = ids[i];
            if (row[id] >= threshold) {
                ids[kept] = id;
                candidates[kept++] = row[id];
            }
        }
        return kept;
    }

    private void siftDown(int i, int size) {
        float logit = heap[i];
        int child;
        while ((child = 2 * i + 1) < size) {
            if (child + 1 < size && heap[child + 1] < heap[child]) {
                child++;
            }
            if (heap[child] >= logit) {
                break;
            }
            heap[i] = heap[child];
            i = child;
        }
        heap[i] = logit;
    }

    // Weighs the first n candidates and fills the buckets; returns their mass.
    private long weigh(int n, float max, float scale) {
        for (int i = 0; i < n; i++) { // a loop of its own, because it vectorises
            float exponent = Math.max((candidates[i] - max) * scale, LOWEST_EXPONENT);
            mantissas[i] = mantissa(exponent);
            buckets[i] = (int) (exponent * -BUCKETS_PER_OCTAVE);
        }
        Arrays.fill(bucketMass, 0);
        for (int i = 0; i < n; i++) {
            bucketMass[buckets[i]] += weight(i);
        }
        return mass();
    }

    // 2^(24 + f), where f in (-1, 0] is the fraction of the exponent, by a polynomial of relative error below 2e-7;
    // rounded down.
    static int mantissa(float exponent) {
        float f = exponent - (int) exponent;
        float power = 1.14919952e-4f;
        power = power * f + 1.29163684e-3f;
        power = power * f + 9.59703512e-3f;
        power = power * f + 5.54992296e-2f;
        power = power * f + 2.40226090e-1f;
        power = power * f + 6.93147182e-1f;
        power = power * f + 1;
        return (int) (power * 0x1p24f);
    }

    private long weight(int position) {
        return (long) mantissas[position] << 16 >> buckets[position] / BUCKETS_PER_OCTAVE;
    }

    private long massAbove(float minExponent, int n, float max, float scale) {
        long mass = 0;
        for (int i = 0; i < n; i++) {
            if ((candidates[i] - max) * scale >= minExponent) {
                mass += weight(i);
            }
        }
        return mass;
    }

    // Finds the first candidate, in descending order, up to which the mass exceeds target, which is below the mass of
    // all.
    private void find(long target, int n) {
        int bucket = 0;
        long mass = bucketMass[0];
        while (mass <= target) {
            mass += bucketMass[++bucket];
        }
        mass -= bucketMass[bucket];

        int size = 0;
        for (int i = 0; i < n; i++) {
            if (buckets[i] == bucket) {
                order[size++] = orderOf(i);
            }
        }
        Arrays.sort(order, 0, size);
        int next = 0;
        do {
            found = (int) order[next++];
            mass += weight(found);
        } while (mass <= target);
        foundMass = mass;
    }

    // Sorts by descending logit, then by position. A float's bits, with the lower 31 flipped if it is negative, order
    // as the floats do.
    private long orderOf(int position) {
        int bits = Float.floatToRawIntBits(candidates[position] + 0f); // + 0 makes -0 equal to 0
        int ascending = bits ^ (bits >> 31 >>> 1);
        return (long) ~ascending << 32 | position;
    }
}
