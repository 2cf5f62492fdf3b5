/*
 * sample against a host that samples as the package documentation of io.github.loomtorch.sampling says: equal tokens,
 * bit for bit. Compile without fused multiply-add.
 */
#include "harness.h"

struct Params {
    bool greedy;
    float temperature, topP, minP, uniform;
    int topK;
};

static float exponentOf(float logit, float max, float scale) {
    return (logit - max) * scale;
}

/* 2^exponent in units of 2^-40, to about 24 bits. */
static uint64_t weightOf(float exponent) {
    exponent = std::max(exponent, -41.f);
    const float f = exponent - (float)(int)exponent;
    float power = 1.14919952e-4f;
    for (float c : {1.29163684e-3f, 9.59703512e-3f, 5.54992296e-2f, 2.40226090e-1f, 6.93147182e-1f, 1.f}) {
        power = power * f + c;
    }
    return (uint64_t)(int)(power * 16777216.f) << 16 >> (int)(exponent * -32.f) / 32;
}

static int sampleOnHost(const std::vector<float>& logits, const Params& params, float scale, float minExponent) {
    std::vector<int> order(logits.size());
    for (size_t i = 0; i < order.size(); i++) {
        order[i] = (int)i;
    }
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
    if (params.greedy) {
        return order[0];
    }
    const float max = logits[order[0]];
    size_t last = order.size(); // tokens that count: the k largest and those equal to the k-th
    if (params.topK > 0 && params.topK < (int)logits.size()) {
        last = params.topK;
        while (last < order.size() && logits[order[last]] == logits[order[last - 1]]) {
            last++;
        }
    }
    std::vector<uint64_t> upTo(last); // mass up to each
    uint64_t mass = 0, above = 0;
    for (size_t i = 0; i < last; i++) {
        const float exponent = exponentOf(logits[order[i]], max, scale);
        mass += weightOf(exponent);
        above += exponent >= minExponent ? weightOf(exponent) : 0;
        upTo[i] = mass;
    }
    auto find = [&](uint64_t target) { return std::upper_bound(upTo.begin(), upTo.end(), target) - upTo.begin(); };
    if (params.topP < 1) {
        mass = upTo[find((uint64_t)(int64_t)std::ceil((double)params.topP * (double)(int64_t)mass) - 1)];
    }
    if (minExponent > -INFINITY) {
        mass = std::min(mass, above);
    }
    return order[find((uint64_t)(int64_t)((double)params.uniform * (double)(int64_t)mass))];
}

static int bitsOf(float x) {
    int bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

static void run(const std::string& name, int rows) {
    const Module module(name);
    const ElementType type(module);
    const int vocab = module.number("VOCAB"), padded = module.number("PADDED_VOCAB"),
              rowSize = module.number("ROW_SIZE"), resultSize = module.number("RESULT_SIZE");
    std::vector<float> logits((size_t)rows * padded, type.round(1e4f)); // padding must never win
    std::vector<int> input((size_t)rows * rowSize), expected;
    auto pick = [](std::vector<float> values) { return values[randomInt(0, (int)values.size() - 1)]; };
    for (int row = 0; row < rows; row++) {
        const float deviation = pick({0.01f, 1, 3, 10}), offset = pick({0, -60, 20});
        const bool coarse = randomInt(0, 2) == 0; // many ties
        std::vector<float> own(vocab);
        for (int id = 0; id < vocab; id++) {
            const float logit = offset + deviation * randomNormal();
            own[id] = logits[(size_t)row * padded + id] = type.round(coarse ? std::round(logit) : logit);
        }
        const Params params = {randomInt(0, 5) == 0, pick({0.05f, 0.7f, 1, 1.5f, 8}), pick({1, 1, 0.95f, 0.5f, 1e-4f}),
                pick({0, 0, 0.01f, 0.3f}), std::uniform_real_distribution<float>(0, 0.9999999f)(randomEngine()),
                (int)pick({0, 1, 3, 50, 128, 129, 3000})};
        const float scale = (float)(1 / std::log(2.0) / params.temperature);
        const float minExponent = params.minP == 0 ? -INFINITY : (float)(std::log((double)params.minP) / std::log(2.0));
        int* in = &input[(size_t)row * rowSize];
        in[module.number("ROW_FLAGS")] =
                module.number("FLAG_SAMPLES") | (params.greedy ? module.number("FLAG_GREEDY") : 0);
        in[module.number("ROW_SLOT")] = row;
        in[module.number("ROW_TOP_K")] = params.topK;
        in[module.number("ROW_SCALE")] = bitsOf(scale);
        in[module.number("ROW_TOP_P")] = bitsOf(params.topP);
        in[module.number("ROW_MIN_EXPONENT")] = bitsOf(minExponent);
        in[module.number("ROW_UNIFORM")] = bitsOf(params.uniform);
        in[module.number("ROW_TOP_LOGPROBS")] = -1;
        in[module.number("ROW_RESULT")] = row;
        expected.push_back(sampleOnHost(own, params, scale, minExponent));
    }
    const Elements deviceLogits(type, logits);
    const Device<int> deviceInput(input);
    Device<int> results((size_t)rows * resultSize), tokens(rows);
    const Launch launch = {module.kernel("sample"), dim3(rows), module.number("SAMPLE_THREADS")};
    auto work = [&](cudaStream_t s) {
        launch(s, deviceInput.get(), deviceLogits.get(), (float*)nullptr, (unsigned short*)nullptr, results.get(),
                tokens.get());
    };
    work(stream());
    CHECK(cudaStreamSynchronize(stream()));
    const std::vector<int> got = tokens.download(), gotResults = results.download();
    int wrong = 0;
    for (int row = 0; row < rows; row++) {
        if (got[row] != expected[row] ||
                gotResults[(size_t)row * resultSize + module.number("RESULT_TOKEN")] != expected[row]) {
            std::printf("WRONG: row %d: expected %d, got %d\n", row, expected[row], got[row]);
            wrong++;
        }
    }
    report(name + ", " + type.name() + ", " + std::to_string(rows) + " rows of mixed parameters", wrong, 0,
            micros(work), (double)rows * padded * type.bytes());
}

int main() {
    run("sample_1024", 64);
    run("sample_512", 200);
    return finish();
}
