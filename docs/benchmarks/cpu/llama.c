// The worker of compare.py for llama.cpp, over the libraries of @node-llama-cpp/linux-x64: arguments MODEL.gguf
// THREADS.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    char rest[512];
} __attribute__((aligned(8))) ModelParams;
typedef struct {
    uint32_t n_ctx, n_batch, n_ubatch, n_seq_max;
    char rest[512];
} __attribute__((aligned(8))) ContextParams;
typedef struct {
    int32_t n_tokens, *token;
    float* embd;
    int32_t *pos, *n_seq_id, **seq_id;
    int8_t* logits;
} Batch;
ModelParams llama_model_default_params(void);
ContextParams llama_context_default_params(void);
void* llama_model_load_from_file(const char*, ModelParams);
void* llama_init_from_model(void*, ContextParams);
Batch llama_batch_init(int32_t, int32_t, int32_t);
int32_t llama_decode(void*, Batch);
float* llama_get_logits_ith(void*, int32_t);
void llama_backend_init(void);
void llama_set_n_threads(void*, int32_t, int32_t);
void* llama_get_memory(void*);
void llama_memory_clear(void*, _Bool);
void ggml_backend_load_all(void);
void llama_log_set(void*, void*);

enum { SEQUENCES = 16, VOCABULARY = 50257 };
static void* context;
static Batch batch;

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void quiet(int level, const char* text, void* data) {
}

static void add(int token, int position, int sequence, int wanted) {
    int i = batch.n_tokens++;
    batch.token[i] = token;
    batch.pos[i] = position;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = sequence;
    batch.logits[i] = wanted;
}

static double run(int requests, int prompt, int output) {
    int row[SEQUENCES], next[SEQUENCES];
    double first = 0;
    llama_memory_clear(llama_get_memory(context), 1);
    batch.n_tokens = 0;
    for (int b = 0; b < requests; b++) {
        for (int i = 0; i < prompt; i++)
            add(rand() % 50256, i, b, i == prompt - 1);
        row[b] = batch.n_tokens - 1;
    }
    for (int o = 0; o < output; o++) {
        if (llama_decode(context, batch))
            exit(3);
        for (int b = 0; b < requests; b++) {
            float* logits = llama_get_logits_ith(context, row[b]);
            next[b] = 0;
            for (int i = 1; i < VOCABULARY; i++)
                if (logits[i] > logits[next[b]])
                    next[b] = i;
        }
        if (o == 0)
            first = now(CLOCK_MONOTONIC);
        batch.n_tokens = 0;
        for (int b = 0; b < requests; b++)
            add(next[b], prompt + o, b, 1), row[b] = b;
    }
    return first;
}

int main(int count, char** arguments) {
    llama_log_set(quiet, 0);
    ggml_backend_load_all(); // of this processor, beside this program
    llama_backend_init();
    void* model = llama_model_load_from_file(arguments[1], llama_model_default_params());
    ContextParams params = llama_context_default_params();
    params.n_ctx = SEQUENCES * 1024;
    params.n_batch = 4096;
    params.n_ubatch = 512;
    params.n_seq_max = SEQUENCES;
    context = model ? llama_init_from_model(model, params) : 0;
    if (!context)
        return 2;
    llama_set_n_threads(context, atoi(arguments[2]), atoi(arguments[2]));
    batch = llama_batch_init(4096, 0, 1);
    run(1, 12, 4);
    printf("ready\n");
    fflush(stdout);
    for (int requests, prompt, output; scanf("%d %d %d", &requests, &prompt, &output) == 3;) {
        double cpu = now(CLOCK_PROCESS_CPUTIME_ID), start = now(CLOCK_MONOTONIC), first = 0;
        for (int done = 0; done < requests; done += SEQUENCES) {
            double time = run(requests < SEQUENCES ? requests : SEQUENCES, prompt, output);
            if (!first)
                first = time;
        }
        double end = now(CLOCK_MONOTONIC), busy = now(CLOCK_PROCESS_CPUTIME_ID);
        usleep(300000);
        printf("{\"seconds\": %f, \"first\": %f, \"cpu\": %f, \"idle_cpu\": %f}\n", end - start, first - start,
                busy - cpu, now(CLOCK_PROCESS_CPUTIME_ID) - busy);
        fflush(stdout);
    }
}
