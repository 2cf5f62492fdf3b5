/*
 * Matrix products of more than a few rows, split-K over a cluster, on Hopper's tensor cores (wgmma [1], compute
 * capability 9.0 only), for 16-bit elements.
 *
 *   LT_WGMMA_ROWS, LT_WGMMA_K  rows of a block's tile, elements of K of a stage
 *   LT_WGMMA_WARPS             warps that multiply: a warpgroup
 *   LT_WGMMA_THREADS           of a block: the multiplying warps and the producer
 *   LT_WGMMA_NORMED_THREADS    with a LayerNorm: the statistics warps too
 *   LT_KERNELS                 the kernels, WGMMA_GEMM(...) each: see ProductKernel.java
 *   and those of gemm.cuh
 *
 * A block multiplies WGMMA_ROWS rows by COLUMNS columns over a part of K; K is split among the SPLIT blocks of a
 * cluster. Each sends the others their columns of its sums, by stores that the receiver's barrier counts [2], and
 * finishes its own columns. TMA [3] brings 64 of K at a time, weights and rows, through a multi-stage pipeline, in the
 * layout that wgmma takes (128-byte swizzle). The weights of the first stages are requested before the wait for the
 * previous kernel.
 *
 * [1] PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"
 * [2] PTX ISA, "st.async"
 * [3] PTX ISA, "cp.async.bulk.tensor"
 */
#include "gemm.cuh"
#include "pipeline.cuh"
#if !defined(LT_WGMMA_ROWS) || !defined(LT_WGMMA_K) || !defined(LT_WGMMA_WARPS) || !defined(LT_WGMMA_THREADS) || \
        !defined(LT_WGMMA_NORMED_THREADS) || !defined(LT_KERNELS)
#error "gemm_wgmma.cu needs -DLT_WGMMA_* and -DLT_KERNELS: see KernelFile.java"
#endif
constexpr int TILE_ROWS = LT_WGMMA_ROWS;
constexpr int TILE_K = LT_WGMMA_K;
constexpr int WARPS = LT_WGMMA_WARPS;
constexpr int ROW_BYTES = TILE_K * sizeof(Element);
static_assert(TILE_ROWS == 64 && WARPS == 4, "wgmma has 64 rows and a warpgroup");
static_assert(ROW_BYTES == 128, "a row of a tile is the span of the swizzle");
static_assert(LT_WGMMA_THREADS == WARP * (WARPS + 1), "multiplying warps and a producer");
static_assert(
        LT_WGMMA_NORMED_THREADS == LT_WGMMA_THREADS + 2 * TILE_ROWS, "and two threads for the statistics of each row");

/* A tensor map, by which TMA finds boxes of a matrix: see TensorMap.java. */
struct __align__(64) TensorMap {
    u64 opaque[16];
};

/*
 * Copies a box of a matrix [rows, K], from column k and a row on, to shared memory; what lies beyond the edges becomes
 * zero.
 */
__device__ __forceinline__ void copyBox(const TensorMap* map, int k, int row, unsigned to, u64* barrier) {
    asm volatile(
            "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::
                    "r"(to),
            "l"(map), "r"(k), "r"(row), "r"(sharedAddress(barrier))
            : "memory");
}

/* Copies it to the L2 cache only. */
__device__ __forceinline__ void prefetchBox(const TensorMap* map, int k, int row) {
    asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%0, {%1, %2}];" ::"l"(map), "r"(k), "r"(row)
            : "memory");
}

/* The matrix descriptor of a tile of rows of 128 bytes, K contiguous, swizzled; 1,024 bytes from 8 rows to the next. */
__device__ __forceinline__ u64 descriptor(unsigned address) {
    return (u64)((address & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

#if LT_BFLOAT16
#define WGMMA_TYPES ".f32.bf16.bf16"
#else
#define WGMMA_TYPES ".f32.f16.f16"
#endif
template <int N>
__device__ __forceinline__ void wgmma(float (&c)[N / 2], u64 x, u64 w); // c += x w^T, for x [64, 16], w [N, 16]

// clang-format off
#define R24 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23"
#define R48 R24 ", %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define C8(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define C24(i) C8(i), C8(i + 8), C8(i + 16)
#define WGMMA(N, registers, x_, w_, ...)                                                                               \
    template <>                                                                                                       \
    __device__ __forceinline__ void wgmma<N>(float (&c)[N / 2], u64 x, u64 w) {                                       \
        asm volatile("{\n .reg .pred add;\n setp.eq.u32 add, 1, 1;\n wgmma.mma_async.sync.aligned.m64n" #N "k16"      \
                     WGMMA_TYPES " {" registers "}, " x_ ", " w_ ", add, 1, 1, 0, 0;\n}"                              \
                     : __VA_ARGS__ : "l"(x), "l"(w));                                                                 \
    }
WGMMA(48, R24, "%24", "%25", C24(0))
WGMMA(96, R48, "%48", "%49", C24(0), C24(24))
// clang-format on

/* A kernel's arguments. */
struct Operands {
    const TensorMap* x;  // [rows, K], boxes of TILE_ROWS rows by TILE_K
    const TensorMap* w;  // [N, K], boxes of COLUMNS rows by TILE_K
    const float* sums;   // [N], of the rows of w, with a LayerNorm
    const Element* bias; // [N]
    Element* out;        // [rows, N]
    int rows;
};

template <int K, int N, int COLUMNS, int SPLIT, int STAGES, Epilogue EPILOGUE, bool NORMED>
struct WgmmaGemm {
    static constexpr int ALL_STEPS = (K + TILE_K - 1) / TILE_K;
    static constexpr int STEPS = ALL_STEPS / SPLIT; // of a block
    static constexpr int STAGE = (COLUMNS + TILE_ROWS) * ROW_BYTES;
    static constexpr int EIGHTS = COLUMNS / 8 / SPLIT; // of columns, that a block finishes
    static constexpr int SUMS = 4 * EIGHTS;            // of a thread, of those columns
    static constexpr bool REUSED = STEPS > STAGES;     // whether a stage is filled more than once
    static_assert(STAGES > 1 || STEPS == 1, "wgmma reads a stage while the next one is multiplied");
    static_assert(ALL_STEPS % SPLIT == 0 && COLUMNS % (8 * SPLIT) == 0, "all blocks have the same work");

    struct Shared {
        Pipeline<STAGES> pipeline;
        u64 landed;                                                 // counts what other blocks send
        float4 rowSums[NORMED ? SPLIT : 1][NORMED ? TILE_ROWS : 1]; // each block's sums of elements and of squares
    };

    /* The stages, and [SPLIT - 1, WARPS, EIGHTS, WARP] sums from the other blocks, in dynamic shared memory. */
    struct Buffers {
        unsigned stages; // address, [STAGES, COLUMNS + TILE_ROWS, ROW_BYTES]
        float4* sums;

        __device__ __forceinline__ explicit Buffers(char* memory) {
            stages = (sharedAddress(memory) + 1023) / 1024 * 1024;
            sums = (float4*)(memory + (stages - sharedAddress(memory)) + STAGES * STAGE);
        }

        __device__ __forceinline__ unsigned weights(int step) const {
            return stages + step % STAGES * STAGE;
        }

        __device__ __forceinline__ unsigned rows(int step) const {
            return weights(step) + COLUMNS * ROW_BYTES;
        }
    };

    __device__ __forceinline__ static int part() {
        return blockIdx.y;
    }

    __device__ __forceinline__ static void waitForOthers() {
        if (SPLIT > 1) {
            awaitCluster();
        }
    }

    __device__ __forceinline__ static void init(const Operands& with, Shared& shared) {
        if (threadIdx.x == WARP * WARPS) {
            shared.pipeline.init(WARP * (NORMED ? 2 * WARPS : WARPS));
            initBarrier(&shared.landed, NORMED ? 1 + WARP * WARPS : 1);
            publishBarriers();
            expectBytes(&shared.landed, (SPLIT - 1) * (WARPS * EIGHTS * WARP + (NORMED ? TILE_ROWS : 0)) * 16);
            asm volatile("prefetch.tensormap [%0];" ::"l"(with.x) : "memory"); // it is used later than that of w
        }
        __syncthreads();
        if (SPLIT > 1) {
            arriveAtCluster();
        }
    }

    __device__ __forceinline__ static void release(Shared& shared, int step) {
        if (REUSED) {
            shared.pipeline.release(step);
        }
    }

    /* One thread of the producer warp. */
    __device__ __forceinline__ static void produce(const Operands& with, const Buffers& buffers, Shared& shared) {
        Pipeline<STAGES>& pipeline = shared.pipeline;
        const int firstColumn = blockIdx.x * COLUMNS;
        const int firstRow = blockIdx.z * TILE_ROWS;
        auto kOf = [&](int step) { return (part() * STEPS + step) * TILE_K; };
        auto copyWeights = [&](int step) {
            expectBytes(pipeline.barrier(step), STAGE);
            copyBox(with.w, kOf(step), firstColumn, buffers.weights(step), pipeline.barrier(step));
        };
        auto copyRows = [&](int step) {
            copyBox(with.x, kOf(step), firstRow, buffers.rows(step), pipeline.barrier(step));
        };
        #pragma unroll 1
        for (int step = 0; step < STAGES; step++) {
            copyWeights(step);
        }
        #pragma unroll 1
        for (int step = STAGES; step < STEPS; step++) {
            prefetchBox(with.w, kOf(step), firstColumn);
        }
        releaseNext();
        awaitPrevious();
        #pragma unroll 1
        for (int step = 0; step < STAGES; step++) {
            copyRows(step);
        }
        #pragma unroll 1
        for (int step = STAGES; step < STEPS; step++) {
            pipeline.acquire(step);
            copyWeights(step);
            copyRows(step);
        }
    }

    /*
     * The statistics warps sum up each row's elements and squares over the block's part of K, two threads a row, 32 of
     * 64 elements each, and send them to all blocks of the cluster.
     */
    __device__ __forceinline__ static void sumRows(const Buffers& buffers, Shared& shared) {
        const int row = (threadIdx.x - WARP * (WARPS + 1)) / 2;
        const int half = threadIdx.x % 2;
        float sums[4] = {}, squares[4] = {}; // four, as an addition waits for the one before
        #pragma unroll 1
        for (int step = 0; step < STEPS; step++) {
            const unsigned x = buffers.rows(step) + row * ROW_BYTES;
            shared.pipeline.wait(step);
            __syncwarp();
            #pragma unroll
            for (int i = 0; i < 4; i++) {
                uint4 raw;
                asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                        : "=r"(raw.x), "=r"(raw.y), "=r"(raw.z), "=r"(raw.w)
                        : "r"(x + ((half * 4 + i ^ row % 8) << 4))
                        : "memory");
                float v[8];
                unpack(raw, v);
                #pragma unroll
                for (int j = 0; j < 8; j++) {
                    sums[j % 4] += v[j];
                    squares[j % 4] += v[j] * v[j];
                }
            }
            release(shared, step);
        }
        float sum = sums[0] + sums[1] + (sums[2] + sums[3]);
        float square = squares[0] + squares[1] + (squares[2] + squares[3]);
        sum += __shfl_xor_sync(FULL_WARP, sum, 1);
        square += __shfl_xor_sync(FULL_WARP, square, 1);
        waitForOthers();
        for (int to = half; to < SPLIT; to += 2) {
            float4* at = &shared.rowSums[part()][row];
            if (to == part()) {
                *at = make_float4(sum, square, 0, 0);
            } else {
                pushRemote(remoteAddress(at, to), sum, square, 0, 0, remoteAddress(&shared.landed, to));
            }
        }
        arrive(&shared.landed);
    }

    /* The multiplying warps' sums over the block's part of K. */
    __device__ __forceinline__ static void multiply(const Buffers& buffers, Shared& shared, float (&c)[COLUMNS / 2]) {
        #pragma unroll
        for (int i = 0; i < COLUMNS / 2; i++) {
            c[i] = 0;
        }
        #pragma unroll 1
        for (int step = 0; step < STEPS; step++) {
            shared.pipeline.wait(step);
            __syncwarp();
            asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
            #pragma unroll
            for (int k = 0; k < TILE_K; k += 16) {
                wgmma<COLUMNS>(c, descriptor(buffers.rows(step) + 2 * k), descriptor(buffers.weights(step) + 2 * k));
            }
            asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
            if (REUSED) {
                asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
                if (step > 0) {
                    release(shared, step - 1);
                }
            }
        }
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        #pragma unroll
        for (int i = 0; i < COLUMNS / 2; i++) {
            asm volatile("" : "+f"(c[i])::"memory"); // the compiler must not read them before
        }
    }

    /*
     * Sends the other blocks, from block TO on, their columns of the sums, and keeps this block's. TO is a constant,
     * not a loop's variable, so that c stays in registers.
     */
    template <int TO = 0>
    __device__ __forceinline__ static void exchange(
            const Buffers& buffers, Shared& shared, const float (&c)[COLUMNS / 2], float (&y)[SUMS]) {
        const int warp = threadIdx.x / WARP;
        const int lane = threadIdx.x % WARP;
        if (TO == part()) {
            #pragma unroll
            for (int i = 0; i < SUMS; i++) {
                y[i] = c[TO * SUMS + i];
            }
        } else {
            const int slot = part() < TO ? part() : part() - 1;
            const unsigned at = remoteAddress(buffers.sums + ((slot * WARPS + warp) * EIGHTS * WARP + lane), TO);
            const unsigned barrier = remoteAddress(&shared.landed, TO);
            #pragma unroll
            for (int i = 0; i < EIGHTS; i++) {
                const float* four = c + (TO * EIGHTS + i) * 4;
                pushRemote(at + i * WARP * 16, four[0], four[1], four[2], four[3], barrier);
            }
        }
        if constexpr (TO + 1 < SPLIT) {
            exchange<TO + 1>(buffers, shared, c, y);
        }
    }

    /* Adds the other blocks' sums of this block's columns. */
    __device__ __forceinline__ static void addOthers(const Buffers& buffers, float (&y)[SUMS]) {
        const int warp = threadIdx.x / WARP;
        const int lane = threadIdx.x % WARP;
        #pragma unroll
        for (int from = 0; from < SPLIT - 1; from++) {
            #pragma unroll
            for (int i = 0; i < EIGHTS; i++) {
                const float4 more = buffers.sums[((from * WARPS + warp) * EIGHTS + i) * WARP + lane];
                y[4 * i] += more.x;
                y[4 * i + 1] += more.y;
                y[4 * i + 2] += more.z;
                y[4 * i + 3] += more.w;
            }
        }
    }

    /* The norm of a row of the tile, from all blocks' sums. */
    __device__ __forceinline__ static Norm norm(const Shared& shared, int row) {
        float sum = 0, squares = 0;
        #pragma unroll
        for (int from = 0; from < SPLIT; from++) {
            sum += shared.rowSums[from][row].x;
            squares += shared.rowSums[from][row].y;
        }
        return normOf<K>(sum, squares);
    }

    /* Finishes this block's columns. A thread has two neighbouring columns of each eight, in two rows, 8 apart. */
    __device__ __forceinline__ static void finish(
            const Operands& with, const Buffers& buffers, Shared& shared, float (&y)[SUMS]) {
        const int row = 16 * (threadIdx.x / WARP) + threadIdx.x % WARP / 4;
        const int firstRow = blockIdx.z * TILE_ROWS;
        const int column = blockIdx.x * COLUMNS + part() * EIGHTS * 8 + threadIdx.x % 4 * 2;
        const bool upper = firstRow + row < with.rows;
        const bool lower = firstRow + row + 8 < with.rows;
        Element* to = with.out + (size_t)(firstRow + row) * N + column;
        unsigned residuals[EPILOGUE == Epilogue::RESIDUAL ? 2 * EIGHTS : 1];
        unsigned biases[EIGHTS];
        float2 columnSums[NORMED ? EIGHTS : 1];
        #pragma unroll
        for (int i = 0; i < EIGHTS; i++) {
            const bool exists = column + 8 * i < N;
            biases[i] = exists ? *(const unsigned*)(with.bias + column + 8 * i) : 0;
            if (NORMED) {
                columnSums[i] = exists ? *(const float2*)(with.sums + column + 8 * i) : make_float2(0, 0);
            }
            if (EPILOGUE == Epilogue::RESIDUAL) {
                residuals[2 * i] = upper && exists ? loadFresh2(to + 8 * i) : 0;
                residuals[2 * i + 1] = lower && exists ? loadFresh2(to + 8 * (size_t)N + 8 * i) : 0;
            }
        }
        if (SPLIT > 1 || NORMED) {
            waitForCluster(&shared.landed, 0);
        }
        addOthers(buffers, y);
        Norm norms[2] = {{0, 1}, {0, 1}};
        if (NORMED) {
            #pragma unroll
            for (int half = 0; half < 2; half++) {
                norms[half] = norm(shared, row + 8 * half);
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
                const float2 bias = unpack2(biases[i]);
                two[0] += bias.x;
                two[1] += bias.y;
                if (EPILOGUE == Epilogue::ACTIVATION) {
                    two[0] = activation(two[0]);
                    two[1] = activation(two[1]);
                } else if (EPILOGUE == Epilogue::RESIDUAL) {
                    const float2 residual = unpack2(residuals[2 * i + half]);
                    two[0] += residual.x;
                    two[1] += residual.y;
                }
                if ((half == 0 ? upper : lower) && column + 8 * i < N) {
                    *(unsigned*)(to + 8 * half * (size_t)N + 8 * i) = pack2(two[0], two[1]);
                }
            }
        }
    }

    /*
     * Grid: (N / COLUMNS, SPLIT, M / TILE_ROWS), rounded up; LT_WGMMA_THREADS threads, with a LayerNorm
     * LT_WGMMA_NORMED_THREADS. Dynamic shared memory: 1 KB to align, STAGES STAGE bytes and (SPLIT - 1) COLUMNS 256 /
     * SPLIT bytes of sums. Traffic: N K elements of weights, from memory once and from the L2 cache once for each 64
     * rows; M K N / COLUMNS elements of x from the L2 cache; M N 4 (SPLIT - 1) / SPLIT bytes between blocks.
     */
    __device__ __forceinline__ static void run(const Operands& with) {
        extern __shared__ char memory[];
        __shared__ Shared shared;
        const Buffers buffers(memory);
        const int warp = threadIdx.x / WARP;
        init(with, shared);
        if (warp == WARPS) {
            if (threadIdx.x % WARP == 0) {
                produce(with, buffers, shared);
            }
            __syncwarp();
            waitForOthers();
            return;
        }
        awaitPrevious();
        if (NORMED && warp > WARPS) {
            sumRows(buffers, shared);
            return;
        }
        float c[COLUMNS / 2];
        multiply(buffers, shared, c);
        waitForOthers();
        float y[SUMS];
        exchange(buffers, shared, c, y);
        finish(with, buffers, shared, y);
    }
};

#define WGMMA_GEMM(name, K, N, COLUMNS, SPLIT, STAGES, EPILOGUE, NORMED)                                        \
    extern "C" __global__ void __cluster_dims__(1, SPLIT, 1)                                                    \
            __launch_bounds__(NORMED ? LT_WGMMA_NORMED_THREADS : LT_WGMMA_THREADS) name(                        \
                    const __grid_constant__ TensorMap xMap, const __grid_constant__ TensorMap wMap,             \
                    const float* __restrict__ sums, const Element* __restrict__ bias, Element* out, int rows) { \
        WgmmaGemm<K, N, COLUMNS, SPLIT, STAGES, Epilogue::EPILOGUE, NORMED>::run(                               \
                {&xMap, &wMap, sums, bias, out, rows});                                                         \
    }

LT_KERNELS
