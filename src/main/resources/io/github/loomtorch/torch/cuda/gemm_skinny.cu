/*
 * Skinny matrix products: 16 rows a block, weights in registers, for 16-bit elements on tensor cores (compute
 * capability 8.0 on).
 *
 *   LT_SKINNY_ROWS, LT_SKINNY_WARPS  rows and warps of a block
 *   LT_KERNELS                       the kernels, SKINNY_GEMM(...) each: see ProductKernel.java
 *   and those of gemm.cuh
 *
 * With few rows a product takes the time that reading its weights takes. Its blocks request them, straight into
 * registers, before they wait for the previous kernel, so that memory is busy across kernels.
 */
#include "gemm.cuh"
#include "mma.cuh"
#include "weights.cuh"
#if !defined(LT_SKINNY_ROWS) || !defined(LT_SKINNY_WARPS) || !defined(LT_KERNELS)
#error "gemm_skinny.cu needs -DLT_SKINNY_ROWS, -DLT_SKINNY_WARPS and -DLT_KERNELS: see KernelFile.java"
#endif
constexpr int ROWS = LT_SKINNY_ROWS;
constexpr int WARPS = LT_SKINNY_WARPS;
constexpr int THREADS = WARP * WARPS;
static_assert(ROWS == 16, "mma.m16n8k16 has 16 rows");

/* a b, by elements. */
__device__ __forceinline__ uint4 multiplyElements(const uint4& a, const uint4& b) {
#if LT_BFLOAT16
#define MULTIPLY "fma.rn.bf16x2 %0, %1, %2, %3;"
#else
#define MULTIPLY "fma.rn.f16x2 %0, %1, %2, %3;"
#endif
    uint4 product;
    const unsigned zero = 0x80008000; // twice -0
    asm(MULTIPLY : "=r"(product.x) : "r"(a.x), "r"(b.x), "r"(zero));
    asm(MULTIPLY : "=r"(product.y) : "r"(a.y), "r"(b.y), "r"(zero));
    asm(MULTIPLY : "=r"(product.z) : "r"(a.z), "r"(b.z), "r"(zero));
    asm(MULTIPLY : "=r"(product.w) : "r"(a.w), "r"(b.w), "r"(zero));
    return product;
}

/* A kernel's arguments. */
struct Operands {
    const Element* x;          // [rows, K]
    const void* w;             // [N, K]
    const float* scales;       // [N], of 8-bit weights
    const Element* normWeight; // [K], with 8-bit weights, which do not hold it
    const float* sums;         // [N], of the rows of w, with a LayerNorm
    const Element* bias;       // [N]
    Element* out;              // [rows, N]
    int rows;
};

template <int K, int N, int TILES, Epilogue EPILOGUE, bool NORMED, bool INT8>
struct SkinnyGemm {
    static constexpr int STEPS = (K / 32 + WARPS - 1) / WARPS; // of 32 of K, for a warp
    static constexpr int COLUMNS = 8 * TILES;
    static constexpr int OUTPUTS = (ROWS * COLUMNS + THREADS - 1) / THREADS; // of a thread

    /* In shared memory: the warps' sums, and their sums of the rows' elements and squares. */
    typedef float Sums[WARPS][ROWS * COLUMNS];
    typedef float2 RowSums[NORMED ? WARPS : 1][NORMED ? ROWS : 1];

    /* What a thread's outputs take beside the sums. */
    struct Outputs {
        Element residual[OUTPUTS], bias[OUTPUTS];
        float scale[OUTPUTS], columnSum[OUTPUTS];
        Element* to[OUTPUTS]; // null beyond the edges

        __device__ __forceinline__ void load(const Operands& with) {
            #pragma unroll
            for (int o = 0; o < OUTPUTS; o++) {
                const int at = o * THREADS + threadIdx.x;
                const int row = blockIdx.z * ROWS + at / COLUMNS;
                const int column = blockIdx.x * COLUMNS + at % COLUMNS;
                const bool exists = at < ROWS * COLUMNS && row < with.rows && column < N;
                to[o] = exists ? with.out + (size_t)row * N + column : nullptr;
                residual[o] = 0;
                bias[o] = exists ? with.bias[column] : 0;
                scale[o] = INT8 && exists ? with.scales[column] : 1;
                columnSum[o] = NORMED && exists ? with.sums[column] : 0;
            }
        }

        __device__ __forceinline__ void loadResidual() {
            #pragma unroll
            for (int o = 0; o < OUTPUTS; o++) {
                residual[o] = to[o] ? loadFresh1(to[o]) : 0;
            }
        }
    };

    /* Where of K a thread's 8 elements of a step begin. */
    __device__ __forceinline__ static int kOf(int step) {
        return (step * WARPS + threadIdx.x / WARP) * 32 + threadIdx.x % 4 * 8;
    }

    __device__ __forceinline__ static void loadWeightTiles(
            const Operands& with, int g, Weights<INT8> (&weights)[STEPS][TILES]) {
        #pragma unroll
        for (int step = 0; step < STEPS; step++) {
            #pragma unroll
            for (int j = 0; j < TILES; j++) {
                const int column = blockIdx.x * COLUMNS + j * 8 + g;
                weights[step][j] = kOf(step) < K && column < N
                                           ? Weights<INT8>::load(with.w, (size_t)column * K + kOf(step))
                                           : Weights<INT8>::zero();
            }
        }
    }

    /* Rows g and g + 8 of x. */
    __device__ __forceinline__ static void loadRows(const Operands& with, int g, uint4 (&a)[STEPS][2]) {
        #pragma unroll
        for (int step = 0; step < STEPS; step++) {
            #pragma unroll
            for (int half = 0; half < 2; half++) {
                const int row = blockIdx.z * ROWS + half * 8 + g;
                a[step][half] = row < with.rows && kOf(step) < K ? loadFresh(with.x + (size_t)row * K + kOf(step))
                                                                 : make_uint4(0, 0, 0, 0);
            }
        }
    }

    /* Leaves the warp's sums in shared memory. */
    __device__ __forceinline__ static void multiply(uint4 (&a)[STEPS][2], const Weights<INT8> (&weights)[STEPS][TILES],
            const uint4* normWeight, int g, int t, Sums& sums, RowSums& rowSums) {
        float c[TILES][4] = {};
        float sum[4] = {}, upper[4] = {}, lower[4] = {};
        #pragma unroll
        for (int step = 0; step < STEPS; step++) {
            if (NORMED) { // rows times ones, and rows times rows, whose diagonals are the squares
                mma32(sum, a[step][0], a[step][1], make_uint4(ONES, ONES, ONES, ONES));
                mma32(upper, a[step][0], a[step][1], a[step][0]);
                mma32(lower, a[step][0], a[step][1], a[step][1]);
            }
            if (INT8 && NORMED) {
                a[step][0] = multiplyElements(a[step][0], normWeight[step]);
                a[step][1] = multiplyElements(a[step][1], normWeight[step]);
            }
            #pragma unroll
            for (int j = 0; j < TILES; j++) {
                mma32(c[j], a[step][0], a[step][1], weights[step][j].elements());
            }
        }
        const int warp = threadIdx.x / WARP;
        #pragma unroll
        for (int j = 0; j < TILES; j++) {
            float* to = &sums[warp][g * COLUMNS + j * 8 + 2 * t];
            *(float2*)to = make_float2(c[j][0], c[j][1]);
            *(float2*)(to + 8 * COLUMNS) = make_float2(c[j][2], c[j][3]);
        }
        if (NORMED && t == g / 2) { // has the squares of rows g and g + 8
            rowSums[warp][g] = make_float2(sum[0], g % 2 ? upper[1] : upper[0]);
            rowSums[warp][g + 8] = make_float2(sum[2], g % 2 ? lower[3] : lower[2]);
        }
    }

    /* Adds up the warps' sums and stores the outputs. */
    __device__ __forceinline__ static void finish(const Outputs& outputs, const Sums& sums, const RowSums& rowSums) {
        #pragma unroll
        for (int o = 0; o < OUTPUTS; o++) {
            if (outputs.to[o]) {
                const int at = o * THREADS + threadIdx.x;
                float total = 0, rowSum = 0, rowSquares = 0;
                #pragma unroll
                for (int warp = 0; warp < WARPS; warp++) {
                    total += sums[warp][at];
                    if (NORMED) {
                        rowSum += rowSums[warp][at / COLUMNS].x;
                        rowSquares += rowSums[warp][at / COLUMNS].y;
                    }
                }
                total *= outputs.scale[o];
                if (NORMED) {
                    const Norm norm = normOf<K>(rowSum, rowSquares);
                    total = (total - norm.mean * outputs.columnSum[o]) * norm.inverse;
                }
                total += widen(outputs.bias[o]);
                if (EPILOGUE == Epilogue::ACTIVATION) {
                    total = activation(total);
                } else if (EPILOGUE == Epilogue::RESIDUAL) {
                    total = widen(outputs.residual[o]) + total;
                }
                *outputs.to[o] = narrow(total);
            }
        }
    }

    /*
     * out [M, N] of x [M, K] and w [N, K]. A block makes COLUMNS columns of ROWS rows; its warps take steps of 32 of K
     * in turn, of which a thread has 8, and add up through shared memory. Grid: (N / COLUMNS, 1, M / ROWS), rounded up;
     * THREADS threads. Traffic: N K elements of weights, from memory once and from the L2 cache once for each 16 rows;
     * for each block 16 K elements of x from the L2 cache. 8-bit weights do not hold the norm's weight, which would
     * spread their sizes: the rows are multiplied by it.
     */
    __device__ __forceinline__ static void run(const Operands& with) {
        __shared__ Sums sums;
        __shared__ RowSums rowSums;
        const int g = threadIdx.x % WARP / 4;
        const int t = threadIdx.x % 4;
        Weights<INT8> weights[STEPS][TILES];
        loadWeightTiles(with, g, weights);
        uint4 normWeight[INT8 && NORMED ? STEPS : 1];
        if (INT8 && NORMED) {
            #pragma unroll
            for (int step = 0; step < STEPS; step++) {
                normWeight[step] = kOf(step) < K ? loadWeights(with.normWeight + kOf(step)) : make_uint4(0, 0, 0, 0);
            }
        }
        Outputs outputs;
        outputs.load(with);
        releaseNext(); // here: earlier, the next kernel's blocks would take memory bandwidth from these; later, they
                       // would start late
        awaitPrevious();

        uint4 a[STEPS][2];
        loadRows(with, g, a);
        if (EPILOGUE == Epilogue::RESIDUAL) {
            outputs.loadResidual();
        }
        multiply(a, weights, normWeight, g, t, sums, rowSums);
        __syncthreads();
        finish(outputs, sums, rowSums);
    }
};

#define SKINNY_GEMM(name, K, N, TILES, EPILOGUE, NORMED, INT8)                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) name(const Element* __restrict__ x,                  \
            const void* __restrict__ w, const float* __restrict__ scales, const Element* __restrict__ normWeight, \
            const float* __restrict__ sums, const Element* __restrict__ bias, Element* out, int rows) {           \
        SkinnyGemm<K, N, TILES, Epilogue::EPILOGUE, NORMED, INT8>::run(                                           \
                {x, w, scales, normWeight, sums, bias, out, rows});                                               \
    }

LT_KERNELS
