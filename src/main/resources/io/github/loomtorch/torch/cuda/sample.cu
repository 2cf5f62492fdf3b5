/*
 * Sampling: a row of logits to one token, the same token as io.github.loomtorch.sampling.Sampler gives for the same logits. Compiled
 * without fused multiply-add, and all sums are of integers, so the results are equal bit for bit; the package documentation of `sampling`
 * states the arithmetic.
 *
 *   V vocabulary, VP its padded size (row stride of the logits, a multiple of 64), ROW ints of one row of the step's input,
 *   RESULT ints of one row of results (see StepInput.java)
 *
 * One block a row, THREADS threads, a macro too. The row is read from memory (the L2 cache, mostly) two to five times: 2 VP elements a pass.
 */
#include "element.cuh"

#define OCTAVE 32                 /* buckets to a factor of two of weight */
#define BUCKETS (41 * OCTAVE + 1)
#define LISTED 1024               /* most tokens that are ranked by comparing all with all */
#define GROUPS 256                /* of threads, whose largest logits bound the k-th largest from below */
#define LOG2_E 1.4426950408889634f

struct Row {
    const T* logits;
    const float* bias;              /* of this slot, or null */
    const unsigned short* counts;   /* of this slot, or null: 0 unseen, else 1 + occurrences in the output */
    float repetition, presence, frequency;
};

static __device__ __forceinline__ float adjust(const Row& row, int id, float logit) {
    if (row.bias) {
        logit += row.bias[id];
    }
    if (row.counts) {
        const int count = row.counts[id];
        if (count > 0) {
            logit = logit > 0 ? logit / row.repetition : logit * row.repetition;
            if (count > 1) {
                logit = logit - row.frequency * (float)(count - 1) - row.presence;
            }
        }
    }
    return logit;
}

/* Calls body(id, logit) for one vector of the row, or for this thread's share of them, ids ascending; UNROLL loads at once. */
#define IN_VECTOR(row, vector, id, logit, body)                                               \
    {                                                                                         \
        float x_[VEC];                                                                        \
        load((row).logits + (size_t)(vector) * VEC, x_);                                      \
        _Pragma("unroll") for (int i_ = 0; i_ < VEC; i_++) {                                  \
            const int id = (vector) * VEC + i_;                                               \
            if (id < V) {                                                                     \
                const float logit = ADJUSTED ? adjust(row, id, x_[i_]) : x_[i_];              \
                body                                                                          \
            }                                                                                 \
        }                                                                                     \
    }
#define FOR_EACH_LOGIT(UNROLL, row, id, logit, body)                                          \
    _Pragma(UNROLL) for (int vector_ = threadIdx.x; vector_ < VECTORS; vector_ += THREADS) {  \
        IN_VECTOR(row, vector_, id, logit, body)                                              \
    }
#define VECTORS (VP / VEC)
#define SHARE ((VECTORS + THREADS - 1) / THREADS) /* vectors of a thread */
#define ONE "unroll 1"
#define SOME "unroll 4"

/* Orders as Sampler.orderOf: descending logit, then ascending id; -0 equals 0. */
static __device__ __forceinline__ u64 orderOf(float logit, int id) {
    const int bits = __float_as_int(logit + 0.f);
    const int ascending = bits ^ (int)((unsigned)(bits >> 31) >> 1);
    return (u64)(unsigned)(~ascending ^ 0x80000000) << 32 | (unsigned)id;
}

static __device__ __forceinline__ float exponentOf(float logit, float max, float scale) {
    return (logit - max) * scale;
}

static __device__ __forceinline__ int bucketOf(float exponent) {
    return (int)(fmaxf(exponent, -41.f) * -(float)OCTAVE);
}

static __device__ __forceinline__ u64 weightOf(float exponent) {
    exponent = fmaxf(exponent, -41.f);
    const float f = exponent - (float)(int)exponent;
    float power = 1.14919952e-4f;
    power = power * f + 1.29163684e-3f;
    power = power * f + 9.59703512e-3f;
    power = power * f + 5.54992296e-2f;
    power = power * f + 2.40226090e-1f;
    power = power * f + 6.93147182e-1f;
    power = power * f + 1.f;
    return (u64)(int)(power * 16777216.f) << 16 >> (int)(exponent * -(float)OCTAVE) / OCTAVE;
}

struct Shared {
    u64 bucketMass[BUCKETS];
    u64 listOrder[LISTED];
    u64 listWeight[LISTED];
    u64 listBefore[LISTED];         /* weight of those of the list that come before in order */
    float groupMax[GROUPS];
    u64 partial[THREADS / 32];
    unsigned short share[THREADS];  /* threads whose shares hold what is sought */
    int listed, shares;
    u64 answerOrder, answerMass;
    int answerBucket;
};

static __device__ __forceinline__ u64 blockSum(Shared& s, u64 x) {
    for (int step = 16; step > 0; step /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, step);
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        s.partial[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = 0;
    for (int w = 0; w < THREADS / 32; w++) {
        x += s.partial[w];
    }
    return x;
}

static __device__ __forceinline__ u64 blockMin(Shared& s, u64 x) {
    for (int step = 16; step > 0; step /= 2) {
        x = min(x, __shfl_xor_sync(0xffffffffu, x, step));
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        s.partial[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = s.partial[0];
    for (int w = 1; w < THREADS / 32; w++) {
        x = min(x, s.partial[w]);
    }
    return x;
}

static __device__ __forceinline__ float blockMax(Shared& s, float x) {
    for (int step = 16; step > 0; step /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        s.groupMax[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = s.groupMax[0];
    for (int w = 1; w < THREADS / 32; w++) {
        x = fmaxf(x, s.groupMax[w]);
    }
    __syncthreads();
    return x;
}

static __device__ __forceinline__ float logitOf(u64 order) {
    const int ascending = ~(int)((unsigned)(order >> 32) ^ 0x80000000);
    return __int_as_float(ascending ^ (int)((unsigned)(ascending >> 31) >> 1));
}

#define RANKERS 8 /* neighbouring threads that compare one of the list with all others */

/*
 * Puts the orders up to `last` into the list, in no order; returns how many there are, of which only LISTED are listed. `most` is the
 * largest logit of this thread's share: the few shares that hold any are looked through by all threads.
 */
template <bool ADJUSTED>
static __device__ __noinline__ int listUpTo(Shared& s, const Row& row, u64 last, float most) {
    __syncthreads();
    if (threadIdx.x == 0) {
        s.listed = s.shares = 0;
    }
    __syncthreads();
    if (orderOf(most, 0) <= last) {
        s.share[atomicAdd(&s.shares, 1)] = threadIdx.x;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < s.shares * SHARE; i += THREADS) {
        const int vector = s.share[i / SHARE] + i % SHARE * THREADS;
        if (vector < VECTORS) {
            IN_VECTOR(row, vector, id, logit, {
                const u64 order = orderOf(logit, id);
                if (order <= last) {
                    const int at = atomicAdd(&s.listed, 1);
                    if (at < LISTED) {
                        s.listOrder[at] = order;
                    }
                }
            })
        }
    }
    __syncthreads();
    return s.listed;
}

/*
 * Lists the k largest logits, and some more: k at most GROUPS / 2. `most` is the largest logit of this thread's share. Returns how many
 * there are, of which only LISTED are listed.
 */
template <bool ADJUSTED>
static __device__ int listLargest(Shared& s, const Row& row, int k, float most) {
    // The k-th largest of the groups' maxima is no more than the k-th largest logit.
    constexpr int SIZE = THREADS / GROUPS; // of a group, and the threads that rank its maximum
    float own = most;
    for (int step = 1; step < SIZE; step *= 2) {
        own = fmaxf(own, __shfl_xor_sync(0xffffffffu, own, step));
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
        above += __shfl_xor_sync(0xffffffffu, above, step);
        equal += __shfl_xor_sync(0xffffffffu, equal, step);
        earlier += __shfl_xor_sync(0xffffffffu, earlier, step);
    }
    if (above < k && above + equal >= k && earlier == 0 && threadIdx.x % SIZE == 0) {
        s.answerOrder = orderOf(own, 0) | 0xffffffffu;
    }
    __syncthreads();
    return listUpTo<ADJUSTED>(s, row, s.answerOrder, most);
}

/* The last order, of any id, among the k largest logits and those equal to the k-th, which are all among the n listed. */
static __device__ __noinline__ u64 lastListed(Shared& s, int n, int k) {
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
            before += __shfl_xor_sync(0xffffffffu, before, step);
            equal += __shfl_xor_sync(0xffffffffu, equal, step);
            earlier += __shfl_xor_sync(0xffffffffu, earlier, step);
        }
        if (i < n && before < k && before + equal >= k && earlier == 0 && threadIdx.x % RANKERS == 0) {
            s.answerOrder = (u64)own << 32 | 0xffffffffu;
        }
    }
    __syncthreads();
    return s.answerOrder;
}

/* The same, wherever they are. */
template <bool ADJUSTED>
static __device__ __noinline__ u64 lastOf(Shared& s, const Row& row, int k) {
    // Bit by bit: the smallest upper half of an order that k tokens or more do not exceed.
    unsigned upper = 0;
    for (int bit = 31; bit >= 0; bit--) {
        const u64 last = (u64)(upper | ((1u << bit) - 1)) << 32 | 0xffffffffu;
        u64 count = 0;
        FOR_EACH_LOGIT(ONE, row, id, logit, { count += orderOf(logit, id) <= last; })
        if (blockSum(s, count) < k) {
            upper |= 1u << bit;
        }
    }
    return (u64)upper << 32 | 0xffffffffu;
}

/* Sets listBefore. */
static __device__ __noinline__ void rankList(Shared& s, int n) {
    __syncthreads();
    for (int first = 0; first < n; first += THREADS / RANKERS) {
        const int i = first + threadIdx.x / RANKERS;
        const u64 own = i < n ? s.listOrder[i] : 0;
        u64 before = 0;
        for (int j = threadIdx.x % RANKERS; j < n; j += RANKERS) {
            before += s.listOrder[j] < own ? s.listWeight[j] : 0;
        }
        for (int step = 1; step < RANKERS; step *= 2) {
            before += __shfl_xor_sync(0xffffffffu, before, step);
        }
        if (i < n && threadIdx.x % RANKERS == 0) {
            s.listBefore[i] = before;
        }
    }
    __syncthreads();
}

/*
 * Of the ranked list, before which stands a mass of `before`, the first token up to which the mass exceeds `target`: sets answerOrder and
 * answerMass.
 */
static __device__ void findListed(Shared& s, int n, u64 before, u64 target) {
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
static __device__ __noinline__ void fillBuckets(Shared& s, const Row& row, float max, float scale, u64 last) {
    for (int b = threadIdx.x; b < BUCKETS; b += THREADS) {
        s.bucketMass[b] = 0;
    }
    __syncthreads();
    FOR_EACH_LOGIT(ONE, row, id, logit, {
        if (orderOf(logit, id) <= last) {
            const float exponent = exponentOf(logit, max, scale);
            const u64 weight = weightOf(exponent);
            if (weight > 0) {
                atomicAdd(&s.bucketMass[bucketOf(exponent)], weight);
            }
        }
    })
}

/* The same over all tokens whose order is not after `last`, whose masses are in the buckets. */
template <bool ADJUSTED>
static __device__ __noinline__ void find(Shared& s, const Row& row, float max, float scale, u64 last, u64 target) {
    __syncthreads();
    if (threadIdx.x < 32) { // a warp adds up the buckets, a stretch a lane
        const int stretch = (BUCKETS + 31) / 32;
        const int first = threadIdx.x * stretch;
        u64 mass = 0;
        for (int b = first; b < min(first + stretch, BUCKETS); b++) {
            mass += s.bucketMass[b];
        }
        u64 upTo = mass;
        for (int step = 1; step < 32; step *= 2) {
            const u64 other = __shfl_up_sync(0xffffffffu, upTo, step);
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
    FOR_EACH_LOGIT(ONE, row, id, logit, {
        const float exponent = exponentOf(logit, max, scale);
        const u64 order = orderOf(logit, id);
        if (bucketOf(exponent) == bucket && order <= last) {
            const int at = atomicAdd(&s.listed, 1);
            if (at < LISTED) {
                s.listOrder[at] = order;
                s.listWeight[at] = weightOf(exponent);
            }
        }
    })
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
        FOR_EACH_LOGIT(ONE, row, id, logit, {
            const float exponent = exponentOf(logit, max, scale);
            const u64 order = orderOf(logit, id);
            if (order <= upTo && order <= last && bucketOf(exponent) == bucket) {
                mass += weightOf(exponent);
            }
        })
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

/* The token of a row of logits, for all threads; -1 if they are unusable. */
template <bool ADJUSTED>
static __device__ __noinline__ int choose(Shared& s, const Row& row, const int* in) {
    // The largest logit, this thread's and all threads', and whether all are usable.
    bool usable = true;
    float most = -INFINITY;
    FOR_EACH_LOGIT(SOME, row, id, logit, {
        usable &= logit < INFINITY;
        most = fmaxf(most, logit);
    })
    usable = __syncthreads_and(usable);
    const float max = blockMax(s, most) + 0.f;
    if (!usable || max == -INFINITY) {
        return -1;
    }

    if (in[FLAGS] & GREEDY) { // the first of the largest
        u64 best = ~0ull;
        if (most == max) {
            FOR_EACH_LOGIT(ONE, row, id, logit, { best = min(best, orderOf(logit, id)); })
        }
        return (int)(unsigned)blockMin(s, best);
    }
    const float scale = __int_as_float(in[SCALE]);
    const int k = in[TOP_K] > 0 && in[TOP_K] < V ? in[TOP_K] : 0;
    // The largest logits are listed: mostly they are all it takes.
    int n = k <= GROUPS / 2 ? listLargest<ADJUSTED>(s, row, k > 0 ? k : GROUPS / 2, most) : LISTED + 1;
    if (n > LISTED) {
        n = 0;
    }
    const bool complete = k > 0 && n > 0; // none but those of the list
    const u64 last = complete ? lastListed(s, n, k) : k > 0 ? lastOf<ADJUSTED>(s, row, k) : ~0ull;
    u64 listMass = 0;
    for (int i = threadIdx.x; i < n; i += THREADS) {
        s.listWeight[i] = s.listOrder[i] <= last ? weightOf(exponentOf(logitOf(s.listOrder[i]), max, scale)) : 0;
        listMass += s.listWeight[i];
    }
    listMass = blockSum(s, listMass);
    rankList(s, n);
    u64 mass = listMass;
    if (!complete) {
        mass = 0;
        FOR_EACH_LOGIT(ONE, row, id, logit, { mass += orderOf(logit, id) <= last ? weightOf(exponentOf(logit, max, scale)) : 0; })
        mass = blockSum(s, mass);
    }
    bool filled = false; // the buckets, for what the list does not reach
    auto findToken = [&](u64 target) {
        if (target < listMass) {
            findListed(s, n, 0, target);
            return;
        }
        if (!filled) {
            fillBuckets<ADJUSTED>(s, row, max, scale, last);
            filled = true;
        }
        listMass = 0; // `find` lists others
        find<ADJUSTED>(s, row, max, scale, last, target);
    };
    const float topP = __int_as_float(in[TOP_P]);
    if (topP < 1) {
        findToken((u64)(long long)ceil((double)topP * (double)(long long)mass) - 1);
        mass = s.answerMass;
    }
    const float minExponent = __int_as_float(in[MIN_EXPONENT]);
    if (minExponent > -INFINITY) {
        u64 above = 0;
        if (complete) {
            for (int i = threadIdx.x; i < n; i += THREADS) {
                above += exponentOf(logitOf(s.listOrder[i]), max, scale) >= minExponent ? s.listWeight[i] : 0;
            }
        } else {
            FOR_EACH_LOGIT(ONE, row, id, logit, {
                const float exponent = exponentOf(logit, max, scale);
                above += exponent >= minExponent && orderOf(logit, id) <= last ? weightOf(exponent) : 0;
            })
        }
        mass = min(mass, blockSum(s, above));
    }
    __syncthreads(); // answerMass is read
    findToken((u64)(long long)((double)__int_as_float(in[UNIFORM]) * (double)(long long)mass));
    return (int)(unsigned)s.answerOrder;
}

/* Adds to the result the token's raw logit, the largest, the mass at temperature 1 and the most probable tokens. */
static __device__ __noinline__ void addLogprobs(Shared& s, const Row& row, int token, int top, int* result) {
    constexpr bool ADJUSTED = false;
    float most = -INFINITY;
    FOR_EACH_LOGIT(SOME, row, id, logit, { most = fmaxf(most, logit); })
    const float rawMax = blockMax(s, most) + 0.f;
    u64 mass = 0;
    FOR_EACH_LOGIT(ONE, row, id, logit, { mass += weightOf(exponentOf(logit, rawMax, LOG2_E)); })
    mass = blockSum(s, mass);
    if (threadIdx.x == 0) {
        result[1] = __float_as_int(widen(row.logits[token]));
        result[2] = __float_as_int(rawMax);
        result[3] = (int)(unsigned)mass;
        result[4] = (int)(mass >> 32);
    }
    u64 after = 0;
    for (int t = 0; t < min(top, V); t++) { // the next in order, at most 20 times
        u64 next = ~0ull;
        FOR_EACH_LOGIT(ONE, row, id, logit, {
            const u64 order = orderOf(logit, id) + 1;
            if (order > after) {
                next = min(next, order);
            }
        })
        after = blockMin(s, next);
        if (threadIdx.x == 0) {
            result[5 + 2 * t] = (int)(unsigned)(after - 1);
            result[6 + 2 * t] = __float_as_int(widen(row.logits[(unsigned)(after - 1)]));
        }
    }
}

/* The first token id whose logit is NaN or infinity; V if there is none. */
template <bool ADJUSTED>
static __device__ int firstUnusable(Shared& s, const Row& row) {
    u64 first = V;
    FOR_EACH_LOGIT(ONE, row, id, logit, { first = logit < INFINITY ? first : min(first, (u64)id); })
    return (int)blockMin(s, first);
}

/* Adds to the result of a row of unusable logits what Sampler.unusable says of them: why, the first token id where it shows, its logit. */
static __device__ __noinline__ void explain(Shared& s, const Row& row, int* result) {
    constexpr bool ADJUSTED = false;
    bool any = false; // above -infinity
    FOR_EACH_LOGIT(ONE, row, id, logit, { any |= logit > -INFINITY; })
    any = __syncthreads_or(any);
    const int raw = firstUnusable<false>(s, row);
    const int adjusted = firstUnusable<true>(s, row);
    if (threadIdx.x == 0) {
        enum { LOGIT, ADJUSTED_LOGIT, ALL_BANNED, ALL_INFINITE }; // as Sampler.Unusable
        result[1] = raw < V ? LOGIT : adjusted < V ? ADJUSTED_LOGIT : any ? ALL_BANNED : ALL_INFINITE;
        const int id = raw < V ? raw : adjusted < V ? adjusted : 0;
        const float logit = widen(row.logits[id]);
        result[2] = id;
        result[3] = __float_as_int(raw < V ? logit : adjust(row, id, logit));
    }
}

/*
 * tokens [slots]: the token, read before as the input that is to be counted if the row does not name it. results, in host memory, row
 * RESULT_ROW: the token too, -1 if the logits are unusable, and why; and if logprobs are wanted its raw logit, the largest raw logit, the
 * mass of all raw weights at temperature 1 (two ints) and the (id, raw logit) pairs of the most probable tokens.
 */
extern "C" __global__ void __launch_bounds__(THREADS) sample(const int* __restrict__ input, const T* logits,
        const float* __restrict__ bias, unsigned short* __restrict__ counts, int* __restrict__ results, int* __restrict__ tokens) {
    __shared__ Shared s;
    const int* in = input + (size_t)blockIdx.x * ROW;
    releaseNext();
    awaitPrevious();
    const int flags = in[FLAGS];
    asm volatile("" : "+l"(logits) :: "memory"); // not read before
    if (!(flags & SAMPLES)) {
        return;
    }
    Row row = {logits + (size_t)blockIdx.x * VP, nullptr, nullptr, 1, 0, 0};
    if (flags & BIASED) {
        row.bias = bias + (size_t)in[SLOT] * V;
    }
    if (flags & PENALISED) {
        unsigned short* own = counts + (size_t)in[SLOT] * V;
        if ((flags & COUNT_INPUT) && threadIdx.x == 0) {
            const int id = in[TOKEN] >= 0 ? in[TOKEN] : max(tokens[in[SLOT]], 0);
            own[id] = max(own[id], 1) + 1;
        }
        __syncthreads();
        row.counts = own;
        row.repetition = __int_as_float(in[REPETITION]);
        row.presence = __int_as_float(in[PRESENCE]);
        row.frequency = __int_as_float(in[FREQUENCY]);
    }

    const int token = flags & (BIASED | PENALISED) ? choose<true>(s, row, in) : choose<false>(s, row, in);
    int* result = results + (size_t)in[RESULT_ROW] * RESULT;
    if (threadIdx.x == 0) {
        result[0] = token;
        tokens[in[SLOT]] = token;
    }
    if (token < 0) {
        explain(s, row, result);
    } else if (in[TOP_LOGPROBS] >= 0) {
        addLogprobs(s, row, token, in[TOP_LOGPROBS], result);
    }
}
