/* The kernels of gemm_skinny.cu and gemm_wgmma.cu against a host in double. */
#include "harness.h"

#include <sstream>

/* A kernel, as LT_KERNELS names it: SKINNY_GEMM(name, K, N, TILES, EPILOGUE, NORMED, INT8) or WGMMA_GEMM(name, K, N,
 * COLUMNS, SPLIT, STAGES, EPILOGUE, NORMED). */
struct Definition {
    std::string name, epilogue;
    int k, n, tiles = 0, columns, split = 1, stages = 0;
    bool normed, int8 = false;
};

static std::vector<Definition> definitions(const Module& module) {
    std::vector<Definition> all;
    std::string text = module.text("KERNELS");
    for (size_t open; (open = text.find('(')) != std::string::npos;) {
        const size_t close = text.find(')');
        const bool skinny = text.substr(0, open).find("SKINNY") != std::string::npos;
        std::vector<std::string> arguments;
        std::stringstream list(text.substr(open + 1, close - open - 1));
        for (std::string argument; std::getline(list, argument, ',');) {
            arguments.push_back(argument.substr(argument.find_first_not_of(' ')));
        }
        Definition d;
        d.name = arguments[0];
        d.k = std::stoi(arguments[1]);
        d.n = std::stoi(arguments[2]);
        if (skinny) {
            d.tiles = std::stoi(arguments[3]);
            d.columns = 8 * d.tiles;
            d.epilogue = arguments[4];
            d.normed = arguments[5] == "true";
            d.int8 = arguments[6] == "true";
        } else {
            d.columns = std::stoi(arguments[3]);
            d.split = std::stoi(arguments[4]);
            d.stages = std::stoi(arguments[5]);
            d.epilogue = arguments[6];
            d.normed = arguments[7] == "true";
        }
        all.push_back(d);
        text = text.substr(close + 1);
    }
    return all;
}

static double activation(const std::string& name, double x) {
    if (name == "GELU_TANH") {
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    }
    if (name == "GELU") {
        return 0.5 * x * (1 + std::erf(x / std::sqrt(2)));
    }
    if (name == "RELU") {
        return std::max(x, 0.0);
    }
    if (name == "QUICK_GELU") {
        return x / (1 + std::exp(-1.702 * x));
    }
    if (name == "SILU") {
        return x / (1 + std::exp(-x));
    }
    return std::tanh(x);
}

/* Random operands of a product, and its result in double. */
struct Problem {
    std::vector<float> x, weights, normWeight, bias, before, scales, sums;
    std::vector<uint8_t> bytes;
    std::vector<double> expected;

    Problem(const Module& module, ElementType type, const Definition& d, int rows)
        : x(randomElements(type, (size_t)rows * d.k, 0.3f)),
          weights(randomElements(type, (size_t)d.n * d.k, 0, 1 / std::sqrt((float)d.k))),
          normWeight(randomElements(type, d.k, 1, 0.2f)), bias(randomElements(type, d.n)),
          before(randomElements(type, (size_t)rows * d.n)), scales(d.n), sums(d.n), bytes(d.int8 ? weights.size() : 0),
          expected((size_t)rows * d.n) {
        int bits = module.number("EPSILON_BITS");
        float epsilon;
        std::memcpy(&epsilon, &bits, 4);
        std::vector<double> w(weights.begin(), weights.end()); // what x, or the normed x, is multiplied by
        for (int column = 0; column < d.n; column++) {
            double* row = &w[(size_t)column * d.k];
            if (d.int8) {
                double max = 0;
                for (int k = 0; k < d.k; k++) {
                    max = std::max(max, std::fabs(row[k]));
                }
                scales[column] = (float)(max / 127);
                for (int k = 0; k < d.k; k++) {
                    const int rounded = (int)std::nearbyint(row[k] / scales[column]);
                    bytes[(size_t)column * d.k + k] = (uint8_t)(rounded + 128);
                    row[k] = (double)rounded * scales[column] * (d.normed ? normWeight[k] : 1);
                }
            }
            double sum = 0;
            for (int k = 0; k < d.k; k++) {
                sum += row[k];
            }
            sums[column] = (float)sum;
        }
        for (int row = 0; row < rows; row++) {
            const float* from = &x[(size_t)row * d.k];
            double mean = 0, deviation = 1;
            if (d.normed) {
                double squares = 0;
                for (int k = 0; k < d.k; k++) {
                    mean += from[k] / (double)d.k;
                }
                for (int k = 0; k < d.k; k++) {
                    squares += (from[k] - mean) * (from[k] - mean) / d.k;
                }
                deviation = std::sqrt(squares + epsilon);
            }
            for (int column = 0; column < d.n; column++) {
                const double* by = &w[(size_t)column * d.k];
                double sum = 0;
                for (int k = 0; k < d.k; k++) {
                    sum += (from[k] - mean) * by[k];
                }
                const size_t at = (size_t)row * d.n + column;
                const double y = sum / deviation + bias[column];
                expected[at] = d.epilogue == "ACTIVATION" ? activation(module.text("ACTIVATION"), y)
                               : d.epilogue == "RESIDUAL" ? before[at] + y
                                                          : y;
            }
        }
    }
};

/* The tensor map of a matrix [rows, columns], with boxes of boxRows rows by boxColumns. */
static CUtensorMap tensorMap(ElementType type, void* matrix, int rows, int columns, int boxRows, int boxColumns) {
    static const auto encode = [] {
        void* function;
        cudaDriverEntryPointQueryResult found;
        CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found));
        return (decltype(&cuTensorMapEncodeTiled))function;
    }();
    CUtensorMap map;
    const cuuint64_t sizes[] = {(cuuint64_t)columns, (cuuint64_t)rows}, strides[] = {2ull * columns};
    const cuuint32_t box[] = {(cuuint32_t)boxColumns, (cuuint32_t)boxRows}, steps[] = {1, 1};
    const CUresult result =
            encode(&map, type.bfloat16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, matrix,
                    sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result != CUDA_SUCCESS) {
        std::fprintf(stderr, "cuTensorMapEncodeTiled: error %d\n", result);
        std::exit(2);
    }
    return map;
}

static void run(const Module& module, const Definition& d, int rows) {
    const ElementType type(module);
    const Problem problem(module, type, d, rows);
    Elements x(type, problem.x), weights(type, problem.weights), normWeight(type, problem.normWeight),
            bias(type, problem.bias), out(type, problem.before.size());
    Device<uint8_t> bytes(problem.bytes);
    Device<float> scales(problem.scales), sums(problem.sums);
    std::function<void(cudaStream_t)> launch;
    if (d.stages == 0) {
        const int blockRows = module.number("SKINNY_ROWS");
        const Launch kernel = {module.kernel(d.name),
                dim3((d.n + d.columns - 1) / d.columns, 1, (rows + blockRows - 1) / blockRows),
                32 * module.number("SKINNY_WARPS")};
        launch = [=, &x, &weights, &normWeight, &bias, &out, &bytes, &scales, &sums](cudaStream_t s) {
            kernel(s, x.get(), d.int8 ? (void*)bytes.get() : weights.get(), scales.get(), normWeight.get(), sums.get(),
                    bias.get(), out.get(), rows);
        };
    } else {
        const int blockRows = module.number("WGMMA_ROWS"), stageK = module.number("WGMMA_K");
        const int shared = 1024 + d.stages * type.bytes() * stageK * (d.columns + blockRows) +
                           (d.split - 1) * d.columns * 4 * blockRows / d.split;
        const Launch kernel = {module.kernel(d.name),
                dim3((d.n + d.columns - 1) / d.columns, d.split, (rows + blockRows - 1) / blockRows),
                module.number(d.normed ? "WGMMA_NORMED_THREADS" : "WGMMA_THREADS"), shared};
        const CUtensorMap xMap = tensorMap(type, x.get(), rows, d.k, blockRows, stageK);
        const CUtensorMap wMap = tensorMap(type, weights.get(), d.n, d.k, d.columns, stageK);
        launch = [=, &sums, &bias, &out](
                         cudaStream_t s) { kernel(s, xMap, wMap, sums.get(), bias.get(), out.get(), rows); };
    }
    if (d.epilogue == "RESIDUAL") {
        out.upload(problem.before);
    }
    launch(stream());
    CHECK(cudaStreamSynchronize(stream()));
    const double error = relativeError(problem.expected, out.download());
    const double weightBytes = (double)d.n * d.k * (d.int8 ? 1 : type.bytes());
    report(d.name + ", " + type.name() + ", " + std::to_string(rows) + " rows", error, type.tolerance(), micros(launch),
            weightBytes + type.bytes() * (double)rows * (d.k + d.n * (d.epilogue == "RESIDUAL" ? 2 : 1)));
}

int main() {
    if (Module::exists("gemm_skinny")) {
        const Module module("gemm_skinny");
        for (const Definition& d : definitions(module)) {
            for (int rows :
                    d.name.find("64") != std::string::npos ? std::vector<int>{17, 64} : std::vector<int>{1, 7, 16}) {
                run(module, d, rows);
            }
        }
    }
    if (Module::exists("gemm_wgmma")) {
        const Module module("gemm_wgmma");
        for (const Definition& d : definitions(module)) {
            for (int rows : d.name.find("64") != std::string::npos ? std::vector<int>{17, 64}
                                                                   : std::vector<int>{65, 256, 300}) {
                run(module, d, rows);
            }
        }
    }
    return finish();
}
