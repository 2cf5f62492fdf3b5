/*
 * LayerNorm of rows of HIDDEN 16-bit elements, a warp each, for layer_norm.cu and lm_head.cu.
 *
 *   LT_HIDDEN        hidden size
 *   LT_EPSILON_BITS  epsilon, as the bits of a float
 */
#pragma once
#include "memory.cuh"
#include "reduce.cuh"
#if !defined(LT_HIDDEN) || !defined(LT_EPSILON_BITS)
#error "layer_norm.cuh needs -DLT_HIDDEN and -DLT_EPSILON_BITS: see KernelFile.java"
#endif
static_assert(LT_ELEMENT_BITS == 16 && LT_HIDDEN % 8 == 0, "a thread has 8 neighbouring 16-bit elements");
constexpr int HIDDEN = LT_HIDDEN;
constexpr int PARTS = (HIDDEN / 8 + WARP - 1) / WARP; // 16-byte parts of a row, of a thread

/* Where the thread's p-th part begins, if that is less than HIDDEN. */
__device__ __forceinline__ unsigned columnOf(int p) {
    return (p * WARP + threadIdx.x % WARP) * 8;
}

__device__ __forceinline__ void loadRow(const Element* row, uint4 (&parts)[PARTS]) {
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        parts[p] = columnOf(p) < HIDDEN ? loadFresh(row + columnOf(p)) : make_uint4(0, 0, 0, 0);
    }
}

/* to [HIDDEN] = norm(row). weight(p) and bias(p) are the p-th parts of the norm's. */
template <typename Weight, typename Bias>
__device__ __forceinline__ void normRow(const uint4 (&parts)[PARTS], Weight weight, Bias bias, Element* to) {
    float mean = 0, square = 0;
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        float v[8];
        unpack(parts[p], v);
        #pragma unroll
        for (int i = 0; i < 8; i++) {
            mean += v[i];
        }
    }
    mean = warpReduce(mean, Sum()) / HIDDEN;
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        float v[8];
        unpack(parts[p], v);
        #pragma unroll
        for (int i = 0; i < 8; i++) {
            square += columnOf(p) < HIDDEN ? (v[i] - mean) * (v[i] - mean) : 0;
        }
    }
    const float inverse = rsqrtf(warpReduce(square, Sum()) / HIDDEN + __int_as_float(LT_EPSILON_BITS));
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        if (columnOf(p) < HIDDEN) {
            float v[8], factor[8], offset[8];
            unpack(parts[p], v);
            unpack(weight(p), factor);
            unpack(bias(p), offset);
            #pragma unroll
            for (int i = 0; i < 8; i++) {
                v[i] = (v[i] - mean) * inverse * factor[i] + offset[i];
            }
            *(uint4*)(to + columnOf(p)) = pack(v);
        }
    }
}
