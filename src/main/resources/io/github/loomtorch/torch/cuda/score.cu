/*
 * Scores: a row of logits to the log-probability of a target token and, where asked, the most probable tokens, the
 * distribution's mean and variance of the log-probability, and the probability of the ids that begin a word.
 *
 *   LT_ELEMENT_BITS, LT_BFLOAT16   of the logits: 32 bits, or those of the model
 *   LT_VOCAB, LT_PADDED_VOCAB      vocabulary, and row stride of the logits, a multiple of 64
 *   LT_SAMPLE_THREADS              threads of a block
 *   LT_SCORE_<field>               the input: see ScoreInput.java
 *   LT_RESULT_<field>              the results: see ResultRow.java
 *
 * One block a row, so a score does not depend on what other rows there are. The row is read from memory once and from
 * the L2 cache once; for the most probable tokens also where they are. Traffic: PADDED_VOCAB elements a row.
 */
#include "logprobs.cuh"
#if !defined(LT_SCORE_SIZE) || !defined(LT_SCORE_ROW) || !defined(LT_SCORE_TARGET) || !defined(LT_SCORE_FLAGS) || \
        !defined(LT_SCORE_TOP) || !defined(LT_SCORE_STATISTICS) || !defined(LT_SCORE_WORD_STARTS)
#error "score.cu needs -DLT_SCORE_<field> of every field and flag of ScoreInput.java: see KernelFile.java"
#endif
#if !defined(LT_RESULT_RANK) || !defined(LT_RESULT_MEAN) || !defined(LT_RESULT_VARIANCE) || \
        !defined(LT_RESULT_WORD_STARTS)
#error "score.cu needs -DLT_RESULT_<field> of every field of ResultRow.java: see KernelFile.java"
#endif
constexpr double LN2 = 0.69314718055994530942;
constexpr float LEAST_EXPONENT = -150; // 2^-150 is 0, and 0 times a finite number

__device__ __forceinline__ double blockTotal(Shared& s, float x) {
    return blockReduce<THREADS / WARP>((double)x, (double*)s.partial, Sum());
}

/*
 * The mass as massOf(); writes the moments of logit - max under the softmax, and the probability of the ids whose bit
 * is set in `wordStarts` [PADDED_VOCAB / 32], which may be null.
 */
__device__ __noinline__ u64 massAndMoments(
        Shared& s, const Row& row, float max, const unsigned* __restrict__ wordStarts, int* result) {
    u64 mass = 0;
    float sum = 0, first = 0, second = 0, starts = 0; // of p, p e, p e^2, where p = 2^e
    for (int vector = threadIdx.x; vector < VECTORS; vector += THREADS) {
        const unsigned starting = wordStarts ? wordStarts[vector * VEC / 32] >> vector * VEC % 32 : 0;
        forVector<false>(row, vector, [&](int id, float logit) {
            const float exponent = exponentOf(logit, max, LOG2_E);
            mass += weightOf(exponent);
            const float e = fmaxf(exponent, LEAST_EXPONENT);
            const float p = exp2f(e);
            sum += p;
            first += p * e;
            second += p * e * e;
            starts += starting >> id % VEC & 1 ? p : 0;
        });
    }
    mass = blockSum(s, mass);
    const double total = blockTotal(s, sum);
    const double mean = blockTotal(s, first) / total * LN2;
    const double square = blockTotal(s, second) / total * (LN2 * LN2);
    const double starting = blockTotal(s, starts) / total;
    if (threadIdx.x == 0) {
        result[LT_RESULT_MEAN] = __float_as_int((float)mean);
        result[LT_RESULT_VARIANCE] = __float_as_int((float)(square > mean * mean ? square - mean * mean : 0));
        result[LT_RESULT_WORD_STARTS] = __float_as_int((float)starting);
    }
    return mass;
}

/*
 * results [rows, stride]: gets the target's rank, the number of larger logits plus one, or -1 and the reason if the
 * logits are unusable; the target's logit, the largest, and the sum of all weights (two ints); with STATISTICS or
 * WORD_STARTS the moments; TOP pairs (id, logit) of the most probable tokens. Grid: rows of the input [rows,
 * SCORE_SIZE].
 */
extern "C" __global__ void __launch_bounds__(THREADS)
        score(const int* __restrict__ input, const Element* __restrict__ logits,
                const unsigned* __restrict__ wordStarts, int* __restrict__ results, int stride) {
    __shared__ Shared s;
    const int* in = input + (size_t)blockIdx.x * LT_SCORE_SIZE;
    int* result = results + (size_t)blockIdx.x * stride;
    const Row row = {logits + (size_t)in[LT_SCORE_ROW] * PADDED_VOCAB};
    const int target = in[LT_SCORE_TARGET];
    const int flags = in[LT_SCORE_FLAGS];
    const float targetLogit = widen(row.logits[target]);
    bool usable = true;
    float threadMax = -INF;
    u64 larger = 0;
    forEachLogit<false, 4>(row, [&](int id, float logit) {
        usable &= logit < INF;
        threadMax = fmaxf(threadMax, logit);
        larger += logit > targetLogit;
    });
    usable = __syncthreads_and(usable);
    const float max = blockMax(s, threadMax) + 0.f;
    larger = blockSum(s, larger);
    const bool scored = usable && max > -INF;
    if (threadIdx.x == 0) {
        result[LT_RESULT_RANK] = scored ? (int)larger + 1 : -1;
    }
    if (!scored) {
        explain(s, row, result);
        return;
    }
    const u64 mass = flags & (LT_SCORE_STATISTICS | LT_SCORE_WORD_STARTS)
                             ? massAndMoments(s, row, max, flags & LT_SCORE_WORD_STARTS ? wordStarts : nullptr, result)
                             : massOf(s, row, max);
    writeLogprobs(row, target, max, mass, result);
    writeTop(s, row, in[LT_SCORE_TOP], threadMax, result + LT_RESULT_TOP);
}
