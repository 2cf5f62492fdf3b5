/*
 * Decode attention over the paged KV cache, a block for each row and head: see attention_paged.cuh.
 *
 *   LT_HIDDEN, LT_HEAD_SIZE, LT_PAGE_SIZE  of the model and the cache
 *   LT_PAGED_CLUSTER                       blocks for a row and head in paged_attention_split_kv
 */
#include "attention_paged.cuh"
#ifndef LT_PAGED_CLUSTER
#error "attention_paged.cu needs -DLT_PAGED_CLUSTER: see KernelFile.java"
#endif

extern "C" __global__ void __launch_bounds__(PAGED_THREADS)
        paged_attention(const int* __restrict__ input, const Element* __restrict__ qkv, Element* __restrict__ keys,
                Element* __restrict__ values, float scale, Element* __restrict__ out) {
    attendRow<1>(blockIdx.y, input, qkv, keys, values, scale, out);
}

#if __CUDA_ARCH__ >= 900
extern "C" __global__ void __cluster_dims__(1, 1, LT_PAGED_CLUSTER) __launch_bounds__(PAGED_THREADS)
        paged_attention_split_kv(const int* __restrict__ input, const Element* __restrict__ qkv,
                Element* __restrict__ keys, Element* __restrict__ values, float scale, Element* __restrict__ out) {
    attendRow<LT_PAGED_CLUSTER>(blockIdx.y, input, qkv, keys, values, scale, out);
}
#endif
