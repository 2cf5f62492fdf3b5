/*
 * The state of an online softmax [1] over scores s in base 2 and values v of N columns:
 *
 *   m = max(s), l = sum(exp2(s - m)), acc = sum(exp2(s - m) v), so that the result is acc / l
 *
 * [1] Milakov and Gimelshein, "Online normalizer calculation for softmax", https://arxiv.org/abs/1805.02867
 */
#pragma once
#include "element.cuh"

/* The factor that brings sums relative to `m` to a maximum of `max` >= m; 0 for the sums of no scores. */
__device__ __forceinline__ float rescaling(float m, float max) {
    return m == -INF ? 0 : exp2f(m - max);
}

template <int N>
struct SoftmaxState {
    float m, l, acc[N];

    __device__ __forceinline__ void clear() {
        m = -INF;
        l = 0;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            acc[i] = 0;
        }
    }

    /* Makes `max` the maximum, where factor = exp2(m - max). */
    __device__ __forceinline__ void rescale(float max, float factor) {
        m = max;
        l *= factor;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            acc[i] *= factor;
        }
    }

    /* Adds a value whose score is at most m. */
    __device__ __forceinline__ void add(float score, const float (&v)[N]) {
        const float p = exp2f(score - m);
        l += p;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            acc[i] += p * v[i];
        }
    }

    /*
     * Makes `max` the maximum of this state and of another; `mine` and `theirs` are the factors that bring them to it.
     */
    template <typename Acc>
    __device__ __forceinline__ void combine(float max, float mine, float theirs, float otherL, Acc other) {
        m = max;
        l = l * mine + otherL * theirs;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            acc[i] = acc[i] * mine + other(i) * theirs;
        }
    }

    /* Adds another state, which has scores. `other(i)` is its acc[i]. */
    template <typename Acc>
    __device__ __forceinline__ void merge(float otherM, float otherL, Acc other) {
        const float max = fmaxf(m, otherM);
        combine(max, exp2f(m - max), exp2f(otherM - max), otherL, other);
    }

    /*
     * Every thread gets the merged states of the threads of its warp whose lane numbers are equal modulo `lanes`, a
     * power of two. States may have no scores.
     */
    __device__ __forceinline__ void mergeAcrossWarp(int lanes) {
        #pragma unroll
        for (int step = lanes; step < WARP; step *= 2) {
            const float otherM = __shfl_xor_sync(FULL_WARP, m, step);
            const float otherL = __shfl_xor_sync(FULL_WARP, l, step);
            const float max = fmaxf(m, otherM);
            combine(max, rescaling(m, max), rescaling(otherM, max), otherL,
                    [&](int i) { return __shfl_xor_sync(FULL_WARP, acc[i], step); });
        }
    }
};

/*
 * Merges `count` states of D columns, STRIDE floats apart: acc [D], then m, then l. At least one has scores. Makes N
 * columns, from `column` on.
 */
template <int D, int STRIDE, int N>
__device__ __forceinline__ SoftmaxState<N> mergeStates(const float* states, int count, int column) {
    SoftmaxState<N> merged;
    merged.clear();
    for (int w = 0; w < count; w++) {
        merged.m = fmaxf(merged.m, states[w * STRIDE + D]);
    }
    for (int w = 0; w < count; w++) {
        const float* state = states + w * STRIDE;
        const float factor = rescaling(state[D], merged.m);
        merged.l += state[D + 1] * factor;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            merged.acc[i] += state[column + i] * factor;
        }
    }
    return merged;
}
