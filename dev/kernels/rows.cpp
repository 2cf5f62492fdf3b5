/* Embeddings, writes to the KV cache, LayerNorm and head against a host in double. */
#include "harness.h"

static void embeddings() {
    const Module module("embedding");
    const ElementType type(module);
    const int hidden = module.number("HIDDEN"), rowSize = module.number("ROW_SIZE"), vocab = 1000, positions = 1024,
              rows = 100;
    const std::vector<float> wte = randomElements(type, (size_t)vocab * hidden),
                             wpe = randomElements(type, (size_t)positions * hidden);
    std::vector<int> input((size_t)rows * rowSize), sampled(rows), ids(rows), places(rows);
    std::vector<double> expected;
    for (int row = 0; row < rows; row++) {
        ids[row] = randomInt(0, vocab - 1);
        places[row] = randomInt(0, positions - 1);
        const bool known = randomInt(0, 1) == 1;
        input[row * rowSize + module.number("ROW_TOKEN")] = known ? ids[row] : -1;
        input[row * rowSize + module.number("ROW_SLOT")] = rows - 1 - row;
        input[row * rowSize + module.number("ROW_LENGTH")] = places[row] + 1;
        sampled[rows - 1 - row] = known ? randomInt(0, vocab - 1) : ids[row];
        for (int c = 0; c < hidden; c++) {
            expected.push_back((double)wte[(size_t)ids[row] * hidden + c] + wpe[(size_t)places[row] * hidden + c]);
        }
    }
    const Elements token(type, wte), position(type, wpe);
    const Device<int> deviceInput(input), deviceSampled(sampled), deviceIds(ids), devicePlaces(places);
    const double bytes = 3.0 * rows * hidden * type.bytes();
    {
        Elements x(type, expected.size());
        const Launch launch = {module.kernel("embed_decode"), dim3(rows), 256};
        auto work = [&](cudaStream_t s) {
            launch(s, deviceInput.get(), deviceSampled.get(), token.get(), position.get(), x.get());
        };
        work(stream());
        report("embed_decode, 100 rows", relativeError(expected, x.download()), type.tolerance(), micros(work), bytes);
    }
    Elements x(type, expected.size());
    const Launch launch = {module.kernel("embed_prefill"), dim3(rows), 256};
    auto work = [&](cudaStream_t s) {
        launch(s, deviceIds.get(), devicePlaces.get(), token.get(), position.get(), x.get());
    };
    work(stream());
    report("embed_prefill, 100 rows", relativeError(expected, x.download()), type.tolerance(), micros(work), bytes);
}

static void cacheWrites() {
    const Module module("kv_cache");
    const ElementType type(module);
    const int hidden = module.number("HIDDEN"), rows = 500;
    std::vector<int> to(rows);
    for (int row = 0; row < rows; row++) {
        to[row] = row % 7 == 3 ? -1 : rows - 1 - row;
    }
    const std::vector<float> qkv = randomElements(type, (size_t)rows * 3 * hidden);
    const Elements deviceQkv(type, qkv);
    const Device<int> deviceTo(to);
    Elements keys(type, (size_t)rows * hidden), values(type, (size_t)rows * hidden);
    const Launch launch = {module.kernel("write_kv_cache"), dim3(rows), 96};
    auto work = [&](cudaStream_t s) { launch(s, deviceQkv.get(), deviceTo.get(), keys.get(), values.get()); };
    work(stream());
    const std::vector<float> gotKeys = keys.download(), gotValues = values.download();
    std::vector<double> expected;
    std::vector<float> got;
    bool untouched = true;
    for (int row = 0; row < rows; row++) {
        for (int c = 0; c < hidden; c++) {
            if (to[row] < 0) {
                untouched &= std::isnan(gotKeys[(size_t)(rows - 1 - row) * hidden + c]);
            } else {
                expected.push_back(qkv[((size_t)row * 3 + 1) * hidden + c]);
                expected.push_back(qkv[((size_t)row * 3 + 2) * hidden + c]);
                got.push_back(gotKeys[(size_t)to[row] * hidden + c]);
                got.push_back(gotValues[(size_t)to[row] * hidden + c]);
            }
        }
    }
    report("write_kv_cache, 500 rows", untouched ? relativeError(expected, got) : INFINITY, 0, micros(work),
            4.0 * rows * hidden * type.bytes());
}

static float epsilonOf(const Module& module) {
    const int bits = module.number("EPSILON_BITS");
    float epsilon;
    std::memcpy(&epsilon, &bits, 4);
    return epsilon;
}

static std::vector<double> normed(const std::vector<double>& x, int hidden, const std::vector<float>& weight,
        const std::vector<float>& bias, float epsilon) {
    std::vector<double> out(x.size());
    for (size_t row = 0; row < x.size() / hidden; row++) {
        const double* from = &x[row * hidden];
        double mean = 0, square = 0;
        for (int c = 0; c < hidden; c++) {
            mean += from[c] / hidden;
        }
        for (int c = 0; c < hidden; c++) {
            square += (from[c] - mean) * (from[c] - mean) / hidden;
        }
        for (int c = 0; c < hidden; c++) {
            out[row * hidden + c] = (from[c] - mean) / std::sqrt(square + epsilon) * weight[c] + bias[c];
        }
    }
    return out;
}

static void layerNorm() {
    const Module module("layer_norm");
    const ElementType type(module);
    const int hidden = module.number("HIDDEN");
    const std::vector<float> weight = randomElements(type, hidden, 1, 0.2f), bias = randomElements(type, hidden),
                             more = randomElements(type, hidden);
    const Elements deviceWeight(type, weight), deviceBias(type, bias), deviceMore(type, more);
    for (int rows : {17, 300}) {
        for (bool pending : {false, true}) {
            const std::vector<float> x = randomElements(type, (size_t)rows * hidden, 0.5f);
            std::vector<double> sum(x.begin(), x.end());
            for (size_t i = 0; pending && i < sum.size(); i++) {
                sum[i] = type.round((float)(sum[i] + more[i % hidden]));
            }
            Elements deviceX(type, x), out(type, x.size());
            const Launch launch = {module.kernel("layer_norm"), dim3((rows + 3) / 4), 128};
            auto work = [&](cudaStream_t s) {
                launch(s, deviceX.get(), pending ? deviceMore.get() : nullptr, deviceWeight.get(), deviceBias.get(),
                        out.get(), rows);
            };
            work(stream());
            const double error =
                    std::max(relativeError(normed(sum, hidden, weight, bias, epsilonOf(module)), out.download()),
                            relativeError(sum, deviceX.download()));
            report("layer_norm, " + std::to_string(rows) + " rows" + (pending ? " with a residual bias" : ""), error,
                    type.tolerance(), micros(work), (pending ? 3.0 : 2.0) * rows * hidden * type.bytes());
        }
    }
}

static void lmHead() {
    const Module module("lm_head");
    const ElementType type(module);
    const int hidden = module.number("HIDDEN"), padded = module.number("PADDED_VOCAB"),
              maxRows = module.number("HEAD_ROWS");
    const bool int8 = module.number("INT8_HEAD") != 0;
    const std::vector<float> weight = randomElements(type, hidden, 1, 0.2f), bias = randomElements(type, hidden);
    std::vector<float> w = randomElements(type, (size_t)padded * hidden, 0, 1 / std::sqrt((float)hidden)),
                       scales(padded);
    std::vector<uint8_t> bytes(int8 ? w.size() : 0);
    for (int column = 0; int8 && column < padded; column++) {
        float* row = &w[(size_t)column * hidden];
        scales[column] = *std::max_element(row, row + hidden) / 127;
        for (int c = 0; c < hidden; c++) {
            const int rounded = std::clamp((int)std::nearbyint(row[c] / scales[column]), -127, 127);
            bytes[(size_t)column * hidden + c] = (uint8_t)(rounded + 128);
            row[c] = rounded * scales[column];
        }
    }
    const Elements deviceWeight(type, weight), deviceBias(type, bias), deviceW(type, int8 ? std::vector<float>() : w);
    const Device<uint8_t> deviceBytes(bytes);
    const Device<float> deviceScales(scales);
    int device, smCount;
    CHECK(cudaGetDevice(&device));
    CHECK(cudaDeviceGetAttribute(&smCount, cudaDevAttrMultiProcessorCount, device));
    for (int rows : {1, 9, maxRows}) {
        const std::vector<float> x = randomElements(type, (size_t)rows * hidden, 0.5f);
        const std::vector<double> norm =
                normed(std::vector<double>(x.begin(), x.end()), hidden, weight, bias, epsilonOf(module));
        std::vector<double> expected((size_t)rows * padded);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < padded; column++) {
                double sum = 0;
                for (int c = 0; c < hidden; c++) {
                    sum += norm[(size_t)row * hidden + c] * w[(size_t)column * hidden + c];
                }
                expected[(size_t)row * padded + column] = sum;
            }
        }
        const Elements deviceX(type, x);
        Elements logits(type, expected.size());
        const Launch launch = {module.kernel("lm_head"), dim3(2 * smCount), 32 * module.number("HEAD_WARPS"),
                2 * maxRows * module.number("HEAD_STRIDE")};
        auto work = [&](cudaStream_t s) {
            launch(s, deviceX.get(), deviceWeight.get(), deviceBias.get(),
                    int8 ? (void*)deviceBytes.get() : deviceW.get(), deviceScales.get(), logits.get(), rows);
        };
        work(stream());
        report("lm_head, " + std::to_string(rows) + " rows", relativeError(expected, logits.download()),
                type.tolerance(), micros(work),
                (double)padded * hidden * (int8 ? 1 : type.bytes()) + (double)rows * padded * type.bytes());
    }
}

int main() {
    embeddings();
    cacheWrites();
    if (Module::exists("layer_norm")) {
        layerNorm();
        lmHead();
    }
    return finish();
}
