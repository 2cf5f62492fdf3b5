/*
 * Sampling: a row of logits to one token, the same token as io.github.loomtorch.sampling.Sampler gives for the same logits. Compiled
 * without fused multiply-add, and all sums are of integers, so the results are equal bit for bit; the package documentation of `sampling`
 * states the arithmetic.
 *
 *   V vocabulary, VP its padded size (row stride of the logits, a multiple of 64), ROW ints of one row of the step's input,
 *   RESULT ints of one row of results (see StepInput.java)
 *
 * One block a row, THREADS threads. The row is read from memory (the L2 cache, mostly) two to five times: 2 VP elements a pass.
 */
#include "element.cuh"

#define THREADS 512
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

/* Calls body(id, logit) for this thread's share of the row, ids ascending. */
#define FOR_EACH_LOGIT(row, id, logit, body)                                                  \
    for (int chunk_ = threadIdx.x; chunk_ < VP / VEC; chunk_ += THREADS) {                    \
        float x_[VEC];                                                                        \
        load((row).logits + (size_t)chunk_ * VEC, x_);                                        \
        _Pragma("unroll") for (int i_ = 0; i_ < VEC; i_++) {                                  \
            const int id = chunk_ * VEC + i_;                                                 \
            if (id < V) {                                                                     \
                const float logit = adjust(row, id, x_[i_]);                                  \
                body                                                                          \
            }                                                                                 \
        }                                                                                     \
    }

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
    float groupMax[GROUPS];
    u64 partial[THREADS / 32];
    int listed;
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

static __device__ __forceinline__ float logitOf(u64 order) {
    const int ascending = ~(int)((unsigned)(order >> 32) ^ 0x80000000);
    return __int_as_float(ascending ^ (int)((unsigned)(ascending >> 31) >> 1));
}

/* Puts the orders up to `last` into the list, in no order; returns how many there are, of which only LISTED are listed. */
static __device__ int listUpTo(Shared& s, const Row& row, u64 last) {
    __syncthreads();
    if (threadIdx.x == 0) {
        s.listed = 0;
    }
    __syncthreads();
    FOR_EACH_LOGIT(row, id, logit, {
        const u64 order = orderOf(logit, id);
        if (order <= last) {
            const int at = atomicAdd(&s.listed, 1);
            if (at < LISTED) {
                s.listOrder[at] = order;
            }
        }
    })
    __syncthreads();
    return s.listed;
}

/* The last order, of any id, among the k largest logits and those equal to the k-th. Sets the list to just these if they fit: *listed. */
static __device__ u64 topK(Shared& s, const Row& row, int k, int* listed) {
    *listed = LISTED + 1;
    if (k <= GROUPS / 2) {
        // The k-th largest of the groups' maxima is no more than the k-th largest logit.
        float most = -INFINITY;
        FOR_EACH_LOGIT(row, id, logit, { most = fmaxf(most, logit); })
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
        __syncthreads();
        if (threadIdx.x % 2 == 0) {
            s.groupMax[threadIdx.x / 2] = most;
        }
        if (threadIdx.x == 0) {
            s.answerOrder = 0;
        }
        __syncthreads();
        if (threadIdx.x < GROUPS) {
            const float own = s.groupMax[threadIdx.x];
            int above = 0;
            for (int g = 0; g < GROUPS; g++) {
                above += s.groupMax[g] > own;
            }
            if (above < k) {
                atomicMax(&s.answerOrder, orderOf(own, 0) | 0xffffffffu);
            }
        }
        __syncthreads();
        const u64 bound = s.answerOrder;
        const int n = listUpTo(s, row, bound);
        if (n <= LISTED) {
            __syncthreads();
            if (threadIdx.x == 0) {
                s.answerOrder = 0;
            }
            __syncthreads();
            for (int i = threadIdx.x; i < n; i += THREADS) {
                int above = 0;
                for (int j = 0; j < n; j++) {
                    above += (s.listOrder[j] >> 32) < (s.listOrder[i] >> 32);
                }
                if (above < k) {
                    atomicMax(&s.answerOrder, s.listOrder[i] | 0xffffffffu);
                }
            }
            __syncthreads();
            const u64 last = s.answerOrder;
            u64 keep[LISTED / THREADS];
            for (int i = 0; i < LISTED / THREADS; i++) {
                const int at = threadIdx.x + i * THREADS;
                keep[i] = at < n && s.listOrder[at] <= last ? s.listOrder[at] : ~0ull;
            }
            __syncthreads();
            if (threadIdx.x == 0) {
                s.listed = 0;
            }
            __syncthreads();
            for (int i = 0; i < LISTED / THREADS; i++) {
                if (keep[i] != ~0ull) {
                    s.listOrder[atomicAdd(&s.listed, 1)] = keep[i];
                }
            }
            __syncthreads();
            *listed = s.listed;
            return last;
        }
    }
    // Bit by bit: the smallest upper half of an order that k tokens or more do not exceed.
    unsigned upper = 0;
    for (int bit = 31; bit >= 0; bit--) {
        const u64 last = (u64)(upper | ((1u << bit) - 1)) << 32 | 0xffffffffu;
        u64 count = 0;
        FOR_EACH_LOGIT(row, id, logit, { count += orderOf(logit, id) <= last; })
        if (blockSum(s, count) < k) {
            upper |= 1u << bit;
        }
    }
    return (u64)upper << 32 | 0xffffffffu;
}

/* Of the list, the first token in order up to which the mass exceeds `before` + `target`'s remainder: sets answerOrder and answerMass. */
static __device__ void findListed(Shared& s, int n, u64 before, u64 target) {
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const u64 own = s.listOrder[i];
        u64 mass = before;
        for (int j = 0; j < n; j++) {
            mass += s.listOrder[j] < own ? s.listWeight[j] : 0;
        }
        if (mass <= target && mass + s.listWeight[i] > target) {
            s.answerOrder = own;
            s.answerMass = mass + s.listWeight[i];
        }
    }
    __syncthreads();
}

/* The same over all tokens whose order is not after `last`, whose masses are in the buckets. */
static __device__ void find(Shared& s, const Row& row, float max, float scale, u64 last, u64 target) {
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
    FOR_EACH_LOGIT(row, id, logit, {
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
        findListed(s, n, before, target);
        return;
    }
    // Too many for the list. Bit by bit: the smallest order up to which the mass exceeds the target.
    u64 answer = 0;
    u64 answerMass = 0;
    for (int bit = 63; bit >= 0; bit--) {
        const u64 upTo = answer | ((1ull << bit) - 1);
        u64 mass = 0;
        FOR_EACH_LOGIT(row, id, logit, {
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

/*
 * results [rows, RESULT]: the token (-1 if the logits are unusable: the host finds out why), and if logprobs are wanted its raw logit, the
 * largest raw logit, the mass of all raw weights at temperature 1 (two ints) and the (id, raw logit) pairs of the most probable tokens.
 */
extern "C" __global__ void __launch_bounds__(THREADS) sample(const int* __restrict__ input, const T* __restrict__ logits,
        const float* __restrict__ bias, unsigned short* __restrict__ counts, int* __restrict__ results) {
    __shared__ Shared s;
    const int* in = input + (size_t)blockIdx.x * ROW;
    int* result = results + (size_t)blockIdx.x * RESULT;
    const int flags = in[FLAGS];
    if (!(flags & SAMPLES)) {
        return;
    }
    Row raw = {logits + (size_t)blockIdx.x * VP, nullptr, nullptr, 1, 0, 0};
    Row row = raw;
    if (flags & BIASED) {
        row.bias = bias + (size_t)in[SLOT] * V;
    }
    if (flags & PENALISED) {
        unsigned short* own = counts + (size_t)in[SLOT] * V;
        if ((flags & COUNT_INPUT) && threadIdx.x == 0) {
            own[in[TOKEN]] = max(own[in[TOKEN]], 1) + 1;
        }
        __syncthreads();
        row.counts = own;
        row.repetition = __int_as_float(in[REPETITION]);
        row.presence = __int_as_float(in[PRESENCE]);
        row.frequency = __int_as_float(in[FREQUENCY]);
    }

    // The largest logit, and whether all are usable.
    u64 best = ~0ull;
    bool usable = true;
    FOR_EACH_LOGIT(row, id, logit, {
        usable &= logit < INFINITY;
        best = min(best, orderOf(logit, id));
    })
    usable = __syncthreads_and(usable);
    best = blockMin(s, best);
    const float max = logitOf(best);
    if (!usable || max == -INFINITY) {
        if (threadIdx.x == 0) {
            result[0] = -1;
        }
        return;
    }

    int token = (int)(unsigned)best;
    if (!(flags & GREEDY)) {
        const float scale = __int_as_float(in[SCALE]);
        const int k = in[TOP_K];
        u64 last = ~0ull;
        int n = LISTED + 1;
        if (k > 0 && k < V) {
            last = topK(s, row, k, &n);
        }
        u64 mass = 0;
        if (n <= LISTED) {
            for (int i = threadIdx.x; i < n; i += THREADS) {
                s.listWeight[i] = weightOf(exponentOf(logitOf(s.listOrder[i]), max, scale));
                mass += s.listWeight[i];
            }
        } else {
            for (int b = threadIdx.x; b < BUCKETS; b += THREADS) {
                s.bucketMass[b] = 0;
            }
            __syncthreads();
            FOR_EACH_LOGIT(row, id, logit, {
                if (orderOf(logit, id) <= last) {
                    const float exponent = exponentOf(logit, max, scale);
                    const u64 weight = weightOf(exponent);
                    if (weight > 0) {
                        atomicAdd(&s.bucketMass[bucketOf(exponent)], weight);
                        mass += weight;
                    }
                }
            })
        }
        mass = blockSum(s, mass);
        const float topP = __int_as_float(in[TOP_P]);
        if (topP < 1) {
            const u64 target = (u64)(long long)ceil((double)topP * (double)(long long)mass) - 1;
            if (n <= LISTED) {
                findListed(s, n, 0, target);
            } else {
                find(s, row, max, scale, last, target);
            }
            mass = s.answerMass;
        }
        const float minExponent = __int_as_float(in[MIN_EXPONENT]);
        if (minExponent > -INFINITY) {
            u64 above = 0;
            if (n <= LISTED) {
                for (int i = threadIdx.x; i < n; i += THREADS) {
                    above += exponentOf(logitOf(s.listOrder[i]), max, scale) >= minExponent ? s.listWeight[i] : 0;
                }
            } else {
                FOR_EACH_LOGIT(row, id, logit, {
                    const float exponent = exponentOf(logit, max, scale);
                    above += exponent >= minExponent && orderOf(logit, id) <= last ? weightOf(exponent) : 0;
                })
            }
            mass = min(mass, blockSum(s, above));
        }
        const u64 target = (u64)(long long)((double)__int_as_float(in[UNIFORM]) * (double)(long long)mass);
        if (n <= LISTED) {
            findListed(s, n, 0, target);
        } else {
            find(s, row, max, scale, last, target);
        }
        token = (int)(unsigned)s.answerOrder;
    }
    if (threadIdx.x == 0) {
        result[0] = token;
    }

    const int top = in[TOP_LOGPROBS];
    if (top < 0) {
        return;
    }
    best = ~0ull;
    FOR_EACH_LOGIT(raw, id, logit, { best = min(best, orderOf(logit, id)); })
    const float rawMax = logitOf(blockMin(s, best));
    u64 mass = 0;
    FOR_EACH_LOGIT(raw, id, logit, { mass += weightOf(exponentOf(logit, rawMax, LOG2_E)); })
    mass = blockSum(s, mass);
    if (threadIdx.x == 0) {
        result[1] = __float_as_int(widen(raw.logits[token]));
        result[2] = __float_as_int(rawMax);
        result[3] = (int)(unsigned)mass;
        result[4] = (int)(mass >> 32);
    }
    u64 after = 0;
    for (int t = 0; t < min(top, V); t++) { // the next in order, at most 20 times
        u64 next = ~0ull;
        FOR_EACH_LOGIT(raw, id, logit, {
            const u64 order = orderOf(logit, id) + 1;
            if (order > after) {
                next = min(next, order);
            }
        })
        after = blockMin(s, next);
        if (threadIdx.x == 0) {
            result[5 + 2 * t] = (int)(unsigned)(after - 1);
            result[6 + 2 * t] = __float_as_int(logitOf(after - 1));
        }
    }
}
