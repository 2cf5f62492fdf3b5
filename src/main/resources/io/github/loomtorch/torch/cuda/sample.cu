/*
 * Sampling: a row of logits to one token, the same token as io.github.loomtorch.sampling.Sampler gives for the same
 * logits.
 *
 *   LT_VOCAB, LT_PADDED_VOCAB                     vocabulary, and row stride of the logits, a multiple of 64
 *   LT_SAMPLE_THREADS                             threads of a block
 *   LT_ROW_<field>, LT_FLAG_<flag>                the step's input: see StepInput.java
 *   LT_RESULT_SIZE, LT_RESULT_<field>             the results: see ResultRow.java
 *
 * One block a row. The row is read from memory (the L2 cache, mostly) two to five times: 2 PADDED_VOCAB elements a
 * pass.
 */
#include "logprobs.cuh"
#include "step_row.cuh"
#if !defined(LT_ROW_FLAGS) || !defined(LT_ROW_TOP_K) || !defined(LT_ROW_SCALE) || !defined(LT_ROW_TOP_P) || \
        !defined(LT_ROW_MIN_EXPONENT) || !defined(LT_ROW_REPETITION) || !defined(LT_ROW_PRESENCE) ||        \
        !defined(LT_ROW_FREQUENCY) || !defined(LT_ROW_UNIFORM) || !defined(LT_ROW_TOP_LOGPROBS) ||          \
        !defined(LT_ROW_RESULT) || !defined(LT_ROW_UNCOUNTED)
#error "sample.cu needs -DLT_ROW_<field> of every field of StepInput.java: see KernelFile.java"
#endif
#if !defined(LT_FLAG_SAMPLES) || !defined(LT_FLAG_GREEDY) || !defined(LT_FLAG_BIASED) || \
        !defined(LT_FLAG_PENALISED) || !defined(LT_FLAG_COUNT_INPUT)
#error "sample.cu needs -DLT_FLAG_<flag> of every flag of StepInput.java: see KernelFile.java"
#endif
#if !defined(LT_RESULT_SIZE) || !defined(LT_RESULT_TOKEN)
#error "sample.cu needs -DLT_RESULT_SIZE and -DLT_RESULT_TOKEN: see KernelFile.java"
#endif
static_assert(LT_RESULT_SIZE > LT_RESULT_TOP && LT_RESULT_SIZE > LT_RESULT_LOGIT, "a row of results holds all fields");

/* The token of a row of logits, for all threads; -1 if they are unusable. */
template <bool ADJUSTED>
__device__ __noinline__ int choose(Shared& s, const Row& row, const int* in) {
    // The largest logit, this thread's and all threads', and whether all are usable.
    bool usable = true;
    float threadMax = -INF;
    forEachLogit<ADJUSTED, 4>(row, [&](int id, float logit) {
        usable &= logit < INF;
        threadMax = fmaxf(threadMax, logit);
    });
    usable = __syncthreads_and(usable);
    const float max = blockMax(s, threadMax) + 0.f;
    if (!usable || max == -INF) {
        return -1;
    }

    if (in[LT_ROW_FLAGS] & LT_FLAG_GREEDY) { // the first of the largest
        u64 best = ~0ull;
        if (threadMax == max) {
            forEachLogit<ADJUSTED>(row, [&](int id, float logit) { best = min(best, orderOf(logit, id)); });
        }
        return idOf(blockMin(s, best));
    }
    const float scale = __int_as_float(in[LT_ROW_SCALE]);
    const int k = in[LT_ROW_TOP_K] > 0 && in[LT_ROW_TOP_K] < VOCAB ? in[LT_ROW_TOP_K] : 0;
    // The largest logits are listed: mostly they are all that is needed.
    int n = k <= GROUPS / 2 ? listLargest<ADJUSTED>(s, row, k > 0 ? k : GROUPS / 2, threadMax) : LISTED + 1;
    if (n > LISTED) {
        n = 0;
    }
    const bool complete = k > 0 && n > 0; // only tokens of the list count
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
        forEachLogit<ADJUSTED>(row, [&](int id, float logit) {
            mass += orderOf(logit, id) <= last ? weightOf(exponentOf(logit, max, scale)) : 0;
        });
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
        listMass = 0; // find() lists others
        find<ADJUSTED>(s, row, max, scale, last, target);
    };
    const float topP = __int_as_float(in[LT_ROW_TOP_P]);
    if (topP < 1) {
        findToken((u64)(long long)ceil((double)topP * (double)(long long)mass) - 1);
        mass = s.answerMass;
    }
    const float minExponent = __int_as_float(in[LT_ROW_MIN_EXPONENT]);
    if (minExponent > -INF) {
        u64 above = 0;
        if (complete) {
            for (int i = threadIdx.x; i < n; i += THREADS) {
                above += exponentOf(logitOf(s.listOrder[i]), max, scale) >= minExponent ? s.listWeight[i] : 0;
            }
        } else {
            forEachLogit<ADJUSTED>(row, [&](int id, float logit) {
                const float exponent = exponentOf(logit, max, scale);
                above += exponent >= minExponent && orderOf(logit, id) <= last ? weightOf(exponent) : 0;
            });
        }
        mass = min(mass, blockSum(s, above));
    }
    __syncthreads(); // answerMass has been read
    findToken((u64)(long long)((double)__int_as_float(in[LT_ROW_UNIFORM]) * (double)(long long)mass));
    return idOf(s.answerOrder);
}

/* Adds the log-probabilities of the sampled token and of the `top` most probable ones to the result. */
__device__ __noinline__ void addLogprobs(Shared& s, const Row& row, int token, int top, int* result) {
    float threadMax = -INF;
    forEachLogit<false, 4>(row, [&](int id, float logit) { threadMax = fmaxf(threadMax, logit); });
    const float max = blockMax(s, threadMax) + 0.f;
    writeLogprobs(row, token, max, massOf(s, row, max), result);
    writeTop(s, row, top, threadMax, result + LT_RESULT_TOP);
}

/*
 * tokens [slots]: gets the token of a sequence's last row; before, holds the input token of a row that does not name
 * it. Of several rows of a sequence, those that the counts of the slot do not cover say so by LT_ROW_UNCOUNTED: their
 * own token and those of as many rows before, less one, are missing. results, in host
 * memory, row LT_ROW_RESULT: gets the token too, or -1 and the reason if the logits are unusable; with logprobs also
 * the token's raw logit, the largest raw logit, the mass of all raw weights at temperature 1 (two ints) and pairs (id,
 * raw logit) of the most probable tokens.
 */
extern "C" __global__ void __launch_bounds__(THREADS)
        sample(const int* __restrict__ input, const Element* logits, const float* __restrict__ bias,
                unsigned short* __restrict__ counts, int* __restrict__ results, int* __restrict__ tokens) {
    __shared__ Shared s;
    const int* in = input + (size_t)blockIdx.x * ROW_SIZE;
    releaseNext();
    awaitPrevious();
    const int flags = in[LT_ROW_FLAGS];
    asm volatile("" : "+l"(logits)::"memory"); // the compiler must not read them before
    if (!(flags & LT_FLAG_SAMPLES)) {
        return;
    }
    Row row = {logits + (size_t)blockIdx.x * PADDED_VOCAB};
    if (flags & LT_FLAG_BIASED) {
        row.bias = bias + (size_t)in[ROW_SLOT] * VOCAB;
    }
    if (flags & LT_FLAG_PENALISED) {
        unsigned short* own = counts + (size_t)in[ROW_SLOT] * VOCAB;
        if ((flags & LT_FLAG_COUNT_INPUT) && threadIdx.x == 0) {
            const int id = in[ROW_TOKEN] >= 0 ? in[ROW_TOKEN] : max(tokens[in[ROW_SLOT]], 0);
            own[id] = max(own[id], 1) + 1;
        }
        __syncthreads();
        row.counts = own;
        row.uncounted = in + ROW_TOKEN;
        row.uncountedCount = in[LT_ROW_UNCOUNTED];
        row.stride = -ROW_SIZE;
        row.repetition = __int_as_float(in[LT_ROW_REPETITION]);
        row.presence = __int_as_float(in[LT_ROW_PRESENCE]);
        row.frequency = __int_as_float(in[LT_ROW_FREQUENCY]);
    }

    const int token =
            flags & (LT_FLAG_BIASED | LT_FLAG_PENALISED) ? choose<true>(s, row, in) : choose<false>(s, row, in);
    int* result = results + (size_t)in[LT_ROW_RESULT] * LT_RESULT_SIZE;
    if (threadIdx.x == 0) {
        result[LT_RESULT_TOKEN] = token;
        if (in[ROW_LENGTH] == in[ROW_FIRST] + in[ROW_CHUNK_TOKENS]) {
            tokens[in[ROW_SLOT]] = token;
        }
    }
    if (token < 0) {
        explain(s, row, result);
    } else if (in[LT_ROW_TOP_LOGPROBS] >= 0) {
        addLogprobs(s, row, token, in[LT_ROW_TOP_LOGPROBS], result);
    }
}
