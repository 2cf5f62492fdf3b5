/*
 * Selection from a row of logits, by all threads of a block: passes over the row, a list of the largest logits, and the
 * search for the token at which the summed weight exceeds a target.
 */
#pragma once
#include "memory.cuh"
#include "reduce.cuh"
#include "sample_bits.cuh"
#if !defined(LT_VOCAB) || !defined(LT_PADDED_VOCAB) || !defined(LT_SAMPLE_THREADS)
#error "sample_select.cuh needs -DLT_VOCAB, -DLT_PADDED_VOCAB and -DLT_SAMPLE_THREADS: see KernelFile.java"
#endif
constexpr int VOCAB = LT_VOCAB;
constexpr int PADDED_VOCAB = LT_PADDED_VOCAB;
constexpr int THREADS = LT_SAMPLE_THREADS;
constexpr int LISTED = 1024; // most tokens that are ranked by comparing all with all
constexpr int GROUPS = 256;  // of threads, whose largest logits bound the k-th largest from below
constexpr int RANKERS = 8;   // neighbouring threads that compare one token of the list with all others
constexpr int VECTORS = PADDED_VOCAB / VEC;
constexpr int SHARE = (VECTORS + THREADS - 1) / THREADS; // vectors of a thread
static_assert(PADDED_VOCAB >= VOCAB && PADDED_VOCAB % 64 == 0, "rows are padded to a multiple of 64");
static_assert(THREADS % GROUPS == 0, "groups have the same number of threads");

struct Row {
    const Element* logits;
    const float* bias = nullptr;            // of the slot, or null
    const unsigned short* counts = nullptr; // of the slot, or null: 0 unseen, else 1 + occurrences in the output
    const int* uncounted = nullptr;         // output tokens that the counts lack, `stride` apart, newest first
    int uncountedCount = 0, stride = 0;
    float repetition = 1, presence = 0, frequency = 0;
};

__device__ __forceinline__ float adjust(const Row& row, int id, float logit) {
    if (row.bias) {
        logit += row.bias[id];
    }
    if (row.counts) {
        int count = row.counts[id];
        #pragma unroll 1
        for (int i = 0; i < row.uncountedCount; i++) {
            count += row.uncounted[i * row.stride] == id ? 1 + (count == 0) : 0;
        }
        if (count > 0) {
            logit = logit > 0 ? logit / row.repetition : logit * row.repetition;
            if (count > 1) {
                logit = logit - row.frequency * (float)(count - 1) - row.presence;
            }
        }
    }
    return logit;
}

/* Calls body(id, logit) for one vector of the row, with bias and penalties if ADJUSTED. */
template <bool ADJUSTED, typename Body>
__device__ __forceinline__ void forVector(const Row& row, int vector, Body body) {
    float x[VEC];
    load(row.logits + (size_t)vector * VEC, x);
    #pragma unroll
    for (int i = 0; i < VEC; i++) {
        const int id = vector * VEC + i;
        if (id < VOCAB) {
            body(id, ADJUSTED ? adjust(row, id, x[i]) : x[i]);
        }
    }
}

/* The same for this thread's share of the row, ids ascending; UNROLL loads at once. */
template <bool ADJUSTED, int UNROLL = 1, typename Body>
__device__ __forceinline__ void forEachLogit(const Row& row, Body body) {
    #pragma unroll UNROLL
    for (int vector = threadIdx.x; vector < VECTORS; vector += THREADS) {
        forVector<ADJUSTED>(row, vector, body);
    }
}

struct Shared {
    u64 bucketMass[BUCKETS];
    u64 listOrder[LISTED];
    u64 listWeight[LISTED];
    u64 listBefore[LISTED]; // weight of those of the list that come before in order
    float groupMax[GROUPS];
    u64 partial[THREADS / WARP];
    unsigned short share[THREADS]; // threads whose shares hold what is searched for
    int listed, shares;
    u64 answerOrder, answerMass;
    int answerBucket;
};

__device__ __forceinline__ u64 blockSum(Shared& s, u64 x) {
    return blockReduce<THREADS / WARP>(x, s.partial, Sum());
}

__device__ __forceinline__ u64 blockMin(Shared& s, u64 x) {
    return blockReduce<THREADS / WARP>(x, s.partial, Min());
}

__device__ __forceinline__ float blockMax(Shared& s, float x) {
    x = blockReduce<THREADS / WARP>(x, s.groupMax, Max());
    __syncthreads(); // groupMax has been read
    return x;
}

/*
 * Puts the orders up to `last` into the list, in no order; returns how many there are, of which only LISTED are listed.
 * `threadMax` is the largest logit of this thread's share: all threads search the few shares that hold any.
 */
template <bool ADJUSTED>
__device__ __noinline__ int listUpTo(Shared& s, const Row& row, u64 last, float threadMax) {
    __syncthreads();
    if (threadIdx.x == 0) {
        s.listed = s.shares = 0;
    }
    __syncthreads();
    if (orderOf(threadMax, 0) <= last) {
        s.share[atomicAdd(&s.shares, 1)] = threadIdx.x;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < s.shares * SHARE; i += THREADS) {
        const int vector = s.share[i / SHARE] + i % SHARE * THREADS;
        if (vector < VECTORS) {
            forVector<ADJUSTED>(row, vector, [&](int id, float logit) {
                const u64 order = orderOf(logit, id);
                if (order <= last) {
                    const int at = atomicAdd(&s.listed, 1);
                    if (at < LISTED) {
                        s.listOrder[at] = order;
                    }
                }
            });
        }
    }
    __syncthreads();
    return s.listed;
}

/*
 * Lists the k largest logits, and some more; k <= GROUPS / 2. Returns how many there are, of which only LISTED are
 * listed. `threadMax` as above.
 */
template <bool ADJUSTED>
__device__ int listLargest(Shared& s, const Row& row, int k, float threadMax) {
    // The k-th largest of the groups' maxima is no more than the k-th largest logit.
    constexpr int SIZE = THREADS / GROUPS; // threads of a group, which rank its maximum
    float own = threadMax;
    for (int step = 1; step < SIZE; step *= 2) {
        own = fmaxf(own, __shfl_xor_sync(FULL_WARP, own, step));
    }
    if (threadIdx.x % SIZE == 0) {
        s.groupMax[threadIdx.x / SIZE] = own;
    }
    __syncthreads();
    int above = 0;
    int equal = 0;
    int earlier = 0; // equal ones, so that one thread answers
    for (int g = threadIdx.x % SIZE; g < GROUPS; g += SIZE) {
        above += s.groupMax[g] > own;
        equal += s.groupMax[g] == own;
        earlier += s.groupMax[g] == own && g < threadIdx.x / SIZE;
    }
    for (int step = 1; step < SIZE; step *= 2) {
        above += __shfl_xor_sync(FULL_WARP, above, step);
        equal += __shfl_xor_sync(FULL_WARP, equal, step);
        earlier += __shfl_xor_sync(FULL_WARP, earlier, step);
    }
    if (above < k && above + equal >= k && earlier == 0 && threadIdx.x % SIZE == 0) {
        s.answerOrder = orderOf(own, 0) | 0xffffffffu;
    }
    __syncthreads();
    return listUpTo<ADJUSTED>(s, row, s.answerOrder, threadMax);
}

/*
 * The last order, of any id, among the k largest logits and those equal to the k-th, which are all among the n listed.
 */
__device__ __noinline__ u64 lastListed(Shared& s, int n, int k) {
    __syncthreads();
    for (int first = 0; first < n; first += THREADS / RANKERS) {
        const int i = first + threadIdx.x / RANKERS;
        const unsigned own = i < n ? s.listOrder[i] >> 32 : 0;
        int before = 0;
        int equal = 0;
        int earlier = 0; // equal ones, so that one thread answers
        for (int j = threadIdx.x % RANKERS; j < n; j += RANKERS) {
            const unsigned other = s.listOrder[j] >> 32;
            before += other < own;
            equal += other == own;
            earlier += other == own && j < i;
        }
        for (int step = 1; step < RANKERS; step *= 2) {
            before += __shfl_xor_sync(FULL_WARP, before, step);
            equal += __shfl_xor_sync(FULL_WARP, equal, step);
            earlier += __shfl_xor_sync(FULL_WARP, earlier, step);
        }
        if (i < n && before < k && before + equal >= k && earlier == 0 && threadIdx.x % RANKERS == 0) {
            s.answerOrder = lastOrderOf(own);
        }
    }
    __syncthreads();
    return s.answerOrder;
}

/* The same, wherever the k largest logits are. */
template <bool ADJUSTED>
__device__ __noinline__ u64 lastOf(Shared& s, const Row& row, int k) {
    // Bit by bit: the smallest upper half of an order that k tokens or more do not exceed.
    unsigned upper = 0;
    for (int bit = 31; bit >= 0; bit--) {
        const u64 last = lastOrderOf(upper | ((1u << bit) - 1));
        u64 count = 0;
        forEachLogit<ADJUSTED>(row, [&](int id, float logit) { count += orderOf(logit, id) <= last; });
        if (blockSum(s, count) < k) {
            upper |= 1u << bit;
        }
    }
    return lastOrderOf(upper);
}

/* Sets listBefore. */
__device__ __noinline__ void rankList(Shared& s, int n) {
    __syncthreads();
    for (int first = 0; first < n; first += THREADS / RANKERS) {
        const int i = first + threadIdx.x / RANKERS;
        const u64 own = i < n ? s.listOrder[i] : 0;
        u64 before = 0;
        for (int j = threadIdx.x % RANKERS; j < n; j += RANKERS) {
            before += s.listOrder[j] < own ? s.listWeight[j] : 0;
        }
        for (int step = 1; step < RANKERS; step *= 2) {
            before += __shfl_xor_sync(FULL_WARP, before, step);
        }
        if (i < n && threadIdx.x % RANKERS == 0) {
            s.listBefore[i] = before;
        }
    }
    __syncthreads();
}

/*
 * Finds in the ranked list, before which stands a mass of `before`, the first token up to which the mass exceeds
 * `target`: sets answerOrder and answerMass.
 */
__device__ void findListed(Shared& s, int n, u64 before, u64 target) {
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const u64 mass = before + s.listBefore[i];
        if (mass <= target && mass + s.listWeight[i] > target) {
            s.answerOrder = s.listOrder[i];
            s.answerMass = mass + s.listWeight[i];
        }
    }
    __syncthreads();
}

/* Sets the masses of the buckets, of the tokens whose order is not after `last`. */
template <bool ADJUSTED>
__device__ __noinline__ void fillBuckets(Shared& s, const Row& row, float max, float scale, u64 last) {
    for (int b = threadIdx.x; b < BUCKETS; b += THREADS) {
        s.bucketMass[b] = 0;
    }
    __syncthreads();
    forEachLogit<ADJUSTED>(row, [&](int id, float logit) {
        if (orderOf(logit, id) <= last) {
            const float exponent = exponentOf(logit, max, scale);
            const u64 weight = weightOf(exponent);
            if (weight > 0) {
                atomicAdd(&s.bucketMass[bucketOf(exponent)], weight);
            }
        }
    });
}

/* As findListed(), over all tokens whose order is not after `last`, whose masses are in the buckets. */
template <bool ADJUSTED>
__device__ __noinline__ void find(Shared& s, const Row& row, float max, float scale, u64 last, u64 target) {
    __syncthreads();
    if (threadIdx.x < WARP) { // a warp adds up the buckets, a stretch a lane
        const int stretch = (BUCKETS + 31) / 32;
        const int first = threadIdx.x * stretch;
        u64 mass = 0;
        for (int b = first; b < min(first + stretch, BUCKETS); b++) {
            mass += s.bucketMass[b];
        }
        u64 upTo = mass;
        for (int step = 1; step < WARP; step *= 2) {
            const u64 other = __shfl_up_sync(FULL_WARP, upTo, step);
            upTo += threadIdx.x >= step ? other : 0;
        }
        u64 before = upTo - mass;
        if (before <= target && upTo > target) {
            int b = first;
            while (before + s.bucketMass[b] <= target) {
                before += s.bucketMass[b++];
            }
            s.answerBucket = b;
            s.answerMass = before;
        }
        if (threadIdx.x == 0) {
            s.listed = 0;
        }
    }
    __syncthreads();
    const int bucket = s.answerBucket;
    const u64 before = s.answerMass;
    forEachLogit<ADJUSTED>(row, [&](int id, float logit) {
        const float exponent = exponentOf(logit, max, scale);
        const u64 order = orderOf(logit, id);
        if (bucketOf(exponent) == bucket && order <= last) {
            const int at = atomicAdd(&s.listed, 1);
            if (at < LISTED) {
                s.listOrder[at] = order;
                s.listWeight[at] = weightOf(exponent);
            }
        }
    });
    __syncthreads();
    const int n = s.listed;
    if (n <= LISTED) {
        rankList(s, n);
        findListed(s, n, before, target);
        return;
    }
    // Too many for the list. Bit by bit: the smallest order up to which the mass exceeds the target.
    u64 answer = 0;
    u64 answerMass = 0;
    for (int bit = 63; bit >= 0; bit--) {
        const u64 upTo = answer | ((1ull << bit) - 1);
        u64 mass = 0;
        forEachLogit<ADJUSTED>(row, [&](int id, float logit) {
            const float exponent = exponentOf(logit, max, scale);
            const u64 order = orderOf(logit, id);
            if (order <= upTo && order <= last && bucketOf(exponent) == bucket) {
                mass += weightOf(exponent);
            }
        });
        mass = before + blockSum(s, mass);
        if (mass > target) {
            answerMass = mass;
        } else {
            answer |= 1ull << bit;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        s.answerOrder = answer;
        s.answerMass = answerMass;
    }
    __syncthreads();
}
