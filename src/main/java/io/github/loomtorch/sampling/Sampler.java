package io.github.loomtorch.sampling;

import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * Chooses a token from a row of logits, exactly as the package description says. It reads the logits and never writes them; its scratch
 * memory, about 32 bytes per token id, is made once. Confined to the engine thread.
 */
public final class Sampler {
    /*
     * Every truncation keeps a prefix of one order: descending logit, ties by ascending id. So the kept tokens are described by their
     * mass alone, the sum of their integer weights, and one operation, "the first token whose cumulative mass exceeds x", does both
     * top-p and the draw. To find that token without sorting the vocabulary, the masses are first summed per bucket of weight, 32 to a
     * factor of two, and only the one bucket that x falls into is sorted.
     *
     * Logits are compared as integers: a float's bits, with the lower 31 flipped if it is negative, order as the floats do.
     */
    private static final int MAX_VOCAB_SIZE = 1 << 22; // times the largest weight, 2^40: their sum fits a long
    private static final int POSITIVE_INFINITY_KEY = key(Float.POSITIVE_INFINITY);
    private static final int NEGATIVE_INFINITY_KEY = key(Float.NEGATIVE_INFINITY);

    private static final double LOG2_E = 1 / StrictMath.log(2);
    private static final float LOWEST_EXPONENT = -41; // 2^-41 of the largest weight is 0
    private static final int BUCKETS_PER_OCTAVE = 32;
    private static final int BUCKETS = 41 * BUCKETS_PER_OCTAVE + 1;

    private final int vocabSize;
    private final float[] adjusted; // logits after bias and penalties
    private final int[] occurrences; // per id: 0 unseen, else 1 + occurrences in the output; all 0 between calls
    private final int[] heap;

    private final int[] ids; // the candidates, ascending ...
    private final int[] keys; // ... their logits as keys ...
    private final long[] weights; // ... their weights ...
    private final int[] buckets; // ... and the buckets these are in
    private final long[] bucketMass = new long[BUCKETS];
    private final long[] order; // the candidates of one bucket as sorted: ~key, then position

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
        heap = new int[vocabSize];
        ids = new int[vocabSize];
        keys = new int[vocabSize];
        weights = new long[vocabSize];
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
     * @return the token id, in {@code [0, V)}
     * @throws IllegalArgumentException if the number of logits is not V
     * @throws ArithmeticException if a logit is NaN or positive infinity, or all are negative infinity, before or after bias and penalties
     */
    public int sample(float[] logits, SamplingParams params, long seed, int[] tokens, int promptLength, int length) {
        float[] row = adjust(logits, params, tokens, promptLength, length);
        int maxKey = readKeys(row, logits);
        if (params.temperature() == 0) {
            return firstOf(maxKey);
        }
        float scale = Math.min((float) (LOG2_E / params.temperature()), Float.MAX_VALUE);

        int n = params.topK() > 0 && params.topK() < vocabSize ? keepTop(params.topK()) : keepAll();
        weigh(n, maxKey, scale);
        long mass = fillBuckets(n);
        if (params.topP() < 1) {
            find((long) Math.ceil(params.topP() * (double) mass) - 1, n);
            mass = foundMass;
        }
        if (params.minP() > 0) {
            mass = Math.min(mass, massAbove((float) (StrictMath.log(params.minP()) * LOG2_E), n, maxKey, scale));
        }
        find((long) (Philox.uniform(seed, length - promptLength) * (double) mass), n);
        return ids[found];
    }

    /**
     * Natural-log probabilities under the softmax of the logits alone.
     *
     * @param logits [V] float32, finite or negative infinity
     * @param tokenId the token that was sampled, in {@code [0, V)}
     * @param top how many of the most probable tokens to name as well, in [0, 20]; at most V are
     * @return the logprobs, exact to about 1e-6
     * @throws IllegalArgumentException if an argument is out of range
     * @throws ArithmeticException if a logit is NaN or positive infinity, or all are negative infinity
     */
    public TokenLogprobs logprobs(float[] logits, int tokenId, int top) {
        if (tokenId < 0 || tokenId >= vocabSize) {
            throw new IllegalArgumentException("token id must be in [0, " + vocabSize + "), got " + tokenId);
        }
        if (top < 0 || top > SamplingParams.MAX_TOP_LOGPROBS) {
            throw new IllegalArgumentException("top must be in [0, " + SamplingParams.MAX_TOP_LOGPROBS + "], got " + top);
        }
        int maxKey = readKeys(checkSize(logits), logits);
        weigh(vocabSize, maxKey, (float) LOG2_E);
        double logSum = logit(maxKey) + StrictMath.log(sum(weights) * 0x1p-40);

        List<TokenLogprobs.Entry> entries = new ArrayList<>(top);
        if (top > 0) {
            int n = keepTop(Math.min(top, vocabSize));
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

    private float[] checkSize(float[] logits) {
        if (logits.length != vocabSize) {
            throw new IllegalArgumentException("logits must hold " + vocabSize + " values, got " + logits.length);
        }
        return logits;
    }

    // Bias and penalties; the logits themselves where there are none.
    private float[] adjust(float[] logits, SamplingParams params, int[] tokens, int promptLength, int length) {
        checkSize(logits);
        boolean penalties = params.repetitionPenalty() != 1 || params.frequencyPenalty() != 0 || params.presencePenalty() != 0;
        if (!penalties && params.logitBias().isEmpty()) {
            return logits;
        }
        System.arraycopy(logits, 0, adjusted, 0, vocabSize);
        for (Map.Entry<Integer, Float> bias : params.logitBias().entrySet()) {
            adjusted[bias.getKey()] += bias.getValue();
        }
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

    // Reads the row into keys and returns the largest.
    private int readKeys(float[] row, float[] logits) {
        int max = Integer.MIN_VALUE;
        int min = Integer.MAX_VALUE;
        for (int i = 0; i < keys.length; i++) {
            int key = key(row[i]);
            keys[i] = key;
            max = Math.max(max, key);
            min = Math.min(min, key);
        }
        // NaN lies beyond the infinities: above with its sign bit clear, below with it set.
        if (max >= POSITIVE_INFINITY_KEY || min < NEGATIVE_INFINITY_KEY || max == NEGATIVE_INFINITY_KEY) {
            throw unusable(row, logits);
        }
        return max;
    }

    private static ArithmeticException unusable(float[] row, float[] logits) {
        String damaged = "; the model or its weights are damaged, or float16 overflowed: try dtype float32";
        int bad = firstUnusable(logits);
        if (bad < logits.length) {
            return new ArithmeticException(
                    "logits must be finite or -infinity, got " + logits[bad] + " at token id " + bad + damaged);
        }
        bad = firstUnusable(row);
        if (bad < row.length) {
            return new ArithmeticException("logits must be finite or -infinity after logitBias and penalties, got " + row[bad]
                    + " at token id " + bad + "; make these smaller");
        }
        for (float logit : logits) {
            if (logit != Float.NEGATIVE_INFINITY) {
                return new ArithmeticException("logitBias and penalties must leave a token to choose, got -infinity at all "
                        + row.length + " token ids; ban fewer");
            }
        }
        return new ArithmeticException(
                "logits must not all be -infinity, got -infinity at all " + logits.length + " token ids" + damaged);
    }

    private static int firstUnusable(float[] row) {
        int i = 0;
        while (i < row.length && row[i] < Float.POSITIVE_INFINITY) {
            i++;
        }
        return i;
    }

    private int firstOf(int key) {
        int id = 0;
        while (keys[id] != key) {
            id++;
        }
        return id;
    }

    // Makes every token a candidate; returns V.
    private int keepAll() {
        for (int i = 0; i < ids.length; i++) {
            ids[i] = i;
        }
        return vocabSize;
    }

    // Makes the tokens candidates whose key is not below the k-th largest; returns how many. One pass with a min-heap of the k largest
    // keys so far; what passed while the heap was still low is dropped at the end.
    private int keepTop(int k) {
        for (int i = 0; i < k; i++) {
            heap[i] = keys[i];
            ids[i] = i;
        }
        for (int i = k / 2 - 1; i >= 0; i--) {
            siftDown(i, k);
        }
        int passed = k;
        int threshold = heap[0];
        for (int i = k; i < keys.length; i++) {
            int key = keys[i];
            if (key >= threshold) {
                ids[passed++] = i;
                if (key > threshold) {
                    heap[0] = key;
                    siftDown(0, k);
                    threshold = heap[0];
                }
            }
        }
        int kept = 0;
        for (int i = 0; i < passed; i++) {
            int key = keys[ids[i]];
            if (key >= threshold) {
                ids[kept] = ids[i];
                keys[kept++] = key;
            }
        }
        return kept;
    }

    private void siftDown(int i, int size) {
        int key = heap[i];
        int child;
        while ((child = 2 * i + 1) < size) {
            if (child + 1 < size && heap[child + 1] < heap[child]) {
                child++;
            }
            if (heap[child] >= key) {
                break;
            }
            heap[i] = heap[child];
            i = child;
        }
        heap[i] = key;
    }

    private void weigh(int n, int maxKey, float scale) {
        float max = logit(maxKey);
        for (int i = 0; i < n; i++) {
            float exponent = Math.max((logit(keys[i]) - max) * scale, LOWEST_EXPONENT);
            weights[i] = weight(exponent);
            buckets[i] = (int) (exponent * -BUCKETS_PER_OCTAVE);
        }
    }

    // 2^(40 + exponent) for an exponent in [-41, 0], by a polynomial of relative error below 2e-7; rounded down.
    static long weight(float exponent) {
        int whole = (int) exponent;
        float f = exponent - whole; // in (-1, 0]
        float power = 1.14919952e-4f;
        power = power * f + 1.29163684e-3f;
        power = power * f + 9.59703512e-3f;
        power = power * f + 5.54992296e-2f;
        power = power * f + 2.40226090e-1f;
        power = power * f + 6.93147182e-1f;
        power = power * f + 1;
        return (long) (power * 0x1p24f) << 16 >> -whole;
    }

    private static long sum(long[] weights) {
        long sum = 0;
        for (long weight : weights) {
            sum += weight;
        }
        return sum;
    }

    // Returns the mass of all candidates.
    private long fillBuckets(int n) {
        Arrays.fill(bucketMass, 0);
        for (int i = 0; i < n; i++) {
            bucketMass[buckets[i]] += weights[i];
        }
        return sum(bucketMass);
    }

    private long massAbove(float minExponent, int n, int maxKey, float scale) {
        float max = logit(maxKey);
        long mass = 0;
        for (int i = 0; i < n; i++) {
            if ((logit(keys[i]) - max) * scale >= minExponent) {
                mass += weights[i];
            }
        }
        return mass;
    }

    // Finds the first candidate, in descending order, up to which the mass exceeds target, which is below the mass of all.
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
            mass += weights[found];
        } while (mass <= target);
        foundMass = mass;
    }

    private long orderOf(int position) {
        return (long) ~keys[position] << 32 | position;
    }

    private static int key(float logit) {
        return flip(Float.floatToRawIntBits(logit + 0f)); // + 0 makes -0 equal to 0
    }

    private static float logit(int key) {
        return Float.intBitsToFloat(flip(key));
    }

    private static int flip(int bits) {
        return bits ^ (bits >> 31 >>> 1);
    }
}
