/*
 * The matrix products of a step of more than a few rows, on Hopper's matrix units (wgmma [1], compute capability 9.0 only), for 16-bit
 * elements. All matrices are row-major with K contiguous: activations x [M, K], weights w [N, K], so that out = x w^T.
 *
 *   C hidden size, F inner size, EPSILON_BITS of the layer norm (a float's bits), ACTIVATION 0 tanh GELU, 1 erf GELU, 2 ReLU;
 *   WIDE_KERNELS, the products by their sizes: CudaLinear.java chooses them
 *
 * A block multiplies 64 rows by COLUMNS columns over a part of K; SPLIT blocks, a cluster, share K. Each sends the others their columns of
 * its sums, by stores that count themselves at the receiver's barrier [2], and finishes its own. The copy engine (TMA [3]) brings 64 of K
 * at a time, weights and rows, into a ring of pieces, laid out as the matrix units want them (128-byte swizzle). The first pieces' weights
 * are asked for before the wait for the kernel before.
 *
 * [1] PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"
 * [2] PTX ISA, "st.async"
 * [3] PTX ISA, "cp.async.bulk.tensor"
 */
#include "product.cuh"
#include "barriers.cuh"

#define TILE_ROWS 64
#define TILE_K 64       /* 128 bytes, the span of the swizzle */
#define MULTIPLIERS 4   /* warps, a warpgroup; then a warp that copies, and with NORMED as many that sum up rows */

/* What the copy engine is told of a matrix: see TensorMap.java. */
struct __align__(64) Map {
    u64 opaque[16];
};

/* A box of a matrix [rows, K], from column k and a row on, to shared memory; what lies beyond the edges is zero. */
static __device__ __forceinline__ void copy(const Map* map, int k, int row, unsigned to, u64* barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
                 :: "r"(to), "l"(map), "r"(k), "r"(row), "r"(sharedAddress(barrier)) : "memory");
}

/* The same, to the L2 cache only. */
static __device__ __forceinline__ void prefetch(const Map* map, int k, int row) {
    asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%0, {%1, %2}];" :: "l"(map), "r"(k), "r"(row) : "memory");
}

/* How the matrix units find a tile of rows of 128 bytes, K contiguous, swizzled. */
static __device__ __forceinline__ u64 matrix(unsigned address) {
    return (u64)((address & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62; // 1,024 bytes from 8 rows to the next
}

#ifdef BRAIN
#define WGMMA_TYPES ".f32.bf16.bf16"
#else
#define WGMMA_TYPES ".f32.f16.f16"
#endif
template <int N>
static __device__ __forceinline__ void wgmma(float (&c)[N / 2], u64 x, u64 w); // c += x w^T, for x [64, 16], w [N, 16]

#define R24 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23"
#define R48 R24 ", %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define C8(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define C24(i) C8(i), C8(i + 8), C8(i + 16)
#define WGMMA(N, registers, x_, w_, ...)                                                                                               \
    template <>                                                                                                                       \
    __device__ __forceinline__ void wgmma<N>(float (&c)[N / 2], u64 x, u64 w) {                                                       \
        asm volatile("{\n .reg .pred add;\n setp.eq.u32 add, 1, 1;\n wgmma.mma_async.sync.aligned.m64n" #N "k16" WGMMA_TYPES " {"     \
                     registers "}, " x_ ", " w_ ", add, 1, 1, 0, 0;\n}" : __VA_ARGS__ : "l"(x), "l"(w));                              \
    }
WGMMA(48, R24, "%24", "%25", C24(0))
WGMMA(96, R48, "%48", "%49", C24(0), C24(24))

/* As loadFresh, of two elements. */
static __device__ __forceinline__ unsigned loadTwoFresh(const T* from) {
    unsigned x;
    asm volatile("ld.global.cg.u32 %0, [%1];" : "=r"(x) : "l"(from) : "memory");
    return x;
}

/*
 * xMap and wMap describe x and w to the copy engine, in boxes of 64 and of COLUMNS rows by 64 of K. Grid: (N / COLUMNS, SPLIT, M / 64),
 * rounded up; 160 threads, with NORMED 288. Shared memory: 1 KB, STAGES (COLUMNS + 64) 128 bytes and (SPLIT - 1) COLUMNS 256 / SPLIT bytes.
 * Traffic: N K elements of weights, from memory once and from the L2 cache once for each 64 rows; M K N / COLUMNS elements of x from the L2
 * cache; M N 4 (SPLIT - 1) / SPLIT bytes between blocks.
 */
template <int K, int COLUMNS, int SPLIT, int STAGES, int EPILOGUE, bool NORMED>
static __device__ __forceinline__ void wide(const Map* xMap, const Map* wMap, const float* __restrict__ sums, const T* __restrict__ bias,
        T* out, int rows, int n) {
    constexpr int PIECES = (K + TILE_K - 1) / TILE_K;
    constexpr int OWN = PIECES / SPLIT; // of a block
    constexpr int STAGE = (COLUMNS + TILE_ROWS) * 128;
    constexpr int EIGHTS = COLUMNS / 8 / SPLIT; // of columns, that a block finishes
    static_assert((STAGES > 1 || OWN == 1) && PIECES % SPLIT == 0 && COLUMNS % (8 * SPLIT) == 0, "all blocks have the same work");
    extern __shared__ char memory[];
    __shared__ u64 full[STAGES], empty[STAGES], landed;
    __shared__ float4 rowParts[NORMED ? SPLIT : 1][NORMED ? TILE_ROWS : 1]; // each block's sum and sum of squares
    const unsigned ring = (sharedAddress(memory) + 1023) / 1024 * 1024;
    float4* landing = (float4*)(memory + (ring - sharedAddress(memory)) + STAGES * STAGE); // [SPLIT - 1, MULTIPLIERS, EIGHTS, 32]
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int firstColumn = blockIdx.x * COLUMNS;
    const int firstRow = blockIdx.z * TILE_ROWS;
    const int part = blockIdx.y;

    if (threadIdx.x == 32 * MULTIPLIERS) {
        for (int s = 0; s < STAGES; s++) {
            initBarrier(&full[s], 1);
            initBarrier(&empty[s], 32 * (NORMED ? 2 * MULTIPLIERS : MULTIPLIERS));
        }
        initBarrier(&landed, NORMED ? 1 + 32 * MULTIPLIERS : 1);
        publishBarriers();
        expectBytes(&landed, (SPLIT - 1) * (MULTIPLIERS * EIGHTS * 32 + (NORMED ? TILE_ROWS : 0)) * 16);
        asm volatile("prefetch.tensormap [%0];" :: "l"(xMap) : "memory"); // it is used later than the map of w
    }
    __syncthreads();
    if (SPLIT > 1) {
        arriveAtCluster();
    }
    auto clusterIsReady = [&]() {
        if (SPLIT > 1) {
            awaitCluster();
        }
    };
    auto release = [&](int piece) { // by each thread that is done with it: racecheck does not see that a __syncwarp() orders the others
        if (OWN > STAGES) {
            arrive(&empty[piece % STAGES]);
        }
    };
    if (warp == MULTIPLIERS) {
        if (lane == 0) {
            auto copyWeights = [&](int piece) {
                u64* barrier = &full[piece % STAGES];
                expectBytes(barrier, STAGE);
                copy(wMap, (part * OWN + piece) * TILE_K, firstColumn, ring + piece % STAGES * STAGE, barrier);
            };
            auto copyRows = [&](int piece) {
                copy(xMap, (part * OWN + piece) * TILE_K, firstRow, ring + piece % STAGES * STAGE + COLUMNS * 128, &full[piece % STAGES]);
            };
            #pragma unroll 1
            for (int piece = 0; piece < STAGES; piece++) {
                copyWeights(piece);
            }
            #pragma unroll 1
            for (int piece = STAGES; piece < OWN; piece++) {
                prefetch(wMap, (part * OWN + piece) * TILE_K, firstColumn);
            }
            releaseNext();
            awaitPrevious();
            #pragma unroll 1
            for (int piece = 0; piece < STAGES; piece++) {
                copyRows(piece);
            }
            #pragma unroll 1
            for (int piece = STAGES; piece < OWN; piece++) {
                waitFor(&empty[piece % STAGES], piece / STAGES - 1 & 1);
                copyWeights(piece);
                copyRows(piece);
            }
        }
        __syncwarp();
        clusterIsReady();
        return;
    }
    awaitPrevious();
    if (NORMED && warp > MULTIPLIERS) { // two threads a row, 32 of 64 elements each
        const int row = (threadIdx.x - 32 * (MULTIPLIERS + 1)) / 2;
        const int half = threadIdx.x % 2;
        float sums4[4] = {}, squares4[4] = {}; // four, as an addition waits for the one before
        #pragma unroll 1
        for (int piece = 0; piece < OWN; piece++) {
            const unsigned x = ring + piece % STAGES * STAGE + (COLUMNS + row) * 128;
            waitFor(&full[piece % STAGES], piece / STAGES & 1);
            __syncwarp();
            #pragma unroll
            for (int i = 0; i < 4; i++) {
                uint4 raw;
                asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(raw.x), "=r"(raw.y), "=r"(raw.z), "=r"(raw.w)
                             : "r"(x + ((half * 4 + i ^ row % 8) << 4)) : "memory");
                float v[8];
                expand(raw, v);
                #pragma unroll
                for (int j = 0; j < 8; j++) {
                    sums4[j % 4] += v[j];
                    squares4[j % 4] += v[j] * v[j];
                }
            }
            release(piece);
        }
        float sum = sums4[0] + sums4[1] + (sums4[2] + sums4[3]);
        float squares = squares4[0] + squares4[1] + (squares4[2] + squares4[3]);
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        squares += __shfl_xor_sync(0xffffffffu, squares, 1);
        clusterIsReady();
        for (int to = half; to < SPLIT; to += 2) {
            if (to == part) {
                rowParts[part][row] = make_float4(sum, squares, 0, 0);
            } else {
                push(ofBlock(&rowParts[part][row], to), sum, squares, 0, 0, ofBlock(&landed, to));
            }
        }
        arrive(&landed);
        return;
    }
    float c[COLUMNS / 2];
    #pragma unroll
    for (int i = 0; i < COLUMNS / 2; i++) {
        c[i] = 0;
    }
    #pragma unroll 1
    for (int piece = 0; piece < OWN; piece++) {
        const unsigned w = ring + piece % STAGES * STAGE;
        const unsigned x = w + COLUMNS * 128;
        waitFor(&full[piece % STAGES], piece / STAGES & 1);
        __syncwarp();
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        #pragma unroll
        for (int k = 0; k < TILE_K; k += 16) {
            wgmma<COLUMNS>(c, matrix(x + 2 * k), matrix(w + 2 * k));
        }
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        if (OWN > STAGES) {
            asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
            if (piece > 0) {
                release(piece - 1);
            }
        }
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    #pragma unroll
    for (int i = 0; i < COLUMNS / 2; i++) {
        asm volatile("" : "+f"(c[i]) :: "memory"); // not read before
    }
    if (SPLIT > 1) {
        clusterIsReady();
    }
    float y[4 * EIGHTS];
    #pragma unroll
    for (int to = 0; to < SPLIT; to++) {
        if (to == part) {
            #pragma unroll
            for (int i = 0; i < 4 * EIGHTS; i++) {
                y[i] = c[to * 4 * EIGHTS + i];
            }
        } else {
            const int slot = part < to ? part : part - 1;
            const unsigned at = ofBlock(landing + ((slot * MULTIPLIERS + warp) * EIGHTS * 32 + lane), to);
            const unsigned barrier = ofBlock(&landed, to);
            #pragma unroll
            for (int i = 0; i < EIGHTS; i++) {
                const float* four = c + (to * EIGHTS + i) * 4;
                push(at + i * 512, four[0], four[1], four[2], four[3], barrier);
            }
        }
    }
    const int row = 16 * warp + lane / 4; // and the eighth below
    const int column = firstColumn + part * EIGHTS * 8 + lane % 4 * 2;
    const bool upper = firstRow + row < rows;
    const bool lower = firstRow + row + 8 < rows;
    T* to = out + (size_t)(firstRow + row) * n + column;
    unsigned before[EPILOGUE == RESIDUAL ? 2 * EIGHTS : 1];
    unsigned biases[EIGHTS];
    float2 columnSums[NORMED ? EIGHTS : 1];
    #pragma unroll
    for (int i = 0; i < EIGHTS; i++) {
        const bool there = column + 8 * i < n;
        biases[i] = there ? *(const unsigned*)(bias + column + 8 * i) : 0;
        if (NORMED) {
            columnSums[i] = there ? *(const float2*)(sums + column + 8 * i) : make_float2(0, 0);
        }
        if (EPILOGUE == RESIDUAL) {
            before[2 * i] = upper && there ? loadTwoFresh(to + 8 * i) : 0;
            before[2 * i + 1] = lower && there ? loadTwoFresh(to + 8 * (size_t)n + 8 * i) : 0;
        }
    }
    if (SPLIT > 1 || NORMED) {
        waitForBlocks(&landed, 0);
    }
    #pragma unroll
    for (int from = 0; from < SPLIT - 1; from++) {
        #pragma unroll
        for (int i = 0; i < EIGHTS; i++) {
            const float4 more = landing[((from * MULTIPLIERS + warp) * EIGHTS + i) * 32 + lane];
            y[4 * i] += more.x;
            y[4 * i + 1] += more.y;
            y[4 * i + 2] += more.z;
            y[4 * i + 3] += more.w;
        }
    }
    Norm norms[2] = {{0, 1}, {0, 1}};
    if (NORMED) {
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = 0, squares = 0;
            #pragma unroll
            for (int from = 0; from < SPLIT; from++) {
                sum += rowParts[from][row + 8 * half].x;
                squares += rowParts[from][row + 8 * half].y;
            }
            norms[half] = normOf<K>(sum, squares);
        }
    }
    #pragma unroll
    for (int i = 0; i < EIGHTS; i++) {
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            float* two = y + 4 * i + 2 * half;
            if (NORMED) {
                two[0] = (two[0] - norms[half].mean * columnSums[i].x) * norms[half].inverse;
                two[1] = (two[1] - norms[half].mean * columnSums[i].y) * norms[half].inverse;
            }
            two[0] += widen((T)(biases[i] & 0xffff));
            two[1] += widen((T)(biases[i] >> 16));
            if (EPILOGUE == ACTIVATED) {
                two[0] = activation(two[0]);
                two[1] = activation(two[1]);
            } else if (EPILOGUE == RESIDUAL) {
                two[0] += widen((T)(before[2 * i + half] & 0xffff));
                two[1] += widen((T)(before[2 * i + half] >> 16));
            }
            if ((half == 0 ? upper : lower) && column + 8 * i < n) {
                *(unsigned*)(to + 8 * half * (size_t)n + 8 * i) = (unsigned)narrow(two[0]) | (unsigned)narrow(two[1]) << 16;
            }
        }
    }
}

#define WIDE(name, K, N, COLUMNS, SPLIT, STAGES, EPILOGUE, NORMED)                                                                     \
    extern "C" __global__ void __cluster_dims__(1, SPLIT, 1) __launch_bounds__(NORMED ? 288 : 160) name(                              \
            const __grid_constant__ Map xMap, const __grid_constant__ Map wMap, const float* __restrict__ sums,                       \
            const T* __restrict__ bias, T* out, int rows) {                                                                           \
        wide<K, COLUMNS, SPLIT, STAGES, EPILOGUE, NORMED>(&xMap, &wMap, sums, bias, out, rows, N);                                    \
    }

WIDE_KERNELS
