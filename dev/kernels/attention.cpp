/* paged_attention, paged_attention_split_kv, paged_attention_prefill and paged_attention_persistent against a host in
 * double. */
#include "harness.h"

struct Sequence {
    int stored; // tokens in the cache before the step
    int chunk;  // new tokens
};

struct Step {
    const char* name;
    std::vector<Sequence> sequences;
};

static std::vector<Sequence> decodeRows(int rows, int shortest, int longest) {
    std::vector<Sequence> sequences;
    for (int i = 0; i < rows; i++) {
        sequences.push_back({randomInt(shortest, longest) - 1, 1});
    }
    return sequences;
}

/* A step's rows and its cache on host and device. */
class Problem {
  public:
    const ElementType type;
    const int hidden, headSize, heads, pageSize, rowSize;
    const float scale;
    std::vector<int> input; // [B, rowSize]
    int rows = 0;
    std::vector<float> qkv, keys, values;
    std::vector<double> expected;
    double elements = 0; // of keys and values read

    Problem(const Module& module, const std::vector<Sequence>& sequences)
        : type(module), hidden(module.number("HIDDEN")), headSize(module.number("HEAD_SIZE")), heads(hidden / headSize),
          pageSize(module.number("PAGE_SIZE")), rowSize(module.number("ROW_SIZE")),
          scale(1 / std::sqrt((float)headSize)) {
        int pages = 0;
        std::vector<std::vector<int>> pagesOf;
        for (const Sequence& sequence : sequences) {
            const int own = (sequence.stored + sequence.chunk + pageSize - 1) / pageSize;
            pagesOf.emplace_back();
            for (int i = 0; i < own; i++) {
                pagesOf.back().push_back(pages++);
            }
            rows += sequence.chunk;
        }
        std::vector<int> shuffled(pages); // pages are anywhere
        for (int i = 0; i < pages; i++) {
            shuffled[i] = i;
        }
        std::shuffle(shuffled.begin(), shuffled.end(), randomEngine());
        qkv = randomElements(type, (size_t)rows * 3 * hidden);
        keys = randomElements(type, (size_t)pages * pageSize * hidden);
        values = randomElements(type, (size_t)pages * pageSize * hidden);
        expected.resize((size_t)rows * hidden);
        input.assign((size_t)rows * rowSize, 0);
        int line = 0;
        for (size_t s = 0; s < sequences.size(); s++) {
            for (int& page : pagesOf[s]) {
                page = shuffled[page];
            }
            for (int i = 0; i < sequences[s].chunk; i++) {
                int* row = &input[(size_t)(line + i) * rowSize];
                row[module.number("ROW_LENGTH")] = sequences[s].stored + i + 1;
                row[module.number("ROW_CHUNK_TOKENS")] = sequences[s].chunk;
                row[module.number("ROW_FIRST")] = sequences[s].stored;
                std::copy(pagesOf[s].begin(), pagesOf[s].end(), row + module.number("ROW_PAGES"));
                attend(line, i, sequences[s], pagesOf[s]);
            }
            elements += 2.0 * (sequences[s].stored + sequences[s].chunk) * hidden;
            line += sequences[s].chunk;
        }
    }

    /* Where a token of a sequence is in the cache. */
    size_t cached(const std::vector<int>& pages, int token) const {
        return ((size_t)pages[token / pageSize] * pageSize + token % pageSize) * hidden;
    }

  private:
    void attend(int firstLine, int i, const Sequence& sequence, const std::vector<int>& pages) {
        const float* query = &qkv[(size_t)(firstLine + i) * 3 * hidden];
        for (int h = 0; h < heads; h++) {
            const int column = h * headSize;
            const int n = sequence.stored + i + 1;
            std::vector<double> scores(n);
            auto part = [&](int token, int which) { // 1 keys, 2 values
                return token < sequence.stored ? &(which == 1 ? keys : values)[cached(pages, token) + column]
                                               : &qkv[(size_t)(firstLine + token - sequence.stored) * 3 * hidden +
                                                         which * hidden + column];
            };
            double max = -INFINITY, sum = 0;
            for (int j = 0; j < n; j++) {
                const float* key = part(j, 1);
                double score = 0;
                for (int d = 0; d < headSize; d++) {
                    score += (double)query[column + d] * key[d];
                }
                scores[j] = score * scale;
                max = std::max(max, scores[j]);
            }
            double* out = &expected[(size_t)(firstLine + i) * hidden + column];
            for (int j = 0; j < n; j++) {
                const double weight = std::exp(scores[j] - max);
                const float* value = part(j, 2);
                sum += weight;
                for (int d = 0; d < headSize; d++) {
                    out[d] += weight * value[d];
                }
            }
            for (int d = 0; d < headSize; d++) {
                out[d] /= sum;
            }
        }
    }
};

/* The keys and values that a step must have written, of each new token, and got. */
static double cacheError(const Module& module, const Problem& problem, const std::vector<float>& keys,
        const std::vector<float>& values) {
    std::vector<double> expected;
    std::vector<float> got;
    for (int line = 0; line < problem.rows; line++) {
        const int* row = &problem.input[(size_t)line * problem.rowSize];
        const int token = row[module.number("ROW_LENGTH")] - 1;
        const int* pages = row + module.number("ROW_PAGES");
        const size_t at = ((size_t)pages[token / problem.pageSize] * problem.pageSize + token % problem.pageSize) *
                          problem.hidden;
        for (int c = 0; c < problem.hidden; c++) {
            expected.push_back(problem.qkv[((size_t)line * 3 + 1) * problem.hidden + c]);
            expected.push_back(problem.qkv[((size_t)line * 3 + 2) * problem.hidden + c]);
            got.push_back(keys[at + c]);
            got.push_back(values[at + c]);
        }
    }
    return relativeError(expected, got);
}

/* A simple plan: an item for each decode row, or `parts` items, longest first. AttentionPlan.java makes better ones. */
static std::vector<int> plan(const Module& module, const Problem& problem, int parts, int capacity) {
    const int stage = module.number("PERSISTENT_TOKENS");
    struct Item {
        int line, part, parts, begin, end;
    };
    std::vector<std::vector<Item>> items;
    for (int line = 0; line < problem.rows; line++) {
        const int* row = &problem.input[(size_t)line * problem.rowSize];
        if (row[module.number("ROW_CHUNK_TOKENS")] > 1) {
            continue;
        }
        const int tokens = row[module.number("ROW_LENGTH")] - 1;
        const int stages = (tokens + stage - 1) / stage;
        const int own = std::max(1, std::min(parts, stages));
        items.emplace_back();
        for (int part = 0; part < own; part++) {
            items.back().push_back({line, part, own, stages * part / own * stage,
                    std::min(tokens, stages * (part + 1) / own * stage)});
        }
    }
    std::sort(items.begin(), items.end(), [](const std::vector<Item>& a, const std::vector<Item>& b) {
        return a[0].end - a[0].begin > b[0].end - b[0].begin;
    });
    std::vector<int> ints;
    for (const std::vector<Item>& row : items) {
        for (const Item& item : row) {
            ints.insert(ints.end(), {item.line, item.part | item.parts << 16, item.begin, item.end});
        }
    }
    while ((int)ints.size() < 4 * capacity) {
        ints.insert(ints.end(), {-1, 0, 0, 0});
    }
    return ints;
}

/* A step on the device: runs a launch on poisoned outputs, compares, and times it. */
class Run {
  public:
    Run(const Module& module, const Problem& problem, const std::vector<int>& before)
        : module(module), problem(problem), input(before.size() + problem.input.size()), qkv(problem.type, problem.qkv),
          keys(problem.type, problem.keys), values(problem.type, problem.values),
          out(problem.type, (size_t)problem.rows * problem.hidden), offset(before.size()) {
        std::vector<int> all = before;
        all.insert(all.end(), problem.input.begin(), problem.input.end());
        input.upload(all);
    }

    const int* rows() const {
        return input.get() + offset;
    }

    void measure(const std::string& what, const std::function<void(cudaStream_t)>& launch) {
        launch(stream());
        CHECK(cudaStreamSynchronize(stream()));
        const double error = std::max(relativeError(problem.expected, out.download()),
                cacheError(module, problem, keys.download(), values.download()));
        report(what, error, problem.type.tolerance(), micros(launch),
                problem.type.bytes() * (problem.elements + 6.0 * problem.rows * problem.hidden));
    }

    const Module& module;
    const Problem& problem;
    Device<int> input;
    Elements qkv, keys, values, out;

  private:
    const size_t offset;
};

int main() {
    const Module paged("attention_paged");
    const int context = 1000;
    const std::vector<Step> steps = {
            {"1 row of 200 tokens", decodeRows(1, 200, 200)},
            {"1 row of 1000 tokens", decodeRows(1, context, context)},
            {"4 rows of 1 to 1000 tokens", decodeRows(4, 1, context)},
            {"32 rows of 200 tokens", decodeRows(32, 200, 200)},
            {"64 rows of 1 to 1000 tokens", decodeRows(64, 1, context)},
            {"256 rows of 200 tokens", decodeRows(256, 200, 200)},
            {"chunks of 256 and 100 tokens, 10 decode rows",
                    {{0, 256}, {640, 100}, {5, 1}, {99, 1}, {300, 1}, {17, 1}, {0, 1}, {31, 1}, {32, 1}, {900, 1},
                            {1, 1}, {200, 1}}},
    };
    const int threads = paged.number("PAGED_THREADS");
    for (const Step& step : steps) {
        const Problem problem(paged, step.sequences);
        const bool chunks = std::any_of(
                step.sequences.begin(), step.sequences.end(), [](const Sequence& s) { return s.chunk > 1; });
        const std::string suffix = std::string(", ") + problem.type.name() + ": " + step.name;
        const float scale = problem.scale;
        {
            Run run(paged, problem, {});
            const int blocks = problem.rows * problem.heads;
            const Launch launch = {paged.kernel("paged_attention"), dim3(problem.heads, problem.rows),
                    blocks <= 192   ? threads
                    : blocks <= 768 ? 128
                                    : 64};
            run.measure("paged_attention" + suffix, [&](cudaStream_t s) {
                launch(s, run.rows(), run.qkv.get(), run.keys.get(), run.values.get(), scale, run.out.get());
            });
        }
        if (Module::exists("attention_persistent") && problem.rows <= 8) {
            Run run(paged, problem, {});
            const Launch launch = {paged.kernel("paged_attention_split_kv"),
                    dim3(problem.heads, problem.rows, paged.number("PAGED_CLUSTER")), threads};
            run.measure("paged_attention_split_kv" + suffix, [&](cudaStream_t s) {
                launch(s, run.rows(), run.qkv.get(), run.keys.get(), run.values.get(), scale, run.out.get());
            });
        }
        if (Module::exists("attention_prefill") && chunks) {
            const Module prefill("attention_prefill");
            Run run(prefill, problem, {});
            const int queries = prefill.number("PREFILL_QUERIES");
            const Launch launch = {prefill.kernel("paged_attention_prefill"),
                    dim3(problem.heads, (problem.rows + queries - 1) / queries + problem.rows),
                    32 * prefill.number("PREFILL_WARPS")};
            run.measure("paged_attention_prefill" + suffix, [&](cudaStream_t s) {
                launch(s, run.rows(), run.qkv.get(), run.keys.get(), run.values.get(), scale, run.out.get(),
                        problem.rows);
            });
        }
        if (Module::exists("attention_persistent") && !chunks) {
            const Module persistent("attention_persistent");
            const int blockHeads = persistent.number("PERSISTENT_HEADS");
            const int shared = persistent.number("PERSISTENT_STAGES") * 2 * persistent.number("PERSISTENT_TOKENS") *
                               blockHeads * problem.headSize * problem.type.bytes();
            const cudaKernel_t kernel = persistent.kernel("paged_attention_persistent");
            const int blockThreads = 32 * (blockHeads + 1);
            int device, smCount, perSm;
            CHECK(cudaGetDevice(&device));
            CHECK(cudaDeviceGetAttribute(&smCount, cudaDevAttrMultiProcessorCount, device));
            CHECK(cudaFuncSetAttribute((const void*)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
            CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&perSm, (const void*)kernel, blockThreads, shared));
            for (int parts : {1, 3}) {
                const int capacity = parts * problem.rows + 1;
                Run run(persistent, problem, plan(persistent, problem, parts, capacity));
                Device<float> partial((size_t)capacity * problem.heads * persistent.number("PLAN_STATE"));
                Device<int> done((size_t)capacity * problem.heads);
                done.zero();
                const Launch launch = {kernel, dim3(smCount * perSm), blockThreads, shared};
                run.measure("paged_attention_persistent, " + std::to_string(parts) + " parts" + suffix,
                        [&](cudaStream_t s) {
                            launch(s, run.rows(), run.qkv.get(), run.keys.get(), run.values.get(), scale, run.out.get(),
                                    partial.get(), done.get(), capacity);
                        });
                const std::vector<int> counts = done.download();
                if (std::any_of(counts.begin(), counts.end(), [](int count) { return count != 0; })) {
                    std::printf("WRONG: done is not zero after the launch\n");
                    allRight() = false;
                }
            }
        }
    }
    return finish();
}
