/*
 * Writes of a prefill's keys and values to the paged KV cache.
 *
 *   LT_HIDDEN  hidden size
 */
#include "element.cuh"
#ifndef LT_HIDDEN
#error "kv_cache.cu needs -DLT_HIDDEN: see KernelFile.java"
#endif
constexpr int HIDDEN = LT_HIDDEN;

/*
 * Row rows[i] of keys and of values becomes that of row i of qkv [N, 3 HIDDEN]; padding has row -1. Grid N, any block.
 * Traffic: 4 HIDDEN elements a row.
 */
extern "C" __global__ void write_kv_cache(const Element* __restrict__ qkv, const int* __restrict__ rows,
        Element* __restrict__ keys, Element* __restrict__ values) {
    if (rows[blockIdx.x] < 0) {
        return;
    }
    const Element* from = qkv + (size_t)blockIdx.x * 3 * HIDDEN;
    const size_t to = (size_t)rows[blockIdx.x] * HIDDEN;
    for (int c = threadIdx.x * VEC; c < HIDDEN; c += blockDim.x * VEC) {
        *(uint4*)(keys + to + c) = *(const uint4*)(from + HIDDEN + c);
        *(uint4*)(values + to + c) = *(const uint4*)(from + 2 * HIDDEN + c);
    }
}
