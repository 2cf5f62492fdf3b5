/*
 * The layer norms, the matrix products of few rows and the head, for 16-bit elements on matrix units (mma.sync [1], compute capability 8.0
 * on). All matrices are row-major with K contiguous: activations x [M, K], weights w [N, K], so that out = x w^T.
 *
 *   C hidden size, F inner size, VP padded vocabulary, EPSILON_BITS of the layer norm (a float's bits), ACTIVATION 0 tanh GELU, 1 erf GELU,
 *   2 ReLU; INT8 whether the head reads 8-bit weights; THIN_KERNELS, the products by their sizes: CudaLinear.java chooses them
 *
 * With few rows a product costs what reading its weights costs. Its blocks ask for them, straight into registers, before they wait for the
 * kernel before theirs (programmatic dependent launch [2]), so that memory is at work across kernels.
 *
 * [1] PTX ISA, "Matrix Fragments for mma.m16n8k16"
 * [2] CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization"
 */
#include "product.cuh"

/* Of 16 bytes of K from rows g and g + 8 of a, and from row g of b: two products, as the order of K is free. */
static __device__ __forceinline__ void mma(float (&c)[4], const uint4& a, const uint4& lower, const uint4& b) {
    mma(c, a.x, lower.x, a.y, lower.y, b.x, b.y);
    mma(c, a.z, lower.z, a.w, lower.w, b.z, b.w);
}

/* Products of elements. */
static __device__ __forceinline__ uint4 times(const uint4& a, const uint4& b) {
#ifdef BRAIN
#define MULTIPLY "fma.rn.bf16x2 %0, %1, %2, %3;"
#else
#define MULTIPLY "fma.rn.f16x2 %0, %1, %2, %3;"
#endif
    uint4 product;
    const unsigned nothing = 0x80008000; // twice -0
    asm(MULTIPLY : "=r"(product.x) : "r"(a.x), "r"(b.x), "r"(nothing));
    asm(MULTIPLY : "=r"(product.y) : "r"(a.y), "r"(b.y), "r"(nothing));
    asm(MULTIPLY : "=r"(product.z) : "r"(a.z), "r"(b.z), "r"(nothing));
    asm(MULTIPLY : "=r"(product.w) : "r"(a.w), "r"(b.w), "r"(nothing));
    return product;
}

static __device__ __forceinline__ uint4 pack(const float* x) {
    unsigned words[4];
    #pragma unroll
    for (int i = 0; i < 4; i++) {
        words[i] = (unsigned)narrow(x[2 * i]) | (unsigned)narrow(x[2 * i + 1]) << 16;
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
}

/* As loadFresh, of one element. */
static __device__ __forceinline__ T loadOneFresh(const T* from) {
    T x;
    asm volatile("ld.global.cg.u16 %0, [%1];" : "=h"(x) : "l"(from) : "memory");
    return x;
}

static __device__ __forceinline__ float warpSum(float x) {
    #pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, step);
    }
    return x;
}

#define NOTHING make_uint4(0, 0, 0, 0)

/* Weights are read once a step: past the first-level cache. */
static __device__ __forceinline__ uint4 loadWeights(const T* from) {
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(from));
    return x;
}

/*
 * Eight neighbouring weights as they are in memory, and as elements. With BYTES they are rounded to 8 bits, 128 added, and the sum of
 * products is to be multiplied by the row's scale.
 */
template <bool BYTES>
struct Weights {
    uint4 raw;
    static __device__ __forceinline__ Weights load(const void* w, size_t at) { return {loadWeights((const T*)w + at)}; }
    static __device__ __forceinline__ Weights none() { return {NOTHING}; }
    __device__ __forceinline__ uint4 elements() const { return raw; }
};

template <>
struct Weights<true> {
    uint2 raw;
    static __device__ __forceinline__ Weights load(const void* w, size_t at) {
        Weights x;
        asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(x.raw.x), "=r"(x.raw.y) : "l"((const char*)w + at));
        return x;
    }
    static __device__ __forceinline__ Weights none() { return {make_uint2(0x80808080, 0x80808080)}; }
    static __device__ __forceinline__ unsigned pair(unsigned bytes, int first) {
#ifdef BRAIN
        const float x = (float)((int)(bytes >> 8 * first & 0xff) - 128);
        const float y = (float)((int)(bytes >> 8 * (first + 1) & 0xff) - 128);
        return (unsigned)narrow(x) | (unsigned)narrow(y) << 16;
#else
        unsigned x; // 0x64 before a byte is the half 1024 + byte
        asm("prmt.b32 %0, %1, 0x64646464, %2;" : "=r"(x) : "r"(bytes), "r"(first == 0 ? 0x4140 : 0x4342));
        asm("sub.f16x2 %0, %0, %1;" : "+r"(x) : "r"(0x64806480)); // 1024 + 128
        return x;
#endif
    }
    __device__ __forceinline__ uint4 elements() const { return make_uint4(pair(raw.x, 0), pair(raw.x, 2), pair(raw.y, 0), pair(raw.y, 2)); }
};

/*
 * out [M, N] of x [M, K] and w [N, K]. A block makes 8 TILES columns of 16 rows; its 8 warps share K in steps of 32, of which a thread has 8,
 * and add up through shared memory. Grid: (N / (8 TILES), 1, M / 16), rounded up; 256 threads.
 * Traffic: N K elements of weights, from memory once and from the L2 cache once for each 16 rows; for each block 16 K elements of x from
 * the L2 cache. Weights of 8 bits do not hold the norm's factors, which would spread their sizes: the rows are multiplied by `factors`.
 */
template <int K, int TILES, int EPILOGUE, bool NORMED, bool BYTES>
static __device__ __forceinline__ void thin(const T* __restrict__ x, const void* __restrict__ w, const float* __restrict__ scales,
        const T* __restrict__ factors, const float* __restrict__ sums, const T* __restrict__ bias, T* out, int rows, int n) {
    constexpr int WARPS = 8;
    constexpr int ROWS = 16;
    constexpr int STEPS = (K / 32 + WARPS - 1) / WARPS; // of a warp
    constexpr int COLUMNS = 8 * TILES;
    constexpr int OUTPUTS = (ROWS * COLUMNS + 255) / 256; // of a thread
    __shared__ float parts[WARPS][ROWS * COLUMNS];
    __shared__ float2 rowParts[WARPS][ROWS]; // sum and sum of squares
    const int warp = threadIdx.x / 32;
    const int g = threadIdx.x % 32 / 4;
    const int t = threadIdx.x % 4;
    const int firstColumn = blockIdx.x * COLUMNS;
    const int firstRow = blockIdx.z * ROWS;
    auto kOf = [&](int step) { return (step * WARPS + warp) * 32 + t * 8; };

    Weights<BYTES> weights[STEPS][TILES];
    #pragma unroll
    for (int step = 0; step < STEPS; step++) {
        #pragma unroll
        for (int j = 0; j < TILES; j++) {
            const int column = firstColumn + j * 8 + g;
            weights[step][j] = kOf(step) < K && column < n ? Weights<BYTES>::load(w, (size_t)column * K + kOf(step)) : Weights<BYTES>::none();
        }
    }
    uint4 factor[BYTES && NORMED ? STEPS : 1];
    if (BYTES && NORMED) {
        #pragma unroll
        for (int step = 0; step < STEPS; step++) {
            factor[step] = kOf(step) < K ? loadWeights(factors + kOf(step)) : NOTHING;
        }
    }
    T before[OUTPUTS], biases[OUTPUTS];
    float scale[OUTPUTS], columnSum[OUTPUTS];
    T* to[OUTPUTS]; // null beyond the edges
    #pragma unroll
    for (int o = 0; o < OUTPUTS; o++) {
        const int at = o * 256 + threadIdx.x;
        const int row = firstRow + at / COLUMNS;
        const int column = firstColumn + at % COLUMNS;
        const bool there = at < ROWS * COLUMNS && row < rows && column < n;
        to[o] = there ? out + (size_t)row * n + column : nullptr;
        before[o] = 0;
        biases[o] = there ? bias[column] : 0;
        scale[o] = BYTES && there ? scales[column] : 1;
        columnSum[o] = NORMED && there ? sums[column] : 0;
    }
    releaseNext(); // not sooner: the next kernel's blocks would take memory's time from these; and not later
    awaitPrevious();

    uint4 a[STEPS][2]; // of rows g and g + 8
    #pragma unroll
    for (int step = 0; step < STEPS; step++) {
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = firstRow + half * 8 + g;
            a[step][half] = row < rows && kOf(step) < K ? loadFresh(x + (size_t)row * K + kOf(step)) : NOTHING;
        }
    }
    if (EPILOGUE == RESIDUAL) {
        #pragma unroll
        for (int o = 0; o < OUTPUTS; o++) {
            before[o] = to[o] ? loadOneFresh(to[o]) : 0;
        }
    }
    float c[TILES][4] = {};
    float sum[4] = {}, upper[4] = {}, lower[4] = {};
    #pragma unroll
    for (int step = 0; step < STEPS; step++) {
        if (NORMED) { // rows times ones, and rows times rows, of which the squares are wanted
            mma(sum, a[step][0], a[step][1], make_uint4(ONES, ONES, ONES, ONES));
            mma(upper, a[step][0], a[step][1], a[step][0]);
            mma(lower, a[step][0], a[step][1], a[step][1]);
        }
        if (BYTES && NORMED) {
            a[step][0] = times(a[step][0], factor[step]);
            a[step][1] = times(a[step][1], factor[step]);
        }
        #pragma unroll
        for (int j = 0; j < TILES; j++) {
            mma(c[j], a[step][0], a[step][1], weights[step][j].elements());
        }
    }
    #pragma unroll
    for (int j = 0; j < TILES; j++) {
        float* part = &parts[warp][g * COLUMNS + j * 8 + 2 * t];
        *(float2*)part = make_float2(c[j][0], c[j][1]);
        *(float2*)(part + 8 * COLUMNS) = make_float2(c[j][2], c[j][3]);
    }
    if (NORMED && t == g / 2) { // has the squares of rows g and g + 8
        rowParts[warp][g] = make_float2(sum[0], g % 2 ? upper[1] : upper[0]);
        rowParts[warp][g + 8] = make_float2(sum[2], g % 2 ? lower[3] : lower[2]);
    }
    __syncthreads();
    #pragma unroll
    for (int o = 0; o < OUTPUTS; o++) {
        if (to[o]) {
            const int at = o * 256 + threadIdx.x;
            float total = 0, rowSum = 0, rowSquares = 0;
            #pragma unroll
            for (int part = 0; part < WARPS; part++) {
                total += parts[part][at];
                if (NORMED) {
                    rowSum += rowParts[part][at / COLUMNS].x;
                    rowSquares += rowParts[part][at / COLUMNS].y;
                }
            }
            total *= scale[o];
            if (NORMED) {
                const Norm norm = normOf<K>(rowSum, rowSquares);
                total = (total - norm.mean * columnSum[o]) * norm.inverse;
            }
            total += widen(biases[o]);
            *to[o] = narrow(EPILOGUE == ACTIVATED ? activation(total) : EPILOGUE == RESIDUAL ? widen(before[o]) + total : total);
        }
    }
}

#define THIN(name, K, N, TILES, EPILOGUE, NORMED, BYTES)                                                                              \
    extern "C" __global__ void __launch_bounds__(256, 2) name(const T* __restrict__ x, const void* __restrict__ w,                    \
            const float* __restrict__ scales, const T* __restrict__ factors, const float* __restrict__ sums,                          \
            const T* __restrict__ bias, T* out, int rows) {                                                                           \
        thin<K, TILES, EPILOGUE, NORMED, BYTES>(x, w, scales, factors, sums, bias, out, rows, N);                                     \
    }

THIN_KERNELS

/* A warp has a row [C]: each thread PARTS times 8 neighbours, the p-th from OWN_K(p) on if that is in the row. */
#define PARTS ((C / 8 + 31) / 32)
#define OWN_K(p) (((p) * 32 + threadIdx.x % 32) * 8)

static __device__ __forceinline__ void loadRow(const T* row, uint4 (&own)[PARTS]) {
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        own[p] = OWN_K(p) < C ? loadFresh(row + OWN_K(p)) : NOTHING;
    }
}

/* to [C] = norm(row), from the parts that the threads have; weight(p) and bias(p) are those of the p-th. */
template <typename Weight, typename Bias>
static __device__ __forceinline__ void normRow(const uint4 (&own)[PARTS], Weight weight, Bias bias, T* to) {
    float mean = 0, square = 0;
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        float v[8];
        expand(own[p], v);
        #pragma unroll
        for (int i = 0; i < 8; i++) {
            mean += v[i];
        }
    }
    mean = warpSum(mean) / C;
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        float v[8];
        expand(own[p], v);
        #pragma unroll
        for (int i = 0; i < 8; i++) {
            square += OWN_K(p) < C ? (v[i] - mean) * (v[i] - mean) : 0;
        }
    }
    const float inverse = rsqrtf(warpSum(square) / C + __int_as_float(EPSILON_BITS));
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        if (OWN_K(p) < C) {
            float v[8], factor[8], offset[8];
            expand(own[p], v);
            expand(weight(p), factor);
            expand(bias(p), offset);
            #pragma unroll
            for (int i = 0; i < 8; i++) {
                v[i] = (v[i] - mean) * inverse * factor[i] + offset[i];
            }
            *(uint4*)(to + OWN_K(p)) = pack(v);
        }
    }
}

/*
 * logits [M, VP] = norm(x) w^T, M <= 16. As many blocks as run at once, 256 threads, 32 (C + 32) bytes of shared memory: each norms the rows
 * into it, then its warps take 8 columns each in turn. Traffic: VP C elements of weights.
 */
static constexpr int largestDivisor(int of, int most) {
    return of % most == 0 ? most : largestDivisor(of, most - 1);
}

#define HEAD_STRIDE (C + (C % 64 == 32 ? 0 : 32)) /* rows of one bank pattern apart */
extern "C" __global__ void __launch_bounds__(256, 2) thin_head(const T* __restrict__ x, const T* __restrict__ normWeight,
        const T* __restrict__ normBias, const void* __restrict__ w, const float* __restrict__ scales, T* __restrict__ logits, int rows) {
    constexpr int STEPS = C / 32;
    constexpr int HELD = largestDivisor(STEPS, 12); // steps in flight
    extern __shared__ __align__(16) T normed[]; // [16, HEAD_STRIDE]
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int g = lane / 4;
    const int t = lane % 4;
    int first = (blockIdx.x * 8 + warp) * 8;
    size_t next = (size_t)(first + g) * C + t * 8;
    Weights<INT8> weights[HELD];
    #pragma unroll
    for (int s = 0; s < HELD; s++) {
        weights[s] = first < VP ? Weights<INT8>::load(w, next + s * 32) : Weights<INT8>::none();
    }
    releaseNext();
    awaitPrevious();
    for (int row = warp; row < 16; row += 8) {
        T* to = normed + row * HEAD_STRIDE;
        if (row >= rows) {
            for (int k = lane * 8; k < C; k += 256) {
                *(uint4*)(to + k) = NOTHING;
            }
            continue;
        }
        uint4 own[PARTS];
        loadRow(x + (size_t)row * C, own);
        normRow(own, [&](int p) { return *(const uint4*)(normWeight + OWN_K(p)); },
                [&](int p) { return *(const uint4*)(normBias + OWN_K(p)); }, to);
    }
    __syncthreads();
    while (first < VP) {
        const int following = first + gridDim.x * 64;
        float c[4] = {};
        for (int begin = 0; begin < STEPS; begin += HELD) {
            const bool last = begin + HELD == STEPS;
            next = (size_t)((last ? following : first) + g) * C + t * 8 + (last ? 0 : (begin + HELD) * 32);
            #pragma unroll
            for (int s = 0; s < HELD; s++) {
                const T* at = normed + g * HEAD_STRIDE + (begin + s) * 32 + t * 8;
                mma(c, *(const uint4*)at, *(const uint4*)(at + 8 * HEAD_STRIDE), weights[s].elements());
                if (!last || following < VP) {
                    weights[s] = Weights<INT8>::load(w, next + s * 32);
                }
            }
        }
        const float even = INT8 ? scales[first + 2 * t] : 1;
        const float odd = INT8 ? scales[first + 2 * t + 1] : 1;
        T* to = logits + (size_t)g * VP + first + 2 * t;
        if (g < rows) {
            *(unsigned*)to = (unsigned)narrow(c[0] * even) | (unsigned)narrow(c[1] * odd) << 16;
        }
        if (g + 8 < rows) {
            *(unsigned*)(to + 8 * (size_t)VP) = (unsigned)narrow(c[2] * even) | (unsigned)narrow(c[3] * odd) << 16;
        }
        first = following;
    }
}

/*
 * out [M, C] = norm(x [M, C]), after x += added [C] if that is not null. A warp a row; a block of up to 8 warps. Traffic: 2 C elements a
 * row, 3 C with `added`.
 */
extern "C" __global__ void __launch_bounds__(256) layer_norm(T* x, const T* __restrict__ added, const T* __restrict__ weight,
        const T* __restrict__ bias, T* __restrict__ out, int rows) {
    const int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    uint4 own[PARTS], factors[PARTS], offsets[PARTS];
    #pragma unroll
    for (int p = 0; p < PARTS; p++) {
        factors[p] = OWN_K(p) < C ? loadWeights(weight + OWN_K(p)) : NOTHING;
        offsets[p] = OWN_K(p) < C ? loadWeights(bias + OWN_K(p)) : NOTHING;
    }
    releaseNext();
    awaitPrevious();
    if (row >= rows) {
        return;
    }
    x += (size_t)row * C;
    loadRow(x, own);
    if (added) {
        #pragma unroll
        for (int p = 0; p < PARTS; p++) {
            if (OWN_K(p) < C) {
                float v[8], more[8];
                expand(own[p], v);
                load(added + OWN_K(p), more);
                #pragma unroll
                for (int i = 0; i < 8; i++) {
                    v[i] += more[i];
                }
                own[p] = pack(v);
                *(uint4*)(x + OWN_K(p)) = own[p];
            }
        }
    }
    normRow(own, [&](int p) { return factors[p]; }, [&](int p) { return offsets[p]; }, out + (size_t)row * C);
}
