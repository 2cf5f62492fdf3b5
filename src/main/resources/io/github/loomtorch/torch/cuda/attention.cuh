/*
 * What all attention kernels share: where a token's keys and values are in the paged KV cache, and dot products of a
 * query with keys.
 *
 * qkv [B, 3C] holds the new tokens' queries, keys and values, C = HIDDEN. The cache holds keys [R, C] and values [R,
 * C]; token j of a sequence is row pages[j / PAGE_SIZE] PAGE_SIZE + j % PAGE_SIZE. No row of a step reads a page that
 * another sequence's row of the step writes, so what was in the cache before the step may be read before
 * awaitPrevious().
 */
#pragma once
#include "memory.cuh"
#include "softmax.cuh"
#include "step_row.cuh"
#if !defined(LT_HIDDEN) || !defined(LT_HEAD_SIZE) || !defined(LT_PAGE_SIZE)
#error "attention.cuh needs -DLT_HIDDEN, -DLT_HEAD_SIZE and -DLT_PAGE_SIZE: see KernelFile.java"
#endif
constexpr int HIDDEN = LT_HIDDEN;
constexpr int HEAD_SIZE = LT_HEAD_SIZE;
constexpr int PAGE_SIZE = LT_PAGE_SIZE;
constexpr int HEADS = HIDDEN / HEAD_SIZE;
constexpr int LANES = HEAD_SIZE / VEC; // threads that hold one row of a head, 16 bytes each
constexpr int GROUPS_PER_WARP = WARP / LANES;
static_assert(HIDDEN % HEAD_SIZE == 0 && HEAD_SIZE % VEC == 0, "heads divide the hidden size, 16 bytes divide a head");
static_assert(
        LANES <= WARP && (LANES & LANES - 1) == 0, "the threads of a head's row are a power of two within a warp");

/* Where columns of a token's keys begin in the cache, and of its values. */
__device__ __forceinline__ size_t cacheOffset(const int* pages, int token, int column) {
    return ((size_t)pages[token / PAGE_SIZE] * PAGE_SIZE + token % PAGE_SIZE) * HIDDEN + column;
}

/*
 * q k of a head, for each of the LANES threads that hold a part of both. `mask`: the threads of the warp that call
 * this.
 */
__device__ __forceinline__ float score(const float (&q)[VEC], const float (&k)[VEC], unsigned mask) {
    float s = 0;
    #pragma unroll
    for (int i = 0; i < VEC; i++) {
        s += q[i] * k[i];
    }
    #pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) {
        s += __shfl_xor_sync(mask, s, step);
    }
    return s;
}

/*
 * The row's own token, the last that it attends to: if `owner`, writes its key and value to the cache at `at` and
 * begins the state with it. `qkv` is this thread's part of the row's query.
 */
__device__ __forceinline__ void attendOwnToken(const float (&q)[VEC], const Element* qkv, Element* keys,
        Element* values, size_t at, bool owner, unsigned mask, SoftmaxState<VEC>& state) {
    const uint4 key = loadFresh(qkv + HIDDEN);
    const uint4 value = loadFresh(qkv + 2 * HIDDEN);
    float k[VEC];
    unpack(key, k);
    const float s = score(q, k, mask);
    if (owner) {
        *(uint4*)(keys + at) = key;
        *(uint4*)(values + at) = value;
        state.m = s;
        state.l = 1;
        unpack(value, state.acc);
    }
}
