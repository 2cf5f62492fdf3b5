/*
 * What libtorch has no operator for: the embedding of tokens, attention of a step's rows over a paged KV cache, and the writing of a
 * prefill's keys and values to it. Compiled by NVRTC for one model; the macros below are its shape.
 *
 *   C hidden size, D head size, H = C / D heads, PAGE tokens in a page, ROW ints of one row of the step's input (see StepInput.java)
 *   THREADS, UNROLL, SPLIT_BLOCKS, HEADS, RING, PIECE, QUERIES, TILE_WARPS: see the kernels; CudaAttention.java chooses them
 *   T element type of weights, cache and activations: float, __half or __nv_bfloat16 as raw bits
 *
 * A row is one token: a sequence's newest, or one of several new ones, which then stand in neighbouring rows, CHUNK_TOKENS of them. Rows
 * of length 0 are padding: they write zeros and touch no page. No row reads a page that another sequence's row of the same step writes, so
 * what the cache holds may be read before the wait for the kernel before.
 */
#include "element.cuh"
#include "barriers.cuh"

static __device__ __forceinline__ void embedToken(int id, int place, const T* __restrict__ wte, const T* __restrict__ wpe,
        T* __restrict__ out) {
    const T* token = wte + (size_t)id * C;
    const T* position = wpe + (size_t)place * C;
    for (int c = threadIdx.x; c < C; c += blockDim.x) {
        out[c] = narrow(widen(token[c]) + widen(position[c]));
    }
}

/*
 * x [B, C] = wte[token] + wpe[position]; a token of -1 is what was sampled last for the same slot. Traffic: 3 C elements a row.
 * Grid B, any block.
 */
extern "C" __global__ void embed(const int* __restrict__ input, const int* __restrict__ sampled,
        const T* __restrict__ wte, const T* __restrict__ wpe, T* __restrict__ x) {
    releaseNext();
    awaitPrevious();
    const int* row = input + (size_t)blockIdx.x * ROW;
    const int id = row[TOKEN] >= 0 ? row[TOKEN] : max(sampled[row[SLOT]], 0); // -1 if it failed
    embedToken(id, max(row[LENGTH] - 1, 0), wte, wpe, x + (size_t)blockIdx.x * C);
}

/* x [N, C] = wte[ids] + wpe[positions]. Traffic: 3 C elements a row. Grid N, any block. */
extern "C" __global__ void embed_prompt(const int* __restrict__ ids, const int* __restrict__ positions, const T* __restrict__ wte,
        const T* __restrict__ wpe, T* __restrict__ x) {
    embedToken(ids[blockIdx.x], positions[blockIdx.x], wte, wpe, x + (size_t)blockIdx.x * C);
}

/*
 * Rows rows[i] of keys and values become those of qkv [N, 3C], but for padding, whose row is -1. Traffic: 4 C elements a row. Grid N, any
 * block.
 */
extern "C" __global__ void store(const T* __restrict__ qkv, const int* __restrict__ rows, T* __restrict__ keys, T* __restrict__ values) {
    if (rows[blockIdx.x] < 0) {
        return;
    }
    const T* from = qkv + (size_t)blockIdx.x * 3 * C;
    const size_t to = (size_t)rows[blockIdx.x] * C;
    for (int c = threadIdx.x * VEC; c < C; c += blockDim.x * VEC) {
        *(uint4*)(keys + to + c) = *(const uint4*)(from + C + c);
        *(uint4*)(values + to + c) = *(const uint4*)(from + 2 * C + c);
    }
}

/*
 * out [B, C] = softmax(q K^T scale) V over the sequence's rows of the cache [R, C], and the new key and value written to it.
 *
 * qkv [B, 3C] holds the new tokens' queries, keys and values. What the sequence's earlier new tokens add to the cache in this very launch
 * is read from their rows of qkv, as the blocks run in no order. Grid (H, B); blockDim a multiple of 32, at most THREADS. LANES threads hold one
 * row of a head, 16 bytes each, so a warp reads 32 / LANES rows at once, and each group of LANES keeps its own running maximum, sum and
 * output (online softmax [1]); the groups are merged at the end. UNROLL rows a group are in flight. SPLIT blocks, a cluster, take turns at a
 * long context: grid (H, B, SPLIT).
 * Traffic: 2 (n - 1) C + 6 C elements a sequence of n tokens, and its n / PAGE page numbers H times.
 *
 * [1] Milakov and Gimelshein, "Online normalizer calculation for softmax", https://arxiv.org/abs/1805.02867
 */
#define H (C / D)
#define LANES (D / VEC)
#define GROUPS_PER_WARP (32 / LANES)

/* q k of a head, for each of the LANES threads that hold a part of it; mask: the threads of the warp that call this. */
static __device__ __forceinline__ float score(const float (&q)[VEC], const float (&k)[VEC], unsigned mask) {
    float s = 0;
    #pragma unroll
    for (int i = 0; i < VEC; i++) {
        s += q[i] * k[i];
    }
    #pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) {
        s += __shfl_xor_sync(mask, s, step);
    }
    return s;
}

/* A group's maximum becomes `now`, and what it has is scaled to that by `shrink`, exp2(most - now). */
static __device__ __forceinline__ void raise(float now, float shrink, float& most, float& sum, float (&o)[VEC]) {
    most = now;
    sum *= shrink;
    #pragma unroll
    for (int i = 0; i < VEC; i++) {
        o[i] *= shrink;
    }
}

/* A group takes a value whose score is s, of its maximum at most. */
static __device__ __forceinline__ void accumulate(float s, uint4 value, float most, float& sum, float (&o)[VEC]) {
    const float p = exp2f(s - most);
    float v[VEC];
    expand(value, v);
    sum += p;
    #pragma unroll
    for (int i = 0; i < VEC; i++) {
        o[i] += p * v[i];
    }
}

/* A warp's groups become one: each has the maximum, the sum and the output of all. */
static __device__ __forceinline__ void mergeGroups(float& most, float& sum, float (&o)[VEC]) {
    #pragma unroll
    for (int step = LANES; step < 32; step *= 2) {
        const float otherMost = __shfl_xor_sync(0xffffffffu, most, step);
        const float otherSum = __shfl_xor_sync(0xffffffffu, sum, step);
        const float now = fmaxf(most, otherMost);
        const float mineWeight = most == -INFINITY ? 0 : exp2f(most - now);
        const float otherWeight = otherMost == -INFINITY ? 0 : exp2f(otherMost - now);
        sum = sum * mineWeight + otherSum * otherWeight;
        #pragma unroll
        for (int i = 0; i < VEC; i++) {
            o[i] = o[i] * mineWeight + __shfl_xor_sync(0xffffffffu, o[i], step) * otherWeight;
        }
        most = now;
    }
}

template <int SPLIT>
static __device__ __forceinline__ void attend(int line, const int* __restrict__ input, const T* __restrict__ qkv,
        T* __restrict__ keys, T* __restrict__ values, float scale, T* __restrict__ out) {
    __shared__ float merged[THREADS / 32][D + 2];
    __shared__ float4 landing[SPLIT][D / 4 + 1]; // of the other blocks of the cluster: output; maximum and sum
    __shared__ u64 landed;
    const int head = blockIdx.x;
    const int* row = input + (size_t)line * ROW;
    const int n = row[LENGTH];
    const int lane = threadIdx.x % LANES;
    const size_t column = head * D + lane * VEC;
    const int* pages = row + PAGES;
    const T* mine = qkv + (size_t)line * 3 * C + column;
    const int stored = n == 0 ? 0 : row[FIRST]; // tokens that the cache holds already
    const int group = threadIdx.x / LANES;
    const int groups = blockDim.x / LANES;
    const int turn = groups * UNROLL; // keys
    const int part = SPLIT > 1 ? blockIdx.z : 0;
    const int parts = n - 1 <= turn ? 1 : min(SPLIT, (n - 2 + turn) / turn); // that have a turn
    scale *= 1.44269504f; // exp2 below
#if __CUDA_ARCH__ >= 900
    if (SPLIT > 1) {
        if (threadIdx.x == 0) {
            initBarrier(&landed, 1);
            publishBarriers();
            expectBytes(&landed, (parts - 1) * (D / 4 + 1) * 16);
        }
        __syncwarp();
        arriveAtCluster();
        if (part >= parts) {
            return;
        }
    }
#endif

    uint4 kraw[UNROLL], vraw[UNROLL];
    auto loadStored = [&](int first) {
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int j = first + u * groups + group;
            kraw[u] = vraw[u] = make_uint4(0, 0, 0, 0);
            if (j < stored) {
                const size_t at = ((size_t)pages[j / PAGE] * PAGE + j % PAGE) * C + column;
                kraw[u] = *(const uint4*)(keys + at);
                vraw[u] = *(const uint4*)(values + at);
            }
        }
    };
    auto loadNew = [&](int first) {
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const int j = first + u * groups + group;
            if (j >= stored && j < n - 1) {
                const T* other = mine - (size_t)(n - 1 - j) * 3 * C;
                kraw[u] = loadFresh(other + C);
                vraw[u] = loadFresh(other + 2 * C);
            }
        }
    };
    loadStored(part * turn);
    releaseNext();
    awaitPrevious();
    if (n == 0) {
        for (int d = threadIdx.x; d < D; d += blockDim.x) {
            out[(size_t)line * C + head * D + d] = narrow(0.f);
        }
        return;
    }
    loadNew(part * turn);

    float q[VEC], k[VEC], v[VEC], o[VEC];
    expand(loadFresh(mine), q);
    #pragma unroll
    for (int i = 0; i < VEC; i++) {
        q[i] *= scale;
        o[i] = 0;
    }
    float most = -INFINITY, sum = 0;

    if (part == 0 && group == 0) { // the row's own token
        const uint4 newKey = loadFresh(mine + C);
        const uint4 newValue = loadFresh(mine + 2 * C);
        expand(newKey, k);
        expand(newValue, v);
        const size_t at = ((size_t)pages[(n - 1) / PAGE] * PAGE + (n - 1) % PAGE) * C + column;
        *(uint4*)(keys + at) = newKey;
        *(uint4*)(values + at) = newValue;
        #pragma unroll
        for (int i = 0; i < VEC; i++) {
            o[i] = v[i];
        }
        most = score(q, k, LANES == 32 ? 0xffffffffu : ((1u << LANES) - 1) << (threadIdx.x % 32 / LANES * LANES));
        sum = 1;
    }

    // Every group of a warp makes the same number of turns, so that the whole warp meets at the shuffles.
    for (int first = part * turn; first < n - 1; first += SPLIT * turn) {
        if (first > part * turn) {
            loadStored(first);
            loadNew(first);
        }
        float s[UNROLL];
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            expand(kraw[u], k);
            s[u] = score(q, k, 0xffffffffu);
            if (first + u * groups + group >= n - 1) {
                s[u] = -INFINITY;
            }
        }
        float now = most;
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            now = fmaxf(now, s[u]);
        }
        if (now == -INFINITY) {
            continue; // a group without rows yet
        }
        raise(now, exp2f(most - now), most, sum, o);
        #pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            accumulate(s[u], vraw[u], most, sum, o);
        }
    }
    __syncwarp();

    mergeGroups(most, sum, o); // then the warps
    const int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 < LANES) {
        #pragma unroll
        for (int i = 0; i < VEC; i++) {
            merged[warp][lane * VEC + i] = o[i];
        }
        if (lane == 0) {
            merged[warp][D] = most;
            merged[warp][D + 1] = sum;
        }
    }
    __syncthreads();
#if __CUDA_ARCH__ >= 900
    if (SPLIT > 1) {
        awaitCluster(); // the first block's barrier is there
    }
#endif
    for (int four = threadIdx.x; four < D / 4; four += blockDim.x) { // columns
        float top = -INFINITY;
        for (int w = 0; w < blockDim.x / 32; w++) {
            top = fmaxf(top, merged[w][D]);
        }
        float total = 0, value[4] = {};
        for (int w = 0; w < blockDim.x / 32; w++) {
            const float weight = merged[w][D] == -INFINITY ? 0 : exp2f(merged[w][D] - top);
            total += merged[w][D + 1] * weight;
            #pragma unroll
            for (int i = 0; i < 4; i++) {
                value[i] += merged[w][4 * four + i] * weight;
            }
        }
#if __CUDA_ARCH__ >= 900
        if (SPLIT > 1 && part > 0) {
            const unsigned barrier = ofBlock(&landed, 0);
            push(ofBlock(&landing[part][four], 0), value[0], value[1], value[2], value[3], barrier);
            if (four == 0) {
                push(ofBlock(&landing[part][D / 4], 0), top, total, 0, 0, barrier);
            }
            continue;
        }
        if (SPLIT > 1 && parts > 1) {
            waitForBlocks(&landed, 0);
            for (int other = 1; other < parts; other++) {
                const float4 state = landing[other][D / 4];
                const float4 more = landing[other][four];
                const float now = fmaxf(top, state.x);
                const float mineWeight = exp2f(top - now);
                const float otherWeight = exp2f(state.x - now);
                top = now;
                total = total * mineWeight + state.y * otherWeight;
                value[0] = value[0] * mineWeight + more.x * otherWeight;
                value[1] = value[1] * mineWeight + more.y * otherWeight;
                value[2] = value[2] * mineWeight + more.z * otherWeight;
                value[3] = value[3] * mineWeight + more.w * otherWeight;
            }
        }
#endif
        #pragma unroll
        for (int i = 0; i < 4; i++) {
            out[(size_t)line * C + head * D + 4 * four + i] = narrow(value[i] / total);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) attention(const int* __restrict__ input, const T* __restrict__ qkv,
        T* __restrict__ keys, T* __restrict__ values, float scale, T* __restrict__ out) {
    attend<1>(blockIdx.y, input, qkv, keys, values, scale, out);
}

#if __CUDA_ARCH__ >= 900
extern "C" __global__ void __cluster_dims__(1, 1, SPLIT_BLOCKS) __launch_bounds__(THREADS) split_attention(const int* __restrict__ input,
        const T* __restrict__ qkv, T* __restrict__ keys, T* __restrict__ values, float scale, T* __restrict__ out) {
    attend<SPLIT_BLOCKS>(blockIdx.y, input, qkv, keys, values, scale, out);
}
#endif

/*
 * The same for steps with parts of prompts, of 16-bit elements and heads of 64 (compute capability 8.0 on): a block has the new tokens of a
 * sequence among QUERIES rows, and one after the other if there are several sequences, reads the sequence's keys and values once for all of
 * them and multiplies on the matrix units. A warp takes every TILE_WARPS-th KEYS keys, and the warps are merged at the end. Rows that stand
 * alone have blocks of their own, as above, or are left to another kernel.
 *
 * Memory is read 16 bytes a thread, straight into what mma() takes: the order of D in q k, and of the columns of the output, is free. So the
 * four threads of a column take 32 of D in a row for two products, 8 each, and thread g columns 8g to 8g + 7 of 64 for eight.
 *
 * Grid (H, B / QUERIES rounded up), or B more for the rows that stand alone; 32 TILE_WARPS threads. Traffic: 2 n C elements of keys and
 * values for each QUERIES new tokens, and 6 C elements a row.
 */
#if ELEMENT_BITS == 16 && D == 64 && __CUDA_ARCH__ >= 800
#include "mma.cuh"
#define KEYS 32

static __device__ __forceinline__ unsigned pack(float low, float high) {
    return narrow(low) | (unsigned)narrow(high) << 16;
}

/* Of the rows from `line` on, `queries`: new tokens of one sequence. */
static __device__ __forceinline__ void attendTile(int line, int queries, const int* __restrict__ input, const T* __restrict__ qkv,
        T* __restrict__ keys, T* __restrict__ values, float scale, T* __restrict__ out) {
    __shared__ float merged[TILE_WARPS][QUERIES][D + 2]; // each warp's output, maximum and sum
    const int* row = input + (size_t)line * ROW;
    const int first = row[LENGTH] - 1; // position of the first query
    const int n = first + queries; // keys of the last
    const int stored = row[FIRST];
    const int* pages = row + (queries - 1) * ROW + PAGES;
    const T* own = qkv + (size_t)line * 3 * C + blockIdx.x * D;
    const int warp = threadIdx.x / 32;
    const int g = threadIdx.x % 32 / 4;
    const int t = threadIdx.x % 4;
    auto cached = [&](int j) { // where a token's keys are in the cache, and its values
        return ((size_t)pages[j / PAGE] * PAGE + j % PAGE) * C + blockIdx.x * D;
    };
    auto keyOf = [&](int j) {
        return j < stored ? keys + cached(j) : own + (j - first) * 3 * C + C;
    };
    auto valueOf = [&](int j) {
        return j < stored ? values + cached(j) : own + (j - first) * 3 * C + 2 * C;
    };
    scale *= 1.44269504f; // exp2 below

    uint4 q[2][2]; // of queries g and g + 8; those that do not exist are the last one
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 2; i++) {
            q[half][i] = loadFresh(own + min(g + 8 * half, queries - 1) * 3 * C + 32 * i + 8 * t);
        }
    }
    float o[8][4] = {}; // [i] are columns 8 (2t) + i and 8 (2t + 1) + i of queries g and g + 8
    float most[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    #pragma unroll 1
    for (int begin = warp * KEYS; begin < n; begin += TILE_WARPS * KEYS) {
        uint4 k[KEYS / 8][2], v[KEYS / 16][4]; // after the last key, that again
        #pragma unroll
        for (int i = 0; i < KEYS / 8; i++) {
            const T* from = keyOf(min(begin + 8 * i + g, n - 1)) + 8 * t;
            k[i][0] = loadFresh(from);
            k[i][1] = loadFresh(from + 32);
        }
        #pragma unroll
        for (int i = 0; i < KEYS / 16; i++) {
            #pragma unroll
            for (int j = 0; j < 4; j++) {
                v[i][j] = loadFresh(valueOf(min(begin + 16 * i + 2 * t + j % 2 + j / 2 * 8, n - 1)) + 8 * g);
            }
        }
        float s[KEYS / 8][4] = {}; // of keys 2t and 2t + 1 of 8
        float now[2] = {most[0], most[1]};
        #pragma unroll
        for (int i = 0; i < KEYS / 8; i++) {
            #pragma unroll
            for (int d = 0; d < 2; d++) {
                mma(s[i], q[0][d].x, q[1][d].x, q[0][d].y, q[1][d].y, k[i][d].x, k[i][d].y);
                mma(s[i], q[0][d].z, q[1][d].z, q[0][d].w, q[1][d].w, k[i][d].z, k[i][d].w);
            }
            #pragma unroll
            for (int j = 0; j < 4; j++) {
                const bool seen = begin + 8 * i + 2 * t + j % 2 <= first + g + j / 2 * 8;
                s[i][j] = seen ? s[i][j] * scale : -INFINITY;
                now[j / 2] = fmaxf(now[j / 2], s[i][j]);
            }
        }
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            now[half] = fmaxf(now[half], __shfl_xor_sync(0xffffffffu, now[half], 1));
            now[half] = fmaxf(now[half], __shfl_xor_sync(0xffffffffu, now[half], 2));
            const float shrink = now[half] == -INFINITY ? 1 : exp2f(most[half] - now[half]); // a query may have no keys yet
            most[half] = now[half];
            sum[half] *= shrink;
            #pragma unroll
            for (int i = 0; i < 8; i++) {
                o[i][2 * half] *= shrink;
                o[i][2 * half + 1] *= shrink;
            }
            #pragma unroll
            for (int i = 0; i < KEYS / 8; i++) {
                #pragma unroll
                for (int j = 2 * half; j < 2 * half + 2; j++) {
                    s[i][j] = now[half] == -INFINITY ? 0 : exp2f(s[i][j] - now[half]);
                    sum[half] += s[i][j];
                }
            }
        }
        #pragma unroll
        for (int i = 0; i < KEYS / 16; i++) {
            const unsigned p[4] = {pack(s[2 * i][0], s[2 * i][1]), pack(s[2 * i][2], s[2 * i][3]), pack(s[2 * i + 1][0], s[2 * i + 1][1]),
                    pack(s[2 * i + 1][2], s[2 * i + 1][3])};
            #pragma unroll
            for (int c = 0; c < 8; c++) { // a column of two keys' values is one register
                unsigned pairs[2];
                #pragma unroll
                for (int half = 0; half < 2; half++) {
                    const uint4 a = v[i][2 * half], b = v[i][2 * half + 1];
                    const unsigned low = c < 2 ? a.x : c < 4 ? a.y : c < 6 ? a.z : a.w;
                    const unsigned high = c < 2 ? b.x : c < 4 ? b.y : c < 6 ? b.z : b.w;
                    pairs[half] = __byte_perm(low, high, c % 2 == 0 ? 0x5410 : 0x7632);
                }
                mma(o[c], p[0], p[1], p[2], p[3], pairs[0], pairs[1]);
            }
        }
    }
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
        float* mine = merged[warp][g + 8 * half];
        #pragma unroll
        for (int c = 0; c < 8; c++) {
            mine[16 * t + c] = o[c][2 * half];
            mine[16 * t + 8 + c] = o[c][2 * half + 1];
        }
        if (t == 0) {
            mine[D] = most[half];
            mine[D + 1] = sum[half];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < queries * D / VEC; i += blockDim.x) {
        const int query = i / (D / VEC);
        const int column = i % (D / VEC) * VEC;
        float top = -INFINITY, total = 0, value[VEC] = {};
        #pragma unroll
        for (int w = 0; w < TILE_WARPS; w++) {
            top = fmaxf(top, merged[w][query][D]);
        }
        #pragma unroll
        for (int w = 0; w < TILE_WARPS; w++) {
            const float weight = exp2f(merged[w][query][D] - top);
            total += merged[w][query][D + 1] * weight;
            #pragma unroll
            for (int c = 0; c < VEC; c++) {
                value[c] += merged[w][query][column + c] * weight;
            }
        }
        const float inverse = 1 / total;
        *(uint4*)(out + (size_t)(line + query) * C + blockIdx.x * D + column) =
                make_uint4(pack(value[0] * inverse, value[1] * inverse), pack(value[2] * inverse, value[3] * inverse),
                        pack(value[4] * inverse, value[5] * inverse), pack(value[6] * inverse, value[7] * inverse));
        *(uint4*)(keys + cached(first + query) + column) = loadFresh(own + query * 3 * C + C + column);
        *(uint4*)(values + cached(first + query) + column) = loadFresh(own + query * 3 * C + 2 * C + column);
    }
    __syncthreads(); // the next sequence is merged in the same memory
}

extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS) tile_attention(const int* __restrict__ input, const T* __restrict__ qkv,
        T* __restrict__ keys, T* __restrict__ values, float scale, T* __restrict__ out, int rows) {
    const int tiles = (rows + QUERIES - 1) / QUERIES;
    const int alone = (int)blockIdx.y - tiles;
    if (alone >= 0) {
        if (input[(size_t)alone * ROW + CHUNK_TOKENS] <= 1) {
            attend<1>(alone, input, qkv, keys, values, scale, out);
        }
        return;
    }
    releaseNext();
    awaitPrevious();
    const int first = blockIdx.y * QUERIES;
    const int own = threadIdx.x % 32;
    unsigned parts = __ballot_sync(
            0xffffffffu, own < QUERIES && first + own < rows && input[(size_t)(first + own) * ROW + CHUNK_TOKENS] > 1); // rows of them
    while (parts != 0) {
        const int line = first + __ffs(parts) - 1;
        const int* row = input + (size_t)line * ROW;
        const int left = row[CHUNK_TOKENS] - (row[LENGTH] - 1 - row[FIRST]); // of the sequence's new tokens
        const int queries = min(left, first + QUERIES - line);
        attendTile(line, queries, input, qkv, keys, values, scale, out);
        parts &= 0xffffffffu << (line - first + queries);
    }
}
#endif

/*
 * The same for many rows that stand alone (compute capability 9.0 on). Just before the first row stands the plan, [items, 4] int: see
 * AttentionPlan.java. An item is a row's tokens, or a part of them. The work is in units, HEADS heads of an item each, which a block takes by
 * turns. It reads its heads of a token at once, as they lie in memory, by the copy engine through a ring of pieces of PIECE tokens' keys and
 * values, which goes on from unit to unit. A warp has a head; one more warp copies, and does not wait for the kernel before. Keys and values
 * leave the L2 cache first, so that weights and activations stay.
 *
 * Of a row in several items, the warp that is the last to have done a head merges what all left in `partial`, [items, H, D + 4] float: the
 * output, not divided, the maximum and the sum. `done` [items, H] counts them; it is zero before and after.
 *
 * Grid: best the blocks that run at once; 32 (HEADS + 1) threads; RING 2 PIECE HEADS D elements of shared memory.
 */
#if __CUDA_ARCH__ >= 900
#define UNITS_PER_ITEM (H / HEADS)

/* An item of the plan, and which heads of it. */
struct Unit {
    int item;
    int line; // the row's number, -1 if there is no such item
    int part, parts; // of the row's items, which are neighbours
    int begin, end; // tokens, but for the row's own
    int firstHead;

    /* The n-th of this block, of `items`: there and back, as the items become shorter. */
    __device__ __forceinline__ Unit(const int* input, int n, int items) {
        const int unit = n * gridDim.x + (n % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x);
        item = unit / UNITS_PER_ITEM;
        firstHead = unit % UNITS_PER_ITEM * HEADS;
        const int4 raw = item < items ? ((const int4*)input)[item - items] : make_int4(-1, 0, 0, 0);
        line = raw.x;
        part = raw.y & 0xffff;
        parts = raw.y >> 16;
        begin = raw.z;
        end = raw.w;
    }
};

extern "C" __global__ void __launch_bounds__(32 * (HEADS + 1)) ring_attention(const int* __restrict__ input, const T* __restrict__ qkv,
        T* __restrict__ keys, T* __restrict__ values, float scale, T* __restrict__ out, float* partial, int* done, int items) {
    constexpr int WIDTH = HEADS * D; // elements of a token that the block reads
    constexpr int STATE = D + 4; // floats of an item's head
    extern __shared__ __align__(128) T pieces[]; // [RING, 2, PIECE, WIDTH]
    __shared__ u64 full[RING], empty[RING];
    const int head = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    int turn = 0; // of the ring's pieces

    if (threadIdx.x == 0) {
        for (int i = 0; i < RING; i++) {
            initBarrier(&full[i], 1);
            initBarrier(&empty[i], 32 * HEADS);
        }
        publishBarriers();
    }
    __syncthreads();
    Unit next(input, 0, items);
    if (head == HEADS) {
        const u64 policy = evictFirst();
        #pragma unroll 1
        for (int i = 1; next.line >= 0; i++) {
            const Unit unit = next;
            next = Unit(input, i, items);
            const int* pages = input + (size_t)unit.line * ROW + PAGES;
            #pragma unroll 1
            for (int begin = unit.begin; begin < unit.end; begin += PIECE, turn++) {
                const int count = min(PIECE, unit.end - begin);
                T* to = pieces + (size_t)(turn % RING) * 2 * PIECE * WIDTH;
                u64* barrier = &full[turn % RING];
                if (turn >= RING) {
                    waitFor(&empty[turn % RING], turn / RING - 1 & 1);
                }
                if (lane == 0) {
                    expectBytes(barrier, count * 2 * WIDTH * (int)sizeof(T));
                }
                __syncwarp();
                const size_t at = ((size_t)pages[begin / PAGE] * PAGE + begin % PAGE) * C + unit.firstHead * D;
                if (WIDTH == C) { // one stretch of memory
                    if (lane < 2) {
                        copyBytes(to + lane * PIECE * WIDTH, (lane == 0 ? keys : values) + at, count * WIDTH * (int)sizeof(T), barrier,
                                policy);
                    }
                } else {
                    for (int j = lane; j < 2 * count; j += 32) {
                        copyBytes(to + (j % 2 * PIECE + j / 2) * WIDTH, (j % 2 == 0 ? keys : values) + at + (size_t)(j / 2) * C,
                                WIDTH * (int)sizeof(T), barrier, policy);
                    }
                }
            }
        }
        releaseNext();
        return;
    }
    awaitPrevious();
    const int group = lane / LANES;
    const int column = head * D + lane % LANES * VEC; // of the unit's
    #pragma unroll 1
    for (int i = 1; next.line >= 0; i++) {
        const Unit unit = next;
        next = Unit(input, i, items);
        if (i == 1 && next.line < 0) { // the only one: the kernel after can ask for its weights meanwhile
            releaseNext();
        }
        const int* row = input + (size_t)unit.line * ROW;
        const int n = row[LENGTH];
        const T* own = qkv + (size_t)unit.line * 3 * C + unit.firstHead * D + column;
        float q[VEC], o[VEC] = {};
        float most = -INFINITY, sum = 0;
        expand(loadFresh(own), q);
        #pragma unroll
        for (int j = 0; j < VEC; j++) {
            q[j] *= scale * 1.44269504f; // exp2 below
        }
        if (n > 0 && unit.part == 0) { // the row's own token
            const uint4 newKey = loadFresh(own + C);
            const uint4 newValue = loadFresh(own + 2 * C);
            float k[VEC], v[VEC];
            expand(newKey, k);
            expand(newValue, v);
            const float s = score(q, k, 0xffffffffu);
            if (group == 0) {
                const size_t at = ((size_t)row[PAGES + (n - 1) / PAGE] * PAGE + (n - 1) % PAGE) * C + unit.firstHead * D + column;
                *(uint4*)(keys + at) = newKey;
                *(uint4*)(values + at) = newValue;
                most = s;
                sum = 1;
                #pragma unroll
                for (int j = 0; j < VEC; j++) {
                    o[j] = v[j];
                }
            }
        }
        constexpr int TURNS = (PIECE + GROUPS_PER_WARP - 1) / GROUPS_PER_WARP;
        #pragma unroll 1
        for (int begin = unit.begin; begin < unit.end; begin += PIECE, turn++) {
            const int count = min(PIECE, unit.end - begin);
            const T* from = pieces + (size_t)(turn % RING) * 2 * PIECE * WIDTH + column;
            waitFor(&full[turn % RING], turn / RING & 1);
            __syncwarp();
            float s[TURNS];
            uint4 vraw[TURNS];
            float now = most;
            #pragma unroll
            for (int u = 0; u < TURNS; u++) {
                const int j = u * GROUPS_PER_WARP + group;
                float k[VEC];
                load(from + min(j, PIECE - 1) * WIDTH, k);
                vraw[u] = *(const uint4*)(from + (PIECE + min(j, PIECE - 1)) * WIDTH);
                s[u] = score(q, k, 0xffffffffu);
                s[u] = j < count ? s[u] : -INFINITY;
                now = fmaxf(now, s[u]);
            }
            arrive(&empty[turn % RING]); // all is in registers; each lane for itself, as racecheck does not see a __syncwarp() before
            raise(now, now == -INFINITY ? 0 : exp2f(most - now), most, sum, o); // a group may have no rows yet
            #pragma unroll
            for (int u = 0; u < TURNS; u++) {
                if (u * GROUPS_PER_WARP + group < count) {
                    accumulate(s[u], vraw[u], most, sum, o);
                }
            }
        }
        __syncwarp();
        mergeGroups(most, sum, o);
        if (unit.parts > 1) {
            const size_t place = (size_t)(unit.item - unit.part) * H + unit.firstHead + head; // of the row's first item
            float* states = partial + place * STATE;
            float* mine = states + (size_t)unit.part * H * STATE;
            if (group == 0) {
                #pragma unroll
                for (int j = 0; j < VEC; j += 4) {
                    __stcg((float4*)(mine + lane * VEC + j), make_float4(o[j], o[j + 1], o[j + 2], o[j + 3]));
                }
                if (lane == 0) {
                    __stcg((float4*)(mine + D), make_float4(most, sum, 0, 0));
                }
            }
            __syncwarp();
            __threadfence();
            const int before = __shfl_sync(0xffffffffu, lane == 0 ? atomicAdd(done + place, 1) : 0, 0);
            if (before < unit.parts - 1) {
                continue;
            }
            __threadfence();
            __syncwarp();
            if (lane == 0) {
                done[place] = 0;
            }
            most = -INFINITY;
            sum = 0;
            #pragma unroll
            for (int j = 0; j < VEC; j++) {
                o[j] = 0;
            }
            for (int part = 0; part < unit.parts; part++) {
                const float* theirs = states + (size_t)part * H * STATE;
                const float4 state = __ldcg((const float4*)(theirs + D));
                const float now = fmaxf(most, state.x);
                raise(now, exp2f(most - now), most, sum, o);
                const float weight = exp2f(state.x - now);
                sum += weight * state.y;
                #pragma unroll
                for (int j = 0; j < VEC; j += 4) {
                    const float4 more = __ldcg((const float4*)(theirs + lane % LANES * VEC + j));
                    o[j] += weight * more.x;
                    o[j + 1] += weight * more.y;
                    o[j + 2] += weight * more.z;
                    o[j + 3] += weight * more.w;
                }
            }
        }
        if (group == 0) {
            const float inverse = n == 0 ? 0 : 1 / sum;
            T* to = out + (size_t)unit.line * C + unit.firstHead * D + column;
            #pragma unroll
            for (int j = 0; j < VEC; j++) {
                to[j] = narrow(o[j] * inverse);
            }
        }
    }
}
#endif
