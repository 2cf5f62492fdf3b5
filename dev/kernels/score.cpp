/*
 * score against a host in double precision, from the same logits: within 1e-4, and the same bits whatever other rows
 * there are.
 */
#include "harness.h"

static float floatOf(int bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

struct Errors {
    double logprob = 0, entropy = 0, variance = 0, wordStarts = 0;
    int wrong = 0; // ranks and tokens
};

static void note(double& largest, double error) {
    if (!(std::fabs(error) <= largest)) {
        largest = std::isnan(error) ? INFINITY : std::fabs(error);
    }
}

static void compare(const Module& module, const std::vector<float>& logits, int target, int flags, int top,
        const std::vector<unsigned>& wordStarts, const int* result, Errors& errors) {
    const int vocab = (int)logits.size();
    auto at = [&](const char* field) { return result[module.number(std::string("RESULT_") + field)]; };
    const double max = *std::max_element(logits.begin(), logits.end());
    double sum = 0, mean = 0, square = 0, starts = 0;
    int rank = 1;
    for (int id = 0; id < vocab; id++) {
        const double difference = logits[id] - max, p = std::exp(difference);
        sum += p;
        if (p > 0) {
            mean += p * difference;
            square += p * difference * difference;
        }
        starts += wordStarts[id / 32] >> id % 32 & 1 ? p : 0;
        rank += logits[id] > logits[target];
    }
    mean /= sum;
    errors.wrong += at("RANK") != rank;
    const unsigned* mass = (const unsigned*)&result[module.number("RESULT_MASS")];
    const double logMass = std::log(((double)mass[1] * 4294967296.0 + mass[0]) * 0x1p-40);
    const double logSum = (double)floatOf(at("MAX_LOGIT")) + logMass;
    note(errors.logprob, floatOf(at("TOKEN_LOGIT")) - logSum - (logits[target] - max - std::log(sum)));
    if (flags & module.number("SCORE_STATISTICS")) {
        note(errors.entropy, logMass - floatOf(at("MEAN")) - (std::log(sum) - mean));
        const double variance = square / sum - mean * mean;
        note(errors.variance, (floatOf(at("VARIANCE")) - variance) / std::max(1.0, variance));
    }
    if (flags & module.number("SCORE_WORD_STARTS")) {
        note(errors.wordStarts, std::log(floatOf(at("WORD_STARTS"))) - std::log(starts / sum));
    }
    std::vector<int> order(vocab);
    for (int id = 0; id < vocab; id++) {
        order[id] = id;
    }
    const int k = std::min(top, vocab);
    std::partial_sort(order.begin(), order.begin() + k, order.end(),
            [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
    for (int i = 0; i < k; i++) {
        const int* pair = result + module.number("RESULT_TOP") + 2 * i;
        errors.wrong += pair[0] != order[i] || floatOf(pair[1]) != logits[order[i]];
    }
}

static void run(const std::string& name, int rows) {
    const Module module(name);
    const ElementType type(module);
    const int vocab = module.number("VOCAB"), padded = module.number("PADDED_VOCAB"),
              size = module.number("SCORE_SIZE"), stride = module.number("RESULT_TOP") + 2 * 20;
    std::vector<float> logits((size_t)rows * padded, type.round(1e4f)); // padding must never count
    std::vector<int> input((size_t)rows * size), plain, detailed;
    std::vector<unsigned> wordStarts(padded / 32);
    for (unsigned& bits : wordStarts) {
        bits = (unsigned)randomEngine()();
    }
    auto pick = [](std::vector<float> values) { return values[randomInt(0, (int)values.size() - 1)]; };
    for (int row = 0; row < rows; row++) {
        const float deviation = pick({0.01f, 1, 3, 10}), offset = pick({0, -60, 20});
        const int kind = randomInt(0, 9); // 0: all equal, 1 to 3: many ties, 4: most are -infinity
        for (int id = 0; id < vocab; id++) {
            const float logit = kind == 0 ? offset : offset + deviation * randomNormal();
            logits[(size_t)row * padded + id] =
                    kind == 4 && id % 10 ? -INFINITY : type.round(kind < 4 ? std::round(logit) : logit);
        }
        int* in = &input[(size_t)row * size];
        in[module.number("SCORE_ROW")] = rows - 1 - row;
        in[module.number("SCORE_TARGET")] = randomInt(0, vocab / 10) * (vocab > 10 ? 10 : 1) % vocab;
        in[module.number("SCORE_FLAGS")] = randomInt(0, 3);
        in[module.number("SCORE_TOP")] = (int)pick({0, 1, 5, 20});
    }
    Elements deviceLogits(type, logits);
    const Device<int> deviceInput(input);
    const Device<unsigned> deviceStarts(wordStarts);
    Device<int> results((size_t)rows * stride);
    const Launch launch = {module.kernel("score"), dim3(rows), module.number("SAMPLE_THREADS")};
    auto score = [&](cudaStream_t s, const Launch& how, const int* first, int* to) {
        how(s, first, deviceLogits.get(), deviceStarts.get(), to, stride);
    };
    score(stream(), launch, deviceInput.get(), results.get());
    CHECK(cudaStreamSynchronize(stream()));
    const std::vector<int> got = results.download();
    Errors errors;
    for (int row = 0; row < rows; row++) {
        const int* in = &input[(size_t)row * size];
        const float* own = &logits[(size_t)in[module.number("SCORE_ROW")] * padded];
        compare(module, std::vector<float>(own, own + vocab), in[module.number("SCORE_TARGET")],
                in[module.number("SCORE_FLAGS")], in[module.number("SCORE_TOP")], wordStarts,
                &got[(size_t)row * stride], errors);
    }
    results.poison();
    for (int row = 0; row < rows; row++) { // each alone
        score(stream(), {launch.kernel, dim3(1), launch.threads}, deviceInput.get() + (size_t)row * size,
                results.get() + (size_t)row * stride);
    }
    CHECK(cudaStreamSynchronize(stream()));
    const std::vector<int> alone = results.download();
    errors.wrong += std::memcmp(alone.data(), got.data(), got.size() * sizeof(int)) != 0;
    const double worst =
            std::max({errors.logprob, errors.entropy, errors.variance, errors.wordStarts, (double)errors.wrong});

    for (float& logit : logits) { // without the many ties above, which take longer
        logit = type.round(3 * randomNormal());
    }
    deviceLogits.upload(logits);
    const double bytes = (double)rows * padded * type.bytes();
    for (int flags : {0, module.number("SCORE_STATISTICS"), 3}) {
        for (int row = 0; row < rows; row++) {
            input[(size_t)row * size + module.number("SCORE_FLAGS")] = flags;
            input[(size_t)row * size + module.number("SCORE_TOP")] = flags == 0 ? 0 : 5;
        }
        const Device<int> same(input);
        const double time = micros([&](cudaStream_t s) { score(s, launch, same.get(), results.get()); });
        report(name + ", " + std::to_string(rows) + " rows" +
                        (flags == 0         ? ", log-probabilities"
                                : flags < 3 ? ", statistics, top 5"
                                            : ", word starts too"),
                worst, 1e-4, time, bytes);
    }
}

int main() {
    for (const char* name : {"score_32", "score_16"}) {
        if (Module::exists(name)) {
            run(name, 7);
            run(name, 512);
        }
    }
    return finish();
}
