/*
 * Attention of chunked prefill over the paged KV cache on tensor cores, for 16-bit elements and heads of 64 (compute
 * capability 8.0 on).
 *
 *   LT_HIDDEN, LT_HEAD_SIZE, LT_PAGE_SIZE  of the model and the cache
 *   LT_PREFILL_QUERIES                     rows of a tile: consecutive rows of the step
 *   LT_PREFILL_WARPS                       warps of a block
 *   LT_PAGED_THREADS, LT_PAGED_UNROLL      of the decode rows of the step
 */
#include "attention_paged.cuh"
#include "mma.cuh"
#if !defined(LT_PREFILL_QUERIES) || !defined(LT_PREFILL_WARPS)
#error "attention_prefill.cu needs -DLT_PREFILL_QUERIES and -DLT_PREFILL_WARPS: see KernelFile.java"
#endif
constexpr int QUERIES = LT_PREFILL_QUERIES;
constexpr int WARPS = LT_PREFILL_WARPS;
constexpr int KEYS = 32; // that a warp has at once
static_assert(HEAD_SIZE == 64 && QUERIES == 16, "mma.m16n8k16 has 16 queries; the layout below is that of heads of 64");
static_assert(WARP * WARPS <= PAGED_THREADS, "decode rows run in blocks of the same size");

/*
 * One sequence's queries in a tile, for one head. Memory is read 16 bytes a thread, straight into the operands of
 * mma(): the order of the head's columns in q k, and of the output's columns, is free. So the four threads of a column
 * take 32 columns of the head for two products, 8 each, and thread g takes columns 8g to 8g + 7 of the 64 for eight
 * products.
 */
struct PrefillTile {
    const int* pages;
    const Element* qkv; // of the first query, this head
    Element* keys;
    Element* values;
    int queries;
    int first;  // position of the first query
    int stored; // tokens in the cache
    int column; // of the head

    /* Tokens that the last query attends to. */
    __device__ __forceinline__ int tokens() const {
        return first + queries;
    }

    __device__ __forceinline__ const Element* keyOf(int j) const {
        return j < stored ? keys + cacheOffset(pages, j, column) : qkv + (j - first) * 3 * HIDDEN + HIDDEN;
    }

    __device__ __forceinline__ const Element* valueOf(int j) const {
        return j < stored ? values + cacheOffset(pages, j, column) : qkv + (j - first) * 3 * HIDDEN + 2 * HIDDEN;
    }
};

/*
 * A thread's part of a warp's state: of queries g and g + 8, acc[i] columns 8 (2t) + i and 8 (2t + 1) + i, with partial
 * sums l.
 */
struct WarpState {
    float m[2], l[2], acc[8][4];
};

/* KEYS tokens' keys and values from `begin` on, as operands; after the last token, that again. */
struct KeyValueOperands {
    uint4 k[KEYS / 8][2], v[KEYS / 16][4];

    __device__ __forceinline__ void load(const PrefillTile& tile, int begin, int g, int t) {
        const int last = tile.tokens() - 1;
        #pragma unroll
        for (int i = 0; i < KEYS / 8; i++) {
            const Element* from = tile.keyOf(min(begin + 8 * i + g, last)) + 8 * t;
            k[i][0] = loadFresh(from);
            k[i][1] = loadFresh(from + 32);
        }
        #pragma unroll
        for (int i = 0; i < KEYS / 16; i++) {
            #pragma unroll
            for (int j = 0; j < 4; j++) {
                v[i][j] = loadFresh(tile.valueOf(min(begin + 16 * i + 2 * t + j % 2 + j / 2 * 8, last)) + 8 * g);
            }
        }
    }
};

/*
 * s = q k scale of 8 keys each, this thread's 2t and 2t + 1, masked; max becomes the largest of each query, with what
 * it was.
 */
__device__ __forceinline__ void scores(const PrefillTile& tile, const uint4 (&q)[2][2], const KeyValueOperands& kv,
        int begin, int g, int t, float scale, float (&s)[KEYS / 8][4], float (&max)[2]) {
    #pragma unroll
    for (int i = 0; i < KEYS / 8; i++) {
        #pragma unroll
        for (int d = 0; d < 2; d++) {
            mma32(s[i], q[0][d], q[1][d], kv.k[i][d]);
        }
        #pragma unroll
        for (int j = 0; j < 4; j++) {
            const bool seen = begin + 8 * i + 2 * t + j % 2 <= tile.first + g + j / 2 * 8;
            s[i][j] = seen ? s[i][j] * scale : -INF;
            max[j / 2] = fmaxf(max[j / 2], s[i][j]);
        }
    }
}

/*
 * Brings the state to the new maxima, which it shares with the warp, and turns the scores into weights exp2(s - m),
 * which it sums.
 */
__device__ __forceinline__ void weigh(float (&s)[KEYS / 8][4], float (&max)[2], WarpState& state) {
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        max[half] = fmaxf(max[half], __shfl_xor_sync(FULL_WARP, max[half], 1));
        max[half] = fmaxf(max[half], __shfl_xor_sync(FULL_WARP, max[half], 2));
        const bool empty = max[half] == -INF; // this query attends to none of the warp's keys so far
        const float factor = empty ? 1 : exp2f(state.m[half] - max[half]);
        state.m[half] = max[half];
        state.l[half] *= factor;
        #pragma unroll
        for (int i = 0; i < 8; i++) {
            state.acc[i][2 * half] *= factor;
            state.acc[i][2 * half + 1] *= factor;
        }
        #pragma unroll
        for (int i = 0; i < KEYS / 8; i++) {
            #pragma unroll
            for (int j = 2 * half; j < 2 * half + 2; j++) {
                s[i][j] = empty ? 0 : exp2f(s[i][j] - max[half]);
                state.l[half] += s[i][j];
            }
        }
    }
}

/* acc += weights v. */
__device__ __forceinline__ void multiplyValues(
        const float (&s)[KEYS / 8][4], const KeyValueOperands& kv, WarpState& state) {
    #pragma unroll
    for (int i = 0; i < KEYS / 16; i++) {
        const unsigned p[4] = {pack2(s[2 * i][0], s[2 * i][1]), pack2(s[2 * i][2], s[2 * i][3]),
                pack2(s[2 * i + 1][0], s[2 * i + 1][1]), pack2(s[2 * i + 1][2], s[2 * i + 1][3])};
        #pragma unroll
        for (int c = 0; c < 8; c++) { // a column of two keys' values is one register
            unsigned pairs[2];
            #pragma unroll
            for (int half = 0; half < 2; half++) {
                const uint4 a = kv.v[i][2 * half], b = kv.v[i][2 * half + 1];
                const unsigned low = c < 2 ? a.x : c < 4 ? a.y : c < 6 ? a.z : a.w;
                const unsigned high = c < 2 ? b.x : c < 4 ? b.y : c < 6 ? b.z : b.w;
                pairs[half] = __byte_perm(low, high, c % 2 == 0 ? 0x5410 : 0x7632);
            }
            mma(state.acc[c], p[0], p[1], p[2], p[3], pairs[0], pairs[1]);
        }
    }
}

constexpr int STATE = HEAD_SIZE + 2; // acc, m, l

__device__ __forceinline__ void storeState(WarpState& state, int g, int t, float (*states)[STATE]) {
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        state.l[half] += __shfl_xor_sync(FULL_WARP, state.l[half], 1);
        state.l[half] += __shfl_xor_sync(FULL_WARP, state.l[half], 2);
        float* to = states[g + 8 * half];
        #pragma unroll
        for (int c = 0; c < 8; c++) {
            to[16 * t + c] = state.acc[c][2 * half];
            to[16 * t + 8 + c] = state.acc[c][2 * half + 1];
        }
        if (t == 0) {
            to[HEAD_SIZE] = state.m[half];
            to[HEAD_SIZE + 1] = state.l[half];
        }
    }
}

/*
 * The `queries` rows from `line` on, new tokens of one sequence: a warp takes every WARPS-th KEYS keys, then the warps
 * are merged.
 */
__device__ __forceinline__ void attendTile(int line, int queries, const int* __restrict__ input,
        const Element* __restrict__ qkv, Element* __restrict__ keys, Element* __restrict__ values, float scale,
        Element* __restrict__ out) {
    __shared__ float states[WARPS][QUERIES][STATE];
    const int* row = input + (size_t)line * ROW_SIZE;
    const int column = blockIdx.x * HEAD_SIZE;
    const PrefillTile tile = {row + (queries - 1) * ROW_SIZE + ROW_PAGES, qkv + (size_t)line * 3 * HIDDEN + column,
            keys, values, queries, row[ROW_LENGTH] - 1, row[ROW_FIRST], column};
    const int warp = threadIdx.x / WARP;
    const int g = threadIdx.x % WARP / 4;
    const int t = threadIdx.x % 4;

    uint4 q[2][2]; // of queries g and g + 8; those that do not exist are the last one
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 2; i++) {
            q[half][i] = loadFresh(tile.qkv + min(g + 8 * half, queries - 1) * 3 * HIDDEN + 32 * i + 8 * t);
        }
    }
    WarpState state = {{-INF, -INF}, {}, {}};
    #pragma unroll 1
    for (int begin = warp * KEYS; begin < tile.tokens(); begin += WARPS * KEYS) {
        KeyValueOperands kv;
        kv.load(tile, begin, g, t);
        float s[KEYS / 8][4] = {};
        float max[2] = {state.m[0], state.m[1]};
        scores(tile, q, kv, begin, g, t, scale * LOG2_E, s, max);
        weigh(s, max, state);
        multiplyValues(s, kv, state);
    }
    storeState(state, g, t, states[warp]);
    __syncthreads();
    for (int i = threadIdx.x; i < queries * HEAD_SIZE / VEC; i += blockDim.x) {
        const int query = i / (HEAD_SIZE / VEC);
        const int c = i % (HEAD_SIZE / VEC) * VEC;
        SoftmaxState<VEC> merged = mergeStates<HEAD_SIZE, QUERIES * STATE, VEC>(states[0][query], WARPS, c);
        const float inverse = 1 / merged.l;
        #pragma unroll
        for (int j = 0; j < VEC; j++) {
            merged.acc[j] *= inverse;
        }
        *(uint4*)(out + (size_t)(line + query) * HIDDEN + column + c) = pack(merged.acc);
        const size_t at = cacheOffset(tile.pages, tile.first + query, column) + c;
        const Element* own = tile.qkv + query * 3 * HIDDEN + c;
        *(uint4*)(keys + at) = loadFresh(own + HIDDEN);
        *(uint4*)(values + at) = loadFresh(own + 2 * HIDDEN);
    }
    __syncthreads(); // the next sequence's states go to the same memory
}

/*
 * A block handles a tile of QUERIES rows for one head, sequence by sequence, and reads each sequence's keys and values
 * once for all its rows in the tile. Decode rows, whose sequence has no other row, have blocks of their own
 * (attendRow), or none: then another kernel computes them.
 *
 * Grid (HEADS, B / QUERIES rounded up), plus B in y for the decode rows; 32 WARPS threads.
 * Traffic: 2 n C elements of keys and values for each QUERIES rows of a sequence of n tokens, and 6 C elements a row.
 */
extern "C" __global__ void __launch_bounds__(WARP* WARPS) paged_attention_prefill(const int* __restrict__ input,
        const Element* __restrict__ qkv, Element* __restrict__ keys, Element* __restrict__ values, float scale,
        Element* __restrict__ out, int rows) {
    const int tiles = (rows + QUERIES - 1) / QUERIES;
    const int decode = (int)blockIdx.y - tiles;
    if (decode >= 0) {
        if (input[(size_t)decode * ROW_SIZE + ROW_CHUNK_TOKENS] <= 1) {
            attendRow<1>(decode, input, qkv, keys, values, scale, out);
        }
        return;
    }
    releaseNext();
    awaitPrevious();
    const int first = blockIdx.y * QUERIES;
    const int lane = threadIdx.x % WARP;
    unsigned prefill = __ballot_sync(FULL_WARP, // by row of the tile
            lane < QUERIES && first + lane < rows && input[(size_t)(first + lane) * ROW_SIZE + ROW_CHUNK_TOKENS] > 1);
    while (prefill != 0) {
        const int line = first + __ffs(prefill) - 1;
        const int* row = input + (size_t)line * ROW_SIZE;
        const int left = row[ROW_CHUNK_TOKENS] - (row[ROW_LENGTH] - 1 - row[ROW_FIRST]); // of the sequence's new tokens
        const int queries = min(left, first + QUERIES - line);
        attendTile(line, queries, input, qkv, keys, values, scale, out);
        prefill &= 0xffffffffu << (line - first + queries);
    }
}
