/*
 * What the programs of this folder share: modules with their options, device memory, random inputs, comparison with a
 * host reference, and timing by a replayed CUDA graph.
 *
 * A program exits with 0 if all results are right, else with 1.
 */
#pragma once
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#define CHECK(call)                                                                                         \
    do {                                                                                                    \
        const cudaError_t error_ = (call);                                                                  \
        if (error_ != cudaSuccess) {                                                                        \
            std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_)); \
            std::exit(2);                                                                                   \
        }                                                                                                   \
    } while (0)

/* The seed of all random inputs: new in each run, printed, or given by the environment variable SEED. */
inline std::mt19937_64& randomEngine() {
    static std::mt19937_64 engine = [] {
        const char* given = std::getenv("SEED");
        const uint64_t seed = given ? std::strtoull(given, nullptr, 10)
                                    : (uint64_t)std::chrono::steady_clock::now().time_since_epoch().count();
        std::printf("repeat with SEED=%llu\n", (unsigned long long)seed);
        return std::mt19937_64(seed);
    }();
    return engine;
}

inline int randomInt(int from, int to) { // both included
    return std::uniform_int_distribution<int>(from, to)(randomEngine());
}

inline float randomNormal(float mean = 0, float deviation = 1) {
    return std::normal_distribution<float>(mean, deviation)(randomEngine());
}

/* A compiled module, build/NAME.cubin, and the options that it was compiled with. */
class Module {
  public:
    explicit Module(const std::string& name) : name(name) {
        const std::string path = folder() + "/" + name;
        std::ifstream file(path + ".options");
        if (!file) {
            std::fprintf(stderr, "%s.options: no such file; see README.md\n", path.c_str());
            std::exit(2);
        }
        for (std::string line; std::getline(file, line);) {
            const size_t equals = line.find('=');
            if (line.rfind("-DLT_", 0) == 0 && equals != std::string::npos) {
                constants[line.substr(5, equals - 5)] = line.substr(equals + 1);
            }
        }
        CHECK(cudaLibraryLoadFromFile(&library, (path + ".cubin").c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    }

    /* LT_<name>, as text and as a number. */
    const std::string& text(const std::string& constant) const {
        const auto found = constants.find(constant);
        if (found == constants.end()) {
            std::fprintf(stderr, "%s has no option LT_%s\n", name.c_str(), constant.c_str());
            std::exit(2);
        }
        return found->second;
    }

    int number(const std::string& constant) const {
        return std::atoi(text(constant).c_str());
    }

    bool has(const std::string& constant) const {
        return constants.count(constant) > 0;
    }

    cudaKernel_t kernel(const std::string& kernelName) const {
        cudaKernel_t kernel;
        CHECK(cudaLibraryGetKernel(&kernel, library, kernelName.c_str()));
        return kernel;
    }

    static bool exists(const std::string& name) {
        return std::ifstream(folder() + "/" + name + ".cubin").good();
    }

    /* Where cubins and options are: the environment variable KERNELS, or the working directory. */
    static std::string folder() {
        const char* given = std::getenv("KERNELS");
        return given ? given : ".";
    }

  private:
    const std::string name;
    cudaLibrary_t library;
    std::map<std::string, std::string> constants;
};

/* Elements on the host: floats that are rounded as the device's elements are. */
struct ElementType {
    int bits;
    bool bfloat16;

    explicit ElementType(const Module& module)
        : bits(module.number("ELEMENT_BITS")), bfloat16(module.number("BFLOAT16") != 0) {
    }

    int bytes() const {
        return bits / 8;
    }

    const char* name() const {
        return bits == 32 ? "float32" : bfloat16 ? "bfloat16" : "float16";
    }

    /* Error of a result relative to the largest, that rounding explains. */
    double tolerance() const {
        return bits == 32 ? 2e-5 : bfloat16 ? 3e-2 : 4e-3;
    }

    uint16_t pack(float x) const {
        uint32_t raw;
        std::memcpy(&raw, &x, 4);
        if (bfloat16) {
            return x != x ? 0x7fff : (uint16_t)((raw + 0x7fff + (raw >> 16 & 1)) >> 16);
        }
        return packHalf(x);
    }

    float unpack(uint16_t x) const {
        if (bfloat16) {
            const uint32_t raw = (uint32_t)x << 16;
            float y;
            std::memcpy(&y, &raw, 4);
            return y;
        }
        return unpackHalf(x);
    }

    float round(float x) const {
        return bits == 32 ? x : unpack(pack(x));
    }

  private:
    static float unpackHalf(uint16_t x) {
        const int exponent = x >> 10 & 31, fraction = x & 1023;
        const float sign = x & 0x8000 ? -1 : 1;
        if (exponent == 31) {
            return fraction ? NAN : sign * INFINITY;
        }
        return sign *
               (exponent == 0 ? std::ldexp((float)fraction, -24) : std::ldexp((float)(fraction + 1024), exponent - 25));
    }

    static uint16_t packHalf(float x) { // to nearest, ties to even
        const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
        const float size = std::fabs(x);
        if (x != x) {
            return 0x7fff;
        }
        if (size >= 65520) {
            return sign | 0x7c00;
        }
        int exponent;
        std::frexp(size, &exponent);                   // size = f 2^exponent, f in [0.5, 1)
        const int unit = std::max(exponent - 11, -24); // of the last place
        const int count = (int)std::nearbyint(std::ldexp(size, -unit));
        if (count == 0) {
            return sign;
        }
        return sign | (uint16_t)(unit == -24 ? count : count + ((unit + 24) << 10)); // a carry moves to the exponent
    }
};

/* Device memory. New memory is poisoned: all bits set, a NaN in every type of element. */
template <typename T>
class Device {
  public:
    explicit Device(size_t count) : count(count) {
        CHECK(cudaMalloc(&data, std::max<size_t>(count, 1) * sizeof(T)));
        poison();
    }

    explicit Device(const std::vector<T>& host) : Device(host.size()) {
        upload(host);
    }

    Device(const Device&) = delete;

    ~Device() {
        cudaFree(data);
    }

    void poison() {
        CHECK(cudaMemset(data, 0xff, count * sizeof(T)));
    }

    void zero() {
        CHECK(cudaMemset(data, 0, count * sizeof(T)));
    }

    void upload(const std::vector<T>& host) {
        CHECK(cudaMemcpy(data, host.data(), count * sizeof(T), cudaMemcpyHostToDevice));
    }

    std::vector<T> download() const {
        std::vector<T> host(count);
        CHECK(cudaMemcpy(host.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost));
        return host;
    }

    T* get() const {
        return data;
    }

  private:
    size_t count;
    T* data;
};

/* Elements on the device, floats on the host. */
class Elements {
  public:
    Elements(ElementType type, size_t count) : type(type), count(count), bytes(count * type.bytes()) {
    }

    Elements(ElementType type, const std::vector<float>& host) : Elements(type, host.size()) {
        upload(host);
    }

    void upload(const std::vector<float>& host) {
        std::vector<uint8_t> raw(count * type.bytes());
        for (size_t i = 0; i < count; i++) {
            if (type.bits == 32) {
                std::memcpy(&raw[4 * i], &host[i], 4);
            } else {
                const uint16_t x = type.pack(host[i]);
                std::memcpy(&raw[2 * i], &x, 2);
            }
        }
        bytes.upload(raw);
    }

    std::vector<float> download() const {
        const std::vector<uint8_t> raw = bytes.download();
        std::vector<float> host(count);
        for (size_t i = 0; i < count; i++) {
            if (type.bits == 32) {
                std::memcpy(&host[i], &raw[4 * i], 4);
            } else {
                uint16_t x;
                std::memcpy(&x, &raw[2 * i], 2);
                host[i] = type.unpack(x);
            }
        }
        return host;
    }

    void poison() {
        bytes.poison();
    }

    void* get() const {
        return bytes.get();
    }

  private:
    const ElementType type;
    const size_t count;
    Device<uint8_t> bytes;
};

/* Random elements, rounded. */
inline std::vector<float> randomElements(ElementType type, size_t count, float mean = 0, float deviation = 1) {
    std::vector<float> values(count);
    for (float& value : values) {
        value = type.round(randomNormal(mean, deviation));
    }
    return values;
}

/* Launches on a stream. Arguments are passed as the kernel declares them. */
struct Launch {
    cudaKernel_t kernel;
    dim3 grid;
    int threads;
    int sharedBytes = 0;

    template <typename... Args>
    void operator()(cudaStream_t stream, Args... args) const {
        void* pointers[] = {(void*)&args...};
        if (sharedBytes > 0) {
            CHECK(cudaFuncSetAttribute((const void*)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sharedBytes));
        }
        CHECK(cudaLaunchKernel((const void*)kernel, grid, dim3(threads), pointers, sharedBytes, stream));
    }
};

inline cudaStream_t stream() {
    static cudaStream_t stream = [] {
        cudaStream_t made;
        CHECK(cudaStreamCreate(&made));
        return made;
    }();
    return stream;
}

/* Microseconds of one launch: the median of 11 replays of a graph of 50 launches. */
inline double micros(const std::function<void(cudaStream_t)>& launch) {
    constexpr int LAUNCHES = 50, REPLAYS = 11;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < LAUNCHES; i++) {
        launch(stream());
    }
    CHECK(cudaStreamEndCapture(stream(), &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    cudaEvent_t begun, done;
    CHECK(cudaEventCreate(&begun));
    CHECK(cudaEventCreate(&done));
    std::vector<float> times;
    for (int i = -2; i < REPLAYS; i++) {
        CHECK(cudaEventRecord(begun, stream()));
        CHECK(cudaGraphLaunch(exec, stream()));
        CHECK(cudaEventRecord(done, stream()));
        CHECK(cudaStreamSynchronize(stream()));
        float millis;
        CHECK(cudaEventElapsedTime(&millis, begun, done));
        if (i >= 0) {
            times.push_back(millis * 1e3f / LAUNCHES);
        }
    }
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    std::sort(times.begin(), times.end());
    return times[REPLAYS / 2];
}

inline bool& allRight() {
    static bool right = true;
    return right;
}

/* The largest difference, relative to the largest expected value; infinite if a result is NaN where none is expected.
 */
inline double relativeError(const std::vector<double>& expected, const std::vector<float>& got) {
    double largest = 0, difference = 0;
    for (size_t i = 0; i < expected.size(); i++) {
        largest = std::max(largest, std::fabs(expected[i]));
        if (!(std::fabs(expected[i] - got[i]) <= difference)) {
            difference = std::isnan(got[i]) ? INFINITY : std::fabs(expected[i] - got[i]);
        }
    }
    return difference / std::max(largest, 1e-30);
}

/* Prints a line, and remembers whether the error is small enough. `bytes`: the fewest that a launch moves. */
inline void report(const std::string& what, double error, double tolerance, double micros, double bytes) {
    const bool right = error <= tolerance;
    allRight() &= right;
    std::printf("%-64s error %.1e %s  %8.2f us  %7.0f GB/s\n", what.c_str(), error, right ? "ok   " : "WRONG", micros,
            bytes / micros / 1e3);
    std::fflush(stdout);
}

inline int finish() {
    std::printf(allRight() ? "all results are right\n" : "some results are WRONG\n");
    return allRight() ? 0 : 1;
}
