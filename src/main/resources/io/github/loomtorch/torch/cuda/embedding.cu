/*
 * Token and position embeddings.
 *
 *   LT_HIDDEN  hidden size
 */
#include "memory.cuh"
#include "step_row.cuh"
#ifndef LT_HIDDEN
#error "embedding.cu needs -DLT_HIDDEN: see KernelFile.java"
#endif
constexpr int HIDDEN = LT_HIDDEN;

__device__ __forceinline__ void embed(int id, int position, const Element* __restrict__ wte,
        const Element* __restrict__ wpe, Element* __restrict__ out) {
    const Element* tokenRow = wte + (size_t)id * HIDDEN;
    const Element* positionRow = wpe + (size_t)position * HIDDEN;
    for (int c = threadIdx.x; c < HIDDEN; c += blockDim.x) {
        out[c] = narrow(widen(tokenRow[c]) + widen(positionRow[c]));
    }
}

/*
 * x [B, HIDDEN] = wte[token] + wpe[position] for the rows of a step; a token of -1 is the one sampled last for the
 * row's slot. Grid B, any block. Traffic: 3 HIDDEN elements a row.
 */
extern "C" __global__ void embed_decode(const int* __restrict__ input, const int* __restrict__ sampled,
        const Element* __restrict__ wte, const Element* __restrict__ wpe, Element* __restrict__ x) {
    releaseNext();
    awaitPrevious();
    const int* row = input + (size_t)blockIdx.x * ROW_SIZE;
    const int id = row[ROW_TOKEN] >= 0 ? row[ROW_TOKEN] : max(sampled[row[ROW_SLOT]], 0); // sampled -1: unusable logits
    embed(id, max(row[ROW_LENGTH] - 1, 0), wte, wpe, x + (size_t)blockIdx.x * HIDDEN);
}

/* x [N, HIDDEN] = wte[ids] + wpe[positions]. Grid N, any block. Traffic: 3 HIDDEN elements a row. */
extern "C" __global__ void embed_prefill(const int* __restrict__ ids, const int* __restrict__ positions,
        const Element* __restrict__ wte, const Element* __restrict__ wpe, Element* __restrict__ x) {
    embed(ids[blockIdx.x], positions[blockIdx.x], wte, wpe, x + (size_t)blockIdx.x * HIDDEN);
}
