/*
 * The last LayerNorm and the head of few rows, on tensor cores (compute capability 8.0 on).
 *
 *   LT_PADDED_VOCAB              columns of the logits, a multiple of 64
 *   LT_INT8_HEAD                 whether the weights are 8-bit
 *   LT_HEAD_ROWS, LT_HEAD_WARPS  most rows, warps of a block
 *   LT_HEAD_STRIDE               elements from a normed row to the next in shared memory
 *   and those of layer_norm.cuh
 */
#include "layer_norm.cuh"
#include "mma.cuh"
#include "weights.cuh"
#if !defined(LT_PADDED_VOCAB) || !defined(LT_INT8_HEAD) || !defined(LT_HEAD_ROWS) || !defined(LT_HEAD_WARPS) || \
        !defined(LT_HEAD_STRIDE)
#error "lm_head.cu needs -DLT_PADDED_VOCAB, -DLT_INT8_HEAD and -DLT_HEAD_ROWS, _WARPS, _STRIDE: see KernelFile.java"
#endif
constexpr int PADDED_VOCAB = LT_PADDED_VOCAB;
constexpr bool INT8 = LT_INT8_HEAD;
constexpr int ROWS = LT_HEAD_ROWS;
constexpr int WARPS = LT_HEAD_WARPS;
constexpr int STRIDE = LT_HEAD_STRIDE;
static_assert(ROWS == 16 && HIDDEN % 32 == 0, "mma32 takes 16 rows and 32 of K");
static_assert(PADDED_VOCAB % 8 == 0, "a warp makes 8 columns at a time");
static_assert(STRIDE >= HIDDEN && STRIDE % 64 == 32, "neighbouring rows are half of the banks apart");

__host__ __device__ constexpr int largestDivisor(int of, int max) {
    return of % max == 0 ? max : largestDivisor(of, max - 1);
}

/* Norms the rows into shared memory; those that do not exist are zero. */
__device__ __forceinline__ void normRows(const Element* __restrict__ x, const Element* __restrict__ weight,
        const Element* __restrict__ bias, int rows, Element* normed) {
    const int lane = threadIdx.x % WARP;
    for (int row = threadIdx.x / WARP; row < ROWS; row += WARPS) {
        Element* to = normed + row * STRIDE;
        if (row >= rows) {
            for (int k = lane * 8; k < HIDDEN; k += WARP * 8) {
                *(uint4*)(to + k) = make_uint4(0, 0, 0, 0);
            }
            continue;
        }
        uint4 parts[PARTS];
        loadRow(x + (size_t)row * HIDDEN, parts);
        normRow(
                parts, [&](int p) { return *(const uint4*)(weight + columnOf(p)); },
                [&](int p) { return *(const uint4*)(bias + columnOf(p)); }, to);
    }
}

/*
 * logits [M, PADDED_VOCAB] = norm(x) w^T, M <= ROWS. Each block norms the rows into shared memory, then its warps take
 * 8 columns at a time in turn, with the weights of the next ones in flight. Grid: as many blocks as run at once; 32
 * WARPS threads; ROWS STRIDE elements of dynamic shared memory. Traffic: PADDED_VOCAB HIDDEN elements of weights.
 */
extern "C" __global__ void __launch_bounds__(WARP* WARPS, 2) lm_head(const Element* __restrict__ x,
        const Element* __restrict__ normWeight, const Element* __restrict__ normBias, const void* __restrict__ w,
        const float* __restrict__ scales, Element* __restrict__ logits, int rows) {
    constexpr int STEPS = HIDDEN / 32;
    constexpr int HELD = largestDivisor(STEPS, 12);   // steps whose weights are in flight
    extern __shared__ __align__(16) Element normed[]; // [ROWS, STRIDE]
    const int warp = threadIdx.x / WARP;
    const int g = threadIdx.x % WARP / 4;
    const int t = threadIdx.x % 4;
    int column = (blockIdx.x * WARPS + warp) * 8;
    size_t next = (size_t)(column + g) * HIDDEN + t * 8;
    Weights<INT8> weights[HELD];
    #pragma unroll
    for (int s = 0; s < HELD; s++) {
        weights[s] = column < PADDED_VOCAB ? Weights<INT8>::load(w, next + s * 32) : Weights<INT8>::zero();
    }
    releaseNext();
    awaitPrevious();
    normRows(x, normWeight, normBias, rows, normed);
    __syncthreads();
    while (column < PADDED_VOCAB) {
        const int following = column + gridDim.x * WARPS * 8;
        float c[4] = {};
        for (int begin = 0; begin < STEPS; begin += HELD) {
            const bool last = begin + HELD == STEPS;
            next = (size_t)((last ? following : column) + g) * HIDDEN + t * 8 + (last ? 0 : (begin + HELD) * 32);
            #pragma unroll
            for (int s = 0; s < HELD; s++) {
                const Element* a = normed + g * STRIDE + (begin + s) * 32 + t * 8;
                mma32(c, *(const uint4*)a, *(const uint4*)(a + 8 * STRIDE), weights[s].elements());
                if (!last || following < PADDED_VOCAB) {
                    weights[s] = Weights<INT8>::load(w, next + s * 32);
                }
            }
        }
        const float even = INT8 ? scales[column + 2 * t] : 1;
        const float odd = INT8 ? scales[column + 2 * t + 1] : 1;
        Element* to = logits + (size_t)g * PADDED_VOCAB + column + 2 * t;
        if (g < rows) {
            *(unsigned*)to = pack2(c[0] * even, c[1] * odd);
        }
        if (g + 8 < rows) {
            *(unsigned*)(to + 8 * (size_t)PADDED_VOCAB) = pack2(c[2] * even, c[3] * odd);
        }
        column = following;
    }
}
