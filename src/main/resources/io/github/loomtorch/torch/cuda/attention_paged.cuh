/*
 * Attention of single rows over the paged KV cache, for attention_paged.cu and attention_prefill.cu.
 *
 *   LT_PAGED_THREADS  most threads of a block, a multiple of 32
 *   LT_PAGED_UNROLL   keys that a group of LANES threads has in flight
 */
#pragma once
#include "attention.cuh"
#include "pipeline.cuh"
#if !defined(LT_PAGED_THREADS) || !defined(LT_PAGED_UNROLL)
#error "attention_paged.cuh needs -DLT_PAGED_THREADS and -DLT_PAGED_UNROLL: see KernelFile.java"
#endif
constexpr int PAGED_THREADS = LT_PAGED_THREADS;
constexpr int UNROLL = LT_PAGED_UNROLL;
static_assert(PAGED_THREADS % WARP == 0, "blocks are whole warps");

/* The keys and values of UNROLL tokens, 16 bytes a thread: every `groups`-th token from first + group on. */
struct KeyValueTile {
    uint4 k[UNROLL], v[UNROLL];

    /* Those of the first `stored` tokens, which are in the cache. Others become zero. */
    __device__ __forceinline__ void loadStored(int first, int group, int groups, int stored, const int* pages,
            int column, const Element* keys, const Element* values) {
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int j = first + u * groups + group;
            k[u] = v[u] = make_uint4(0, 0, 0, 0);
            if (j < stored) {
                const size_t at = cacheOffset(pages, j, column);
                k[u] = *(const uint4*)(keys + at);
                v[u] = *(const uint4*)(values + at);
            }
        }
    }

    /*
     * Those of the sequence's earlier new tokens, from `stored` to n - 2, which this launch adds to the cache: from
     * their rows of qkv, as blocks run in no order. `qkv` is this thread's part of the row's query.
     */
    __device__ __forceinline__ void loadNew(int first, int group, int groups, int stored, int n, const Element* qkv) {
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int j = first + u * groups + group;
            if (j >= stored && j < n - 1) {
                const Element* other = qkv - (size_t)(n - 1 - j) * 3 * HIDDEN;
                k[u] = loadFresh(other + HIDDEN);
                v[u] = loadFresh(other + 2 * HIDDEN);
            }
        }
    }

    /* Adds to the state those of the tokens before n - 1. All groups of a warp call this together, for the shuffles. */
    __device__ __forceinline__ void attend(
            int first, int group, int groups, int n, const float (&q)[VEC], SoftmaxState<VEC>& state) const {
        float s[UNROLL];
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float key[VEC];
            unpack(k[u], key);
            s[u] = score(q, key, FULL_WARP);
            if (first + u * groups + group >= n - 1) {
                s[u] = -INF;
            }
        }
        float max = state.m;
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            max = fmaxf(max, s[u]);
        }
        if (max == -INF) {
            return; // a group without tokens so far
        }
        state.rescale(max, exp2f(state.m - max));
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float value[VEC];
            unpack(v[u], value);
            state.add(s[u], value);
        }
    }
};

/* Where the blocks of a cluster leave their states for the first one: acc, then m and l. `landed` counts the bytes. */
template <int SPLIT>
struct SplitStates {
    float4 states[SPLIT][HEAD_SIZE / 4 + 1];
    u64 landed;

#if __CUDA_ARCH__ >= 900
    /* For the states of `parts` blocks; by all threads. */
    __device__ __forceinline__ void init(int parts) {
        if (threadIdx.x == 0) {
            initBarrier(&landed, 1);
            publishBarriers();
            expectBytes(&landed, (parts - 1) * (HEAD_SIZE / 4 + 1) * 16);
        }
        __syncwarp();
        arriveAtCluster();
    }

    /* Four columns of a block's state to the first block. */
    __device__ __forceinline__ void push(int part, int four, const SoftmaxState<4>& state) {
        const unsigned barrier = remoteAddress(&landed, 0);
        pushRemote(
                remoteAddress(&states[part][four], 0), state.acc[0], state.acc[1], state.acc[2], state.acc[3], barrier);
        if (four == 0) {
            pushRemote(remoteAddress(&states[part][HEAD_SIZE / 4], 0), state.m, state.l, 0, 0, barrier);
        }
    }

    /* Merges into the first block's state, of four columns, those that the others pushed. */
    __device__ __forceinline__ void merge(int parts, int four, SoftmaxState<4>& state) {
        waitForCluster(&landed, 0);
        for (int other = 1; other < parts; other++) {
            const float4 ml = states[other][HEAD_SIZE / 4];
            const float4 acc = states[other][four];
            const float columns[4] = {acc.x, acc.y, acc.z, acc.w};
            state.merge(ml.x, ml.y, [&](int i) { return columns[i]; });
        }
    }
#endif
};

/*
 * out [B, C] = softmax(q K^T scale) V for row `line`, and the row's new key and value written to the cache.
 *
 * A block has one head. Groups of LANES threads take the sequence's tokens in turn, UNROLL each, every group with a
 * softmax state of its own; at the end these are merged, first within each warp, then across warps. SPLIT > 1: the
 * blocks of a cluster share a long context (split-KV), a turn of the groups each, and the first block merges their
 * states.
 *
 * Grid (HEADS, B, SPLIT); a multiple of 32 threads, at most PAGED_THREADS.
 * Traffic: 2 (n - 1) C + 6 C elements for a sequence of n tokens, and its n / PAGE_SIZE page numbers HEADS times.
 */
template <int SPLIT>
__device__ __forceinline__ void attendRow(int line, const int* __restrict__ input, const Element* __restrict__ qkv,
        Element* __restrict__ keys, Element* __restrict__ values, float scale, Element* __restrict__ out) {
    constexpr int STATE = HEAD_SIZE + 2;
    __shared__ float warpStates[PAGED_THREADS / WARP][STATE];
    __shared__ SplitStates<SPLIT> splitStates;
    const int head = blockIdx.x;
    const int* row = input + (size_t)line * ROW_SIZE;
    const int* pages = row + ROW_PAGES;
    const int n = row[ROW_LENGTH];
    const int stored = n == 0 ? 0 : row[ROW_FIRST];
    const int lane = threadIdx.x % LANES;
    const int group = threadIdx.x / LANES;
    const int groups = blockDim.x / LANES;
    const int column = head * HEAD_SIZE + lane * VEC;
    const Element* query = qkv + (size_t)line * 3 * HIDDEN + column;
    const int turn = groups * UNROLL; // tokens
    const int part = SPLIT > 1 ? blockIdx.z : 0;
    const int parts = n - 1 <= turn ? 1 : min(SPLIT, (n - 2 + turn) / turn); // blocks that have a turn
#if __CUDA_ARCH__ >= 900
    if (SPLIT > 1) {
        splitStates.init(parts);
        if (part >= parts) {
            return;
        }
    }
#endif

    KeyValueTile tile;
    tile.loadStored(part * turn, group, groups, stored, pages, column, keys, values);
    releaseNext();
    awaitPrevious();
    if (n == 0) {
        for (int d = threadIdx.x; d < HEAD_SIZE; d += blockDim.x) {
            out[(size_t)line * HIDDEN + head * HEAD_SIZE + d] = narrow(0.f);
        }
        return;
    }
    tile.loadNew(part * turn, group, groups, stored, n, query);

    float q[VEC];
    unpack(loadFresh(query), q);
    #pragma unroll
    for (int i = 0; i < VEC; i++) {
        q[i] *= scale * LOG2_E;
    }
    SoftmaxState<VEC> state;
    state.clear();
    if (part == 0 && group == 0) {
        const unsigned mask = LANES == WARP ? FULL_WARP : ((1u << LANES) - 1) << (threadIdx.x % WARP / LANES * LANES);
        attendOwnToken(q, query, keys, values, cacheOffset(pages, n - 1, column), true, mask, state);
    }
    for (int first = part * turn; first < n - 1; first += SPLIT * turn) {
        if (first > part * turn) {
            tile.loadStored(first, group, groups, stored, pages, column, keys, values);
            tile.loadNew(first, group, groups, stored, n, query);
        }
        tile.attend(first, group, groups, n, q, state);
    }
    __syncwarp();

    state.mergeAcrossWarp(LANES);
    if (threadIdx.x % WARP < LANES) {
        float* to = warpStates[threadIdx.x / WARP];
        #pragma unroll
        for (int i = 0; i < VEC; i++) {
            to[lane * VEC + i] = state.acc[i];
        }
        if (lane == 0) {
            to[HEAD_SIZE] = state.m;
            to[HEAD_SIZE + 1] = state.l;
        }
    }
    __syncthreads();
#if __CUDA_ARCH__ >= 900
    if (SPLIT > 1) {
        awaitCluster(); // the first block's barrier can be used
    }
#endif
    for (int four = threadIdx.x; four < HEAD_SIZE / 4; four += blockDim.x) { // columns
        SoftmaxState<4> merged = mergeStates<HEAD_SIZE, STATE, 4>(warpStates[0], blockDim.x / WARP, 4 * four);
#if __CUDA_ARCH__ >= 900
        if (SPLIT > 1 && part > 0) {
            splitStates.push(part, four, merged);
            continue;
        }
        if (SPLIT > 1 && parts > 1) {
            splitStates.merge(parts, four, merged);
        }
#endif
        #pragma unroll
        for (int i = 0; i < 4; i++) {
            out[(size_t)line * HIDDEN + head * HEAD_SIZE + 4 * four + i] = narrow(merged.acc[i] / merged.l);
        }
    }
}
