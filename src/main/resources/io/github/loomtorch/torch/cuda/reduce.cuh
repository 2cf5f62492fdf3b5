/* Reductions over a warp and over a block. `op` is associative and commutative. */
#pragma once
#include "element.cuh"

template <typename T, typename Op>
__device__ __forceinline__ T warpReduce(T x, Op op) {
    #pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        x = op(x, __shfl_xor_sync(FULL_WARP, x, step));
    }
    return x;
}

/* Over the block's WARPS warps, through `partials` [WARPS] in shared memory; all threads get the result. */
template <int WARPS, typename T, typename Op>
__device__ __forceinline__ T blockReduce(T x, T* partials, Op op) {
    x = warpReduce(x, op);
    __syncthreads(); // the partials of an earlier reduction have been read
    if (threadIdx.x % WARP == 0) {
        partials[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    x = partials[0];
    for (int w = 1; w < WARPS; w++) {
        x = op(x, partials[w]);
    }
    return x;
}

struct Sum {
    template <typename T>
    __device__ __forceinline__ T operator()(T a, T b) const {
        return a + b;
    }
};

struct Min {
    template <typename T>
    __device__ __forceinline__ T operator()(T a, T b) const {
        return min(a, b);
    }
};

struct Max {
    __device__ __forceinline__ float operator()(float a, float b) const {
        return fmaxf(a, b);
    }
};
