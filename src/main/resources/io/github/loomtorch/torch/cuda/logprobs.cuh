/*
 * Log-probabilities of a row of logits, without bias and penalties, and the reason why a row is unusable, by all
 * threads of a block. The arithmetic is that of io.github.loomtorch.sampling.Sampler.logprobs: its sums are of
 * integers, so the same logits give the same bits in every kernel, whatever the order of the sum.
 *
 *   LT_RESULT_<field>     the results: see ResultRow.java
 *   LT_UNUSABLE_<reason>  why there is none: see Sampler.Unusable
 */
#pragma once
#include "sample_select.cuh"
#if !defined(LT_RESULT_TOKEN_LOGIT) || !defined(LT_RESULT_MAX_LOGIT) || !defined(LT_RESULT_MASS) || \
        !defined(LT_RESULT_TOP) || !defined(LT_RESULT_REASON) || !defined(LT_RESULT_ID) || !defined(LT_RESULT_LOGIT)
#error "logprobs.cuh needs -DLT_RESULT_<field> of every field of ResultRow.java: see KernelFile.java"
#endif
#if !defined(LT_UNUSABLE_LOGIT) || !defined(LT_UNUSABLE_ADJUSTED_LOGIT) || !defined(LT_UNUSABLE_ALL_BANNED) || \
        !defined(LT_UNUSABLE_ALL_INFINITE)
#error "logprobs.cuh needs -DLT_UNUSABLE_<reason>: see KernelFile.java"
#endif

/* The sum of all weights at temperature 1, in units of 2^-40; `max` is the largest logit. */
__device__ __forceinline__ u64 massOf(Shared& s, const Row& row, float max) {
    u64 mass = 0;
    forEachLogit<false>(row, [&](int id, float logit) { mass += weightOf(exponentOf(logit, max, LOG2_E)); });
    return blockSum(s, mass);
}

/* Writes what the host computes a token's log-probability from. */
__device__ __forceinline__ void writeLogprobs(const Row& row, int token, float max, u64 mass, int* result) {
    if (threadIdx.x == 0) {
        result[LT_RESULT_TOKEN_LOGIT] = __float_as_int(widen(row.logits[token]));
        result[LT_RESULT_MAX_LOGIT] = __float_as_int(max);
        result[LT_RESULT_MASS] = (int)(unsigned)mass;
        result[LT_RESULT_MASS + 1] = (int)(mass >> 32);
    }
}

/*
 * Writes the `top` most probable tokens, at most GROUPS / 2, in order, as pairs (id, logit). `threadMax` is the largest
 * logit of this thread's share.
 */
__device__ __noinline__ void writeTop(Shared& s, const Row& row, int top, float threadMax, int* to) {
    const int k = min(top, VOCAB);
    if (k == 0) {
        return;
    }
    const int n = listLargest<false>(s, row, k, threadMax);
    if (n <= LISTED) {
        for (int i = threadIdx.x; i < n; i += THREADS) {
            const u64 own = s.listOrder[i];
            int before = 0;
            for (int j = 0; j < n; j++) {
                before += s.listOrder[j] < own;
            }
            if (before < k) {
                to[2 * before] = idOf(own);
                to[2 * before + 1] = __float_as_int(widen(row.logits[idOf(own)]));
            }
        }
        return;
    }
    u64 after = 0; // too many are equal: the next in order, k times
    for (int t = 0; t < k; t++) {
        u64 next = ~0ull;
        forEachLogit<false>(row, [&](int id, float logit) {
            const u64 order = orderOf(logit, id) + 1;
            if (order > after) {
                next = min(next, order);
            }
        });
        after = blockMin(s, next);
        if (threadIdx.x == 0) {
            to[2 * t] = idOf(after - 1);
            to[2 * t + 1] = __float_as_int(widen(row.logits[idOf(after - 1)]));
        }
    }
}

/* The first token id whose logit is NaN or infinity; VOCAB if there is none. */
template <bool ADJUSTED>
__device__ int firstUnusable(Shared& s, const Row& row) {
    u64 first = VOCAB;
    forEachLogit<ADJUSTED>(row, [&](int id, float logit) { first = logit < INF ? first : min(first, (u64)id); });
    return (int)blockMin(s, first);
}

/*
 * Writes what Sampler.unusable reports of a row of unusable logits: the reason, the first token id where it shows, its
 * logit.
 */
__device__ __noinline__ void explain(Shared& s, const Row& row, int* result) {
    bool any = false; // above -infinity
    forEachLogit<false>(row, [&](int id, float logit) { any |= logit > -INF; });
    any = __syncthreads_or(any);
    const int raw = firstUnusable<false>(s, row);
    const int adjusted = firstUnusable<true>(s, row);
    if (threadIdx.x == 0) {
        result[LT_RESULT_REASON] = raw < VOCAB        ? LT_UNUSABLE_LOGIT
                                   : adjusted < VOCAB ? LT_UNUSABLE_ADJUSTED_LOGIT
                                   : any              ? LT_UNUSABLE_ALL_BANNED
                                                      : LT_UNUSABLE_ALL_INFINITE;
        const int id = raw < VOCAB ? raw : adjusted < VOCAB ? adjusted : 0;
        const float logit = widen(row.logits[id]);
        result[LT_RESULT_ID] = id;
        result[LT_RESULT_LOGIT] = __float_as_int(raw < VOCAB ? logit : adjust(row, id, logit));
    }
}
