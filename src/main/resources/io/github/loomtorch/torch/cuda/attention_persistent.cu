/*
 * Decode attention over the paged KV cache for many rows (compute capability 9.0 on): a persistent kernel that follows
 * a plan, with TMA pipeline and split-KV.
 *
 *   LT_HIDDEN, LT_HEAD_SIZE, LT_PAGE_SIZE  of the model and the cache
 *   LT_PERSISTENT_HEADS                    heads of a block, which divide the model's
 *   LT_PERSISTENT_STAGES                   stages of the pipeline
 *   LT_PERSISTENT_TOKENS                   tokens of a stage, a power of two of at most a page
 *   LT_PLAN_ITEM, LT_PLAN_STATE            ints of a plan item, floats of a partial state: see AttentionPlan.java
 *
 * The plan, [items, PLAN_ITEM] int, is in memory just before the first row. An item is the tokens of a row, or a part
 * of them; the row's own token belongs to none. The work is divided into units: BLOCK_HEADS heads of an item. Blocks
 * take units in snake order, as items get shorter. A block reads its heads of a token at once, as they lie in memory,
 * by TMA through a pipeline that runs on from unit to unit. Each warp has a head; one more warp is the producer, which
 * does not wait for the previous kernel. Keys and values leave the L2 cache first, so that weights and activations
 * stay.
 *
 * For a row in several items, the last warp to finish a head merges the states that all left in `partial`, [items,
 * HEADS, PLAN_STATE] float: acc, m, l. `done` [items, HEADS] counts them; it is zero before and after.
 */
#include "attention.cuh"
#include "pipeline.cuh"
#if !defined(LT_PERSISTENT_HEADS) || !defined(LT_PERSISTENT_STAGES) || !defined(LT_PERSISTENT_TOKENS) || \
        !defined(LT_PLAN_ITEM) || !defined(LT_PLAN_STATE)
#error "attention_persistent.cu needs -DLT_PERSISTENT_* and -DLT_PLAN_*: see KernelFile.java"
#endif
#if __CUDA_ARCH__ < 900
#error "attention_persistent.cu needs compute capability 9.0, for mbarrier and TMA"
#endif
constexpr int BLOCK_HEADS = LT_PERSISTENT_HEADS;
constexpr int STAGES = LT_PERSISTENT_STAGES;
constexpr int TOKENS = LT_PERSISTENT_TOKENS;
constexpr int STATE = LT_PLAN_STATE;
constexpr int UNITS_PER_ITEM = HEADS / BLOCK_HEADS;
constexpr int WIDTH = BLOCK_HEADS * HEAD_SIZE; // elements of a token that the block reads
constexpr int TOKENS_PER_GROUP = (TOKENS + GROUPS_PER_WARP - 1) / GROUPS_PER_WARP;
static_assert(HEADS % BLOCK_HEADS == 0, "all units have the same heads");
static_assert(PAGE_SIZE % TOKENS == 0, "a stage is within a page");
static_assert(
        LT_PLAN_ITEM == 4 && STATE == HEAD_SIZE + 4, "an item is an int4, a state is acc and a float4 with m and l");

/* An item of the plan, and which heads of it. */
struct Unit {
    int item;
    int line;        // of the item's row; -1 if there is no such item
    int part, parts; // of the row's items, which are neighbours
    int begin, end;  // tokens
    int firstHead;

    /* The n-th of this block, among those of `items`. */
    __device__ __forceinline__ Unit(const int* input, int n, int items) {
        const int unit = n * gridDim.x + (n % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x);
        item = unit / UNITS_PER_ITEM;
        firstHead = unit % UNITS_PER_ITEM * BLOCK_HEADS;
        const int4 raw = item < items ? ((const int4*)input)[item - items] : make_int4(-1, 0, 0, 0);
        line = raw.x;
        part = raw.y & 0xffff;
        parts = raw.y >> 16;
        begin = raw.z;
        end = raw.w;
    }
};

/* Keys and values of a stage, [TOKENS, WIDTH] each. */
__device__ __forceinline__ Element* stageOf(Element* stages, int i) {
    return stages + (size_t)(i % STAGES) * 2 * TOKENS * WIDTH;
}

/* The producer warp copies the keys and values of all units to the pipeline. */
__device__ __forceinline__ void produce(Unit next, const int* input, const Element* keys, const Element* values,
        int items, Pipeline<STAGES>& pipeline, Element* stages) {
    const int lane = threadIdx.x % WARP;
    const u64 policy = evictFirst();
    int stage = 0;
    #pragma unroll 1
    for (int i = 1; next.line >= 0; i++) {
        const Unit unit = next;
        next = Unit(input, i, items);
        const int* pages = input + (size_t)unit.line * ROW_SIZE + ROW_PAGES;
        #pragma unroll 1
        for (int begin = unit.begin; begin < unit.end; begin += TOKENS, stage++) {
            const int count = min(TOKENS, unit.end - begin);
            Element* to = stageOf(stages, stage);
            u64* barrier = pipeline.barrier(stage);
            pipeline.acquire(stage);
            if (lane == 0) {
                expectBytes(barrier, count * 2 * WIDTH * (int)sizeof(Element));
            }
            __syncwarp();
            const size_t at = cacheOffset(pages, begin, unit.firstHead * HEAD_SIZE);
            if (WIDTH == HIDDEN) { // the tokens are contiguous
                if (lane < 2) {
                    bulkCopy(to + lane * TOKENS * WIDTH, (lane == 0 ? keys : values) + at,
                            count * WIDTH * (int)sizeof(Element), barrier, policy);
                }
            } else {
                for (int j = lane; j < 2 * count; j += WARP) {
                    bulkCopy(to + (j % 2 * TOKENS + j / 2) * WIDTH,
                            (j % 2 == 0 ? keys : values) + at + (size_t)(j / 2) * HIDDEN, WIDTH * (int)sizeof(Element),
                            barrier, policy);
                }
            }
        }
    }
    releaseNext();
}

/* Adds a stage's tokens, `count`, to the state of a head; each group takes every GROUPS_PER_WARP-th. */
__device__ __forceinline__ void attendStage(const Element* stage, int i, int count, int group, const float (&q)[VEC],
        Pipeline<STAGES>& pipeline, SoftmaxState<VEC>& state) {
    float s[TOKENS_PER_GROUP];
    uint4 v[TOKENS_PER_GROUP];
    float max = state.m;
    #pragma unroll
    for (int u = 0; u < TOKENS_PER_GROUP; u++) {
        const int j = u * GROUPS_PER_WARP + group;
        float k[VEC];
        load(stage + min(j, TOKENS - 1) * WIDTH, k);
        v[u] = *(const uint4*)(stage + (TOKENS + min(j, TOKENS - 1)) * WIDTH);
        s[u] = score(q, k, FULL_WARP);
        s[u] = j < count ? s[u] : -INF;
        max = fmaxf(max, s[u]);
    }
    pipeline.release(i);                                        // all is in registers
    state.rescale(max, max == -INF ? 0 : exp2f(state.m - max)); // a group may have no tokens so far
    #pragma unroll
    for (int u = 0; u < TOKENS_PER_GROUP; u++) {
        if (u * GROUPS_PER_WARP + group < count) {
            float value[VEC];
            unpack(v[u], value);
            state.add(s[u], value);
        }
    }
}

/*
 * Leaves the warp's state of an item's head among those of the row, for which `states` and `done` are those of the
 * first item. Returns whether it was the last of the row's items; then the state is that of all.
 */
__device__ __forceinline__ bool mergeItems(
        const Unit& unit, float* states, int* done, int group, int lane, SoftmaxState<VEC>& state) {
    float* own = states + (size_t)unit.part * HEADS * STATE;
    if (group == 0) {
        #pragma unroll
        for (int j = 0; j < VEC; j += 4) {
            __stcg((float4*)(own + lane * VEC + j),
                    make_float4(state.acc[j], state.acc[j + 1], state.acc[j + 2], state.acc[j + 3]));
        }
        if (lane == 0) {
            __stcg((float4*)(own + HEAD_SIZE), make_float4(state.m, state.l, 0, 0));
        }
    }
    __syncwarp();
    __threadfence();
    const int finished = __shfl_sync(FULL_WARP, lane == 0 ? atomicAdd(done, 1) : 0, 0);
    if (finished < unit.parts - 1) {
        return false;
    }
    __threadfence();
    __syncwarp();
    if (lane == 0) {
        *done = 0;
    }
    state.clear();
    #pragma unroll 4
    for (int part = 0; part < unit.parts; part++) {
        const float* from = states + (size_t)part * HEADS * STATE;
        const float4 ml = __ldcg((const float4*)(from + HEAD_SIZE));
        float acc[VEC];
        #pragma unroll
        for (int j = 0; j < VEC; j += 4) {
            const float4 four = __ldcg((const float4*)(from + lane % LANES * VEC + j));
            acc[j] = four.x;
            acc[j + 1] = four.y;
            acc[j + 2] = four.z;
            acc[j + 3] = four.w;
        }
        state.merge(ml.x, ml.y, [&](int j) { return acc[j]; });
    }
    return true;
}

/* A consumer warp computes one head of each unit. */
__device__ __forceinline__ void consume(Unit next, const int* input, const Element* qkv, Element* keys, Element* values,
        float scale, Element* out, float* partial, int* done, int items, Pipeline<STAGES>& pipeline, Element* stages) {
    const int head = threadIdx.x / WARP; // of the unit's
    const int lane = threadIdx.x % WARP;
    const int group = lane / LANES;
    const int column = head * HEAD_SIZE + lane % LANES * VEC; // of the unit's
    int stage = 0;
    #pragma unroll 1
    for (int i = 1; next.line >= 0; i++) {
        const Unit unit = next;
        next = Unit(input, i, items);
        if (i == 1 && next.line < 0) { // the only unit: the next kernel can ask for its weights meanwhile
            releaseNext();
        }
        const int* row = input + (size_t)unit.line * ROW_SIZE;
        const int n = row[ROW_LENGTH];
        const int rowColumn = unit.firstHead * HEAD_SIZE + column;
        const Element* query = qkv + (size_t)unit.line * 3 * HIDDEN + rowColumn;
        float q[VEC];
        unpack(loadFresh(query), q);
        #pragma unroll
        for (int j = 0; j < VEC; j++) {
            q[j] *= scale * LOG2_E;
        }
        SoftmaxState<VEC> state;
        state.clear();
        if (n > 0 && unit.part == 0) {
            attendOwnToken(q, query, keys, values, cacheOffset(row + ROW_PAGES, n - 1, rowColumn), group == 0,
                    FULL_WARP, state);
        }
        #pragma unroll 1
        for (int begin = unit.begin; begin < unit.end; begin += TOKENS, stage++) {
            pipeline.wait(stage);
            __syncwarp();
            attendStage(
                    stageOf(stages, stage) + column, stage, min(TOKENS, unit.end - begin), group, q, pipeline, state);
        }
        __syncwarp();
        state.mergeAcrossWarp(LANES);
        if (unit.parts > 1) {
            const size_t first = (size_t)(unit.item - unit.part) * HEADS + unit.firstHead + head;
            if (!mergeItems(unit, partial + first * STATE, done + first, group, lane, state)) {
                continue;
            }
        }
        if (group == 0) {
            const float inverse = n == 0 ? 0 : 1 / state.l;
            Element* to = out + (size_t)unit.line * HIDDEN + rowColumn;
            #pragma unroll
            for (int j = 0; j < VEC; j++) {
                to[j] = narrow(state.acc[j] * inverse);
            }
        }
    }
}

/*
 * out [B, C] = softmax(q K^T scale) V for the decode rows of a step, and their new keys and values written to the
 * cache.
 *
 * Grid: best as many blocks as run at once; 32 (BLOCK_HEADS + 1) threads; STAGES 2 TOKENS WIDTH elements of dynamic
 * shared memory. Traffic: 2 (n - 1) C + 6 C elements for a sequence of n tokens.
 */
extern "C" __global__ void __launch_bounds__(WARP*(BLOCK_HEADS + 1)) paged_attention_persistent(
        const int* __restrict__ input, const Element* __restrict__ qkv, Element* __restrict__ keys,
        Element* __restrict__ values, float scale, Element* __restrict__ out, float* partial, int* done, int items) {
    extern __shared__ __align__(128) Element stages[]; // [STAGES, 2, TOKENS, WIDTH]
    __shared__ Pipeline<STAGES> pipeline;
    if (threadIdx.x == 0) {
        pipeline.init(WARP * BLOCK_HEADS);
        publishBarriers();
    }
    __syncthreads();
    const Unit first(input, 0, items);
    if (threadIdx.x / WARP == BLOCK_HEADS) {
        produce(first, input, keys, values, items, pipeline, stages);
        return;
    }
    awaitPrevious();
    consume(first, input, qkv, keys, values, scale, out, partial, done, items, pipeline, stages);
}
