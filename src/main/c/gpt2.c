/* GPT-2 on a CPU: weights, KV cache, threads and the steps. JNI functions of io.github.loomtorch.torch.cpu.CpuKernels.
 */
#define _GNU_SOURCE
#include "gpt2.h"

#include <cpuid.h>
#include <immintrin.h>
#include <jni.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef SOURCE_HASH
/* By which a test tells whether the library was made of these sources. */
__attribute__((used)) static const char SOURCE[] = "SHA-256 of the sources: " SOURCE_HASH;
#endif

/* How long a thread spins before it sleeps: for the others within a step, and for the next step. */
enum { SPIN_CYCLES = 100000, STEP_SPIN_CYCLES = 300000 };

enum { LINE = 64, HUGE_PAGE = 2 << 20, ROWS_OF_A_UNIT = 96 };

enum parameter {
    WTE,
    WPE,
    LNF_W,
    LNF_B,
    LM_HEAD,
    LN1_W,
    LN1_B,
    QKV_W,
    QKV_B,
    PROJ_W,
    PROJ_B,
    LN2_W,
    LN2_B,
    FC_W,
    FC_B,
    OUT_W,
    OUT_B
};

struct layer {
    struct linear qkv, proj, fc, out;
    float *ln1_w, *ln1_b, *ln2_w, *ln2_b;
    struct attention attention;
};

/* Tokens of one sequence. */
struct chunk {
    int32_t start, count, wanted;
    int32_t first_row;
    const int32_t* pages;
};

/* Query rows of one chunk that are attended together. */
struct queries {
    int32_t chunk, first, count;
};

struct worker {
    struct model* model;
    pthread_t thread;
    int number;
};

struct model {
    const struct kernels* kernels;
    enum weights kind;
    enum activation activation;
    int32_t vocab, context, hidden, layers, heads, inner, page_size, pages, tied;
    float epsilon;
    struct linear head;
    float *wte, *wpe, *lnf_w, *lnf_b;
    struct layer* layer;
    uint8_t *arena, *cache;
    size_t arena_bytes, arena_used, panel_bytes, cache_bytes;

    /* The step. */
    int32_t* plan;
    int32_t plan_capacity, chunk_count, chunk_capacity, row_count, row_capacity, wanted, wanted_capacity;
    struct chunk* chunks;
    struct queries* queries;
    int32_t query_count, query_capacity;
    const int32_t* ids;
    int32_t *row_position, *row_page, *row_offset, *wanted_row;
    struct rows x, normal, attended, inner_rows, hidden_rows;
    float* qkv;
    size_t scratch_floats; /* of each thread */
    float* scratch;

    /* The threads. The one that calls is thread 0. */
    int32_t threads;
    int32_t started;
    struct worker* others;
    void (*job)(struct model*, int thread, void* argument);
    void* argument;
    int closing;
    _Alignas(LINE) _Atomic uint32_t generation; /* of jobs */
    _Alignas(LINE) _Atomic uint32_t sleepers;
    _Alignas(LINE) _Atomic uint32_t barrier;
    _Alignas(LINE) _Atomic uint32_t arrived;
    _Alignas(LINE) _Atomic uint32_t barrier_sleepers;
    _Alignas(LINE) _Atomic uint32_t next[2]; /* the next unit of a phase, of even and odd phases */
};

/* ---- threads ---- */

static void wait_while(_Atomic uint32_t* word, uint32_t value, _Atomic uint32_t* sleepers, uint64_t cycles) {
    uint64_t start = __rdtsc();
    while (atomic_load_explicit(word, memory_order_acquire) == value) {
        _mm_pause();
        if (__rdtsc() - start > cycles) {
            atomic_fetch_add(sleepers, 1);
            while (atomic_load(word) == value)
                syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
            atomic_fetch_sub(sleepers, 1);
            return;
        }
    }
}

static void advance(_Atomic uint32_t* word, _Atomic uint32_t* sleepers) {
    atomic_fetch_add(word, 1);
    if (atomic_load(sleepers) > 0)
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* All threads meet here; what each wrote before, all read after. */
static void barrier(struct model* m) {
    uint32_t generation = atomic_load_explicit(&m->barrier, memory_order_relaxed);
    if (atomic_fetch_add(&m->arrived, 1) + 1 == (uint32_t)m->threads) {
        atomic_store_explicit(&m->arrived, 0, memory_order_relaxed);
        advance(&m->barrier, &m->barrier_sleepers);
    } else {
        wait_while(&m->barrier, generation, &m->barrier_sleepers, SPIN_CYCLES);
    }
}

static void* work(void* pointer) {
    struct worker* worker = pointer;
    struct model* m = worker->model;
    for (uint32_t generation = 0;; generation++) {
        wait_while(&m->generation, generation, &m->sleepers, STEP_SPIN_CYCLES);
        if (m->closing)
            return NULL;
        m->job(m, worker->number, m->argument);
        barrier(m);
    }
}

static void run(struct model* m, void (*job)(struct model*, int, void*), void* argument) {
    m->job = job;
    m->argument = argument;
    atomic_store(&m->next[0], 0);
    atomic_store(&m->next[1], 0);
    advance(&m->generation, &m->sleepers);
    job(m, 0, argument);
    barrier(m);
}

/* A phase of a job: all threads do units until there are none, then meet. `phase` counts up from 0 in each job. */
struct phase {
    struct model* m;
    uint32_t number;
};

static int take(struct phase* phase, int units) {
    uint32_t unit = atomic_fetch_add_explicit(&phase->m->next[phase->number % 2], 1, memory_order_relaxed);
    return unit < (uint32_t)units ? (int)unit : -1;
}

/* Takes some of `rows` rows: the first, or -1; they end with *end. */
static int take_rows(struct phase* phase, int rows, int* end) {
    int share = rows / (4 * phase->m->threads), count = share > 1 ? share : 1;
    int first = take(phase, (rows + count - 1) / count);
    if (first < 0)
        return -1;
    first *= count;
    *end = first + count < rows ? first + count : rows;
    return first;
}

static void end(struct phase* phase, int thread) {
    barrier(phase->m);
    /* Nobody takes from the counter of this phase before the next one has ended. */
    if (thread == 0)
        atomic_store(&phase->m->next[phase->number % 2], 0);
    phase->number++;
}

/* ---- the step ---- */

/* Outputs of one unit, and rows; a unit of many rows is divided among the threads, one of few streams its weights. */
struct units {
    int columns, column_count, rows, row_count;
};

static struct units units(const struct model* m, const struct linear* linear, int rows) {
    struct units u = {.rows = rows, .row_count = 1};
    int blocks = linear->padded_n / BLOCK;
    int share = blocks / (4 * m->threads);
    u.columns = rows > 16 || share < 1 ? BLOCK : share * BLOCK;
    u.column_count = (linear->padded_n + u.columns - 1) / u.columns;
    if (rows > ROWS_OF_A_UNIT && u.column_count < 16 * m->threads) {
        u.rows = ROWS_OF_A_UNIT;
        u.row_count = (rows + u.rows - 1) / u.rows;
    }
    return u;
}

/* `first` is the row of x that y begins with. */
static void linear_phase(struct phase* phase, int thread, const struct linear* linear, const struct rows* x, int first,
        int rows, float* y, size_t stride, enum activation activation, const float* residual,
        const struct rows* quantized, const struct attention* stored) {
    struct model* m = phase->m;
    struct units u = units(m, linear, rows);
    for (int unit; (unit = take(phase, u.column_count * u.row_count)) >= 0;) {
        int from = unit / u.row_count * u.columns, row = unit % u.row_count * u.rows;
        int to = from + u.columns < linear->padded_n ? from + u.columns : linear->padded_n;
        int count = row + u.rows < rows ? u.rows : rows - row;
        size_t at = (size_t)row * stride;
        m->kernels->multiply(m->kind, linear, x, first + row, count, from, to, y + at, stride, activation,
                residual ? residual + at : NULL);
        for (int r = row; quantized && r < row + count; r++)
            m->kernels->quantize(m->kind, quantized, r, from, to);
        for (int r = row; stored && r < row + count; r++) {
            m->kernels->store(stored, y + (size_t)r * stride, from, to, m->row_page[r], m->row_offset[r]);
        }
    }
    end(phase, thread);
}

static int quantizes(const struct model* m) {
    return m->kernels->quantized_bytes(m->kind) > 0;
}

/* y row `to` = LayerNorm of x row `from` */
static void normalize_row(
        const struct model* m, int from, const float* w, const float* b, const struct rows* y, int to) {
    m->kernels->normalize(
            m->x.values + (size_t)from * m->x.stride, m->hidden, w, b, m->epsilon, y->values + (size_t)to * y->stride);
    if (quantizes(m))
        m->kernels->quantize(m->kind, y, to, 0, y->stride);
}

static void normalize_phase(struct phase* phase, int thread, const float* w, const float* b) {
    struct model* m = phase->m;
    for (int row, last; (row = take_rows(phase, m->row_count, &last)) >= 0;) {
        for (; row < last; row++)
            normalize_row(m, row, w, b, &m->normal, row);
    }
    end(phase, thread);
}

static void embed(const struct model* m, int row) {
    float* x = m->x.values + (size_t)row * m->x.stride;
    const float* position = m->wpe + (size_t)m->row_position[row] * m->hidden;
    if (m->tied) {
        m->kernels->unpack(m->kind, &m->head, m->ids[row], x);
    } else {
        memcpy(x, m->wte + (size_t)m->ids[row] * m->hidden, (size_t)m->hidden * sizeof(float));
    }
    for (int i = 0; i < m->hidden; i++)
        x[i] += position[i];
    memset(x + m->hidden, 0, (size_t)(m->x.stride - m->hidden) * sizeof(float)); /* NaN of an earlier step */
}

static void attention_phase(struct phase* phase, int thread, const struct attention* attention) {
    struct model* m = phase->m;
    float* scratch = m->scratch + m->scratch_floats * thread;
    int head_size = attention->head_size, whole_heads = head_size % BLOCK == 0; /* else a block is of two heads */
    for (int unit; (unit = take(phase, m->query_count * m->heads)) >= 0;) {
        /* One head after the other, so that its keys and values stay in the cache; the longest rows first. */
        int head = unit / m->query_count;
        const struct queries* q = &m->queries[m->query_count - 1 - unit % m->query_count];
        const struct chunk* chunk = &m->chunks[q->chunk];
        size_t row = (size_t)chunk->first_row + q->first;
        m->kernels->attend(attention, chunk->pages, chunk->start + q->first, q->count,
                m->qkv + row * m->layer->qkv.padded_n, m->layer->qkv.padded_n, head,
                m->attended.values + row * m->attended.stride, m->attended.stride, scratch);
        for (int r = 0; quantizes(m) && whole_heads && r < q->count; r++) {
            m->kernels->quantize(m->kind, &m->attended, (int)row + r, head * head_size, (head + 1) * head_size);
        }
    }
    end(phase, thread);
    if (quantizes(m) && !whole_heads) {
        for (int row, last; (row = take_rows(phase, m->row_count, &last)) >= 0;) {
            for (; row < last; row++)
                m->kernels->quantize(m->kind, &m->attended, row, 0, m->attended.stride);
        }
        end(phase, thread);
    }
}

static void step(struct model* m, int thread, void* unused) {
    (void)unused;
    struct phase phase = {m, 0};
    int rows = m->row_count, stride = m->x.stride;
    for (int row, last; (row = take_rows(&phase, rows, &last)) >= 0;) {
        for (; row < last; row++) {
            embed(m, row);
            normalize_row(m, row, m->layer[0].ln1_w, m->layer[0].ln1_b, &m->normal, row);
        }
    }
    end(&phase, thread);
    for (int l = 0; l < m->layers; l++) {
        const struct layer* layer = &m->layer[l];
        if (l > 0)
            normalize_phase(&phase, thread, layer->ln1_w, layer->ln1_b);
        linear_phase(&phase, thread, &layer->qkv, &m->normal, 0, rows, m->qkv, layer->qkv.padded_n, NO_ACTIVATION, NULL,
                NULL, &layer->attention);
        attention_phase(&phase, thread, &layer->attention);
        linear_phase(&phase, thread, &layer->proj, &m->attended, 0, rows, m->x.values, stride, NO_ACTIVATION,
                m->x.values, NULL, NULL);
        normalize_phase(&phase, thread, layer->ln2_w, layer->ln2_b);
        linear_phase(&phase, thread, &layer->fc, &m->normal, 0, rows, m->inner_rows.values, m->inner_rows.stride,
                m->activation, NULL, quantizes(m) ? &m->inner_rows : NULL, NULL);
        linear_phase(&phase, thread, &layer->out, &m->inner_rows, 0, rows, m->x.values, stride, NO_ACTIVATION,
                m->x.values, NULL, NULL);
    }
    for (int i, last; (i = take_rows(&phase, m->wanted, &last)) >= 0;) {
        for (; i < last; i++)
            normalize_row(m, m->wanted_row[i], m->lnf_w, m->lnf_b, &m->hidden_rows, i);
    }
    end(&phase, thread);
}

struct logits {
    int first, count;
    float* target;
    size_t stride;
};

static void logits(struct model* m, int thread, void* argument) {
    const struct logits* l = argument;
    struct phase phase = {m, 0};
    linear_phase(&phase, thread, &m->head, &m->hidden_rows, l->first, l->count, l->target, l->stride, NO_ACTIVATION,
            NULL, NULL, NULL);
}

/* ---- memory ---- */

static void* map(size_t bytes) {
    void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

static void* from_arena(struct model* m, size_t bytes) {
    void* memory = m->arena ? m->arena + m->arena_used : NULL; /* the first time only the sizes are added up */
    m->arena_used += (bytes + LINE - 1) / LINE * LINE;
    return memory;
}

static int round_up(int n, int multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

static void place_linear(struct model* m, struct linear* linear, int k, int n, int with_bias) {
    *linear = (struct linear){.k = k, .n = n, .padded_k = round_up(k, BLOCK), .padded_n = round_up(n, BLOCK)};
    size_t bytes = m->kernels->panel_bytes(m->kind, linear->padded_k, n);
    m->panel_bytes += bytes;
    linear->panels = from_arena(m, bytes);
    if (m->kind == INT8)
        linear->scales = from_arena(m, linear->padded_n * sizeof(float));
    if (with_bias)
        linear->bias = from_arena(m, linear->padded_n * sizeof(float));
}

static void place(struct model* m) {
    int c = m->hidden, padded = round_up(c, BLOCK);
    m->arena_used = m->panel_bytes = 0;
    for (int l = 0; l < m->layers; l++) {
        struct layer* layer = &m->layer[l];
        place_linear(m, &layer->qkv, c, 3 * c, 1);
        place_linear(m, &layer->proj, c, c, 1);
        place_linear(m, &layer->fc, c, m->inner, 1);
        place_linear(m, &layer->out, m->inner, c, 1);
        float** vectors[] = {&layer->ln1_w, &layer->ln1_b, &layer->ln2_w, &layer->ln2_b};
        for (int i = 0; i < 4; i++)
            *vectors[i] = from_arena(m, padded * sizeof(float));
    }
    place_linear(m, &m->head, c, m->vocab, 0);
    m->lnf_w = from_arena(m, padded * sizeof(float));
    m->lnf_b = from_arena(m, padded * sizeof(float));
    m->wpe = from_arena(m, (size_t)m->context * c * sizeof(float));
    if (!m->tied)
        m->wte = from_arena(m, (size_t)m->vocab * c * sizeof(float));
}

static int place_cache(struct model* m, const float* score_scales) {
    int vector = m->kernels->vector, head_size = m->hidden / m->heads;
    struct attention a = {
            .heads = m->heads,
            .head_size = head_size,
            .padded_head_size = round_up(head_size, vector),
            .page_size = m->page_size,
            .hidden_size = m->hidden,
    };
    size_t keys = (size_t)m->pages * m->heads * head_size * a.page_size * sizeof(float);
    size_t values = (size_t)m->pages * m->heads * a.page_size * a.padded_head_size * sizeof(float);
    m->cache_bytes = (keys + values) * m->layers;
    m->cache = map(m->cache_bytes);
    if (!m->cache)
        return 0;
    for (int l = 0; l < m->layers; l++) {
        a.keys = (float*)(m->cache + (keys + values) * l);
        a.values = (float*)(m->cache + (keys + values) * l + keys);
        a.scale = score_scales[l];
        m->layer[l].attention = a;
    }
    return 1;
}

static void free_rows(struct rows* rows) {
    free(rows->values);
    free(rows->quantized);
    free(rows->scales);
    free(rows->correction);
    memset(rows, 0, sizeof *rows);
}

static void* zeros(size_t bytes) {
    void* memory = aligned_alloc(LINE, (bytes + LINE - 1) / LINE * LINE + LINE);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

static int allocate_rows(struct rows* rows, int count, int n, int quantized_bytes) {
    free_rows(rows);
    rows->stride = round_up(n, BLOCK);
    size_t elements = (size_t)round_up(count, TILE_ROWS) * rows->stride;
    rows->values = zeros(elements * sizeof(float));
    if (!rows->values || quantized_bytes == 0)
        return rows->values != NULL;
    rows->quantized = zeros(elements * quantized_bytes);
    rows->scales = zeros(elements / BLOCK * sizeof(float));
    rows->correction = zeros(elements / BLOCK * sizeof(int32_t));
    return rows->quantized && rows->scales && rows->correction;
}

/* Makes an array hold at least `count` elements; what it held is lost. */
static int reserve(void* array, int32_t* capacity, int32_t count, size_t element) {
    void** pointer = array;
    if (count <= *capacity && *pointer)
        return 1;
    free(*pointer);
    *pointer = malloc(count * element);
    *capacity = *pointer ? count : 0;
    return *pointer != NULL;
}

static int reserve_rows(struct model* m, int count) {
    if (count <= m->row_capacity)
        return 1;
    m->row_capacity = 0;
    int quantized = m->kernels->quantized_bytes(m->kind), c = m->hidden, none = 0;
    free(m->qkv);
    m->qkv = zeros((size_t)count * round_up(3 * c, BLOCK) * sizeof(float));
    if (!m->qkv || !allocate_rows(&m->x, count, c, 0) || !allocate_rows(&m->normal, count, c, quantized) ||
            !allocate_rows(&m->attended, count, c, quantized) ||
            !allocate_rows(&m->inner_rows, count, m->inner, quantized) ||
            !reserve(&m->row_position, &none, count, sizeof(int32_t)) ||
            !(none = 0, reserve(&m->row_page, &none, count, sizeof(int32_t))) ||
            !(none = 0, reserve(&m->row_offset, &none, count, sizeof(int32_t)))) {
        return 0;
    }
    m->row_capacity = count;
    return 1;
}

static void destroy(struct model* m) {
    if (m->started > 0) {
        m->closing = 1;
        advance(&m->generation, &m->sleepers);
        for (int i = 0; i < m->started; i++)
            pthread_join(m->others[i].thread, NULL);
    }
    if (m->arena)
        munmap(m->arena, m->arena_bytes);
    if (m->cache)
        munmap(m->cache, m->cache_bytes);
    free(m->layer);
    free(m->others);
    free(m->plan);
    free(m->chunks);
    free(m->queries);
    free(m->row_position);
    free(m->row_page);
    free(m->row_offset);
    free(m->wanted_row);
    free(m->qkv);
    free(m->scratch);
    struct rows* rows[] = {&m->x, &m->normal, &m->attended, &m->inner_rows, &m->hidden_rows};
    for (int i = 0; i < 5; i++)
        free_rows(rows[i]);
    free(m);
}

static struct model* create(const int32_t* sizes, float epsilon, const float* score_scales) {
    struct model* m = zeros(sizeof *m);
    if (!m)
        return NULL;
    m->vocab = sizes[0], m->context = sizes[1], m->hidden = sizes[2], m->layers = sizes[3], m->heads = sizes[4];
    m->inner = sizes[5], m->page_size = sizes[6], m->pages = sizes[7], m->tied = sizes[8], m->kind = sizes[9];
    m->activation = sizes[10], m->threads = sizes[11];
    const struct kernels* sets[] = {&kernels_avx2, &kernels_avx512, &kernels_avx512_bf16, &kernels_amx};
    m->kernels = sets[sizes[12] - 1];
    m->epsilon = epsilon;
    m->layer = calloc(m->layers, sizeof *m->layer);
    m->others = calloc(m->threads, sizeof *m->others);
    if (m->layer && m->others) {
        place(m);
        m->arena_bytes = (m->arena_used + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        m->arena = map(m->arena_bytes);
    }
    if (!m->arena || !place_cache(m, score_scales)) {
        destroy(m);
        return NULL;
    }
    place(m);
    for (int i = 1; i < m->threads; i++) {
        m->others[i - 1].model = m;
        m->others[i - 1].number = i;
        if (pthread_create(&m->others[i - 1].thread, NULL, work, &m->others[i - 1]) != 0) {
            destroy(m);
            return NULL;
        }
        m->started++;
    }
    return m;
}

/* ---- weights ---- */

struct load {
    struct linear* linear;
    const void* elements;
    enum dtype dtype;
    int out_first;
    _Atomic int failed;
};

static void load_linear(struct model* m, int thread, void* argument) {
    struct load* load = argument;
    struct phase phase = {m, 0};
    (void)thread;
    float* scratch = malloc((size_t)load->linear->padded_k * BLOCK * sizeof(float));
    if (!scratch) {
        load->failed = 1;
        return;
    }
    for (int unit; (unit = take(&phase, load->linear->padded_n / BLOCK)) >= 0;) {
        m->kernels->pack(m->kind, load->linear, load->elements, load->dtype, load->out_first, unit * BLOCK,
                (unit + 1) * BLOCK, scratch);
    }
    free(scratch);
}

static int load_parameter(
        struct model* m, enum parameter parameter, int l, const void* elements, enum dtype dtype, int out_first) {
    struct layer* layer = &m->layer[l];
    struct linear* linears[] = {&layer->qkv, &layer->proj, &layer->fc, &layer->out};
    struct linear* linear = NULL;
    float* vector = NULL;
    size_t n = m->hidden;
    switch (parameter) {
    case WTE:
        if (m->tied) {
            linear = &m->head;
            out_first = 1;
        } else {
            vector = m->wte;
            n *= m->vocab;
        }
        break;
    case LM_HEAD:
        linear = &m->head;
        out_first = 1;
        break;
    case WPE:
        vector = m->wpe;
        n *= m->context;
        break;
    case LNF_W:
        vector = m->lnf_w;
        break;
    case LNF_B:
        vector = m->lnf_b;
        break;
    case LN1_W:
        vector = layer->ln1_w;
        break;
    case LN1_B:
        vector = layer->ln1_b;
        break;
    case LN2_W:
        vector = layer->ln2_w;
        break;
    case LN2_B:
        vector = layer->ln2_b;
        break;
    case QKV_W:
    case PROJ_W:
        linear = linears[(parameter - QKV_W) / 2];
        break;
    case FC_W:
    case OUT_W:
        linear = linears[2 + (parameter - FC_W) / 2];
        break;
    case QKV_B:
    case PROJ_B:
        vector = linears[(parameter - QKV_B) / 2]->bias;
        n = linears[(parameter - QKV_B) / 2]->n;
        break;
    case FC_B:
    case OUT_B:
        vector = linears[2 + (parameter - FC_B) / 2]->bias;
        n = linears[2 + (parameter - FC_B) / 2]->n;
        break;
    }
    if (linear) {
        struct load load = {linear, elements, dtype, out_first, 0};
        run(m, load_linear, &load);
        return !load.failed;
    }
    m->kernels->convert(elements, dtype, 0, n, vector);
    return 1;
}

/* ---- a step's plan ---- */

/* Returns the number of wanted rows, or -1 if memory ran out. */
static int prepare(struct model* m) {
    const int32_t* at = m->plan;
    int n = *at++, rows = 0, wanted = 0, none, query_count = 0, most_tokens = 0;
    if (!reserve(&m->chunks, &m->chunk_capacity, n, sizeof *m->chunks))
        return -1;
    for (int i = 0; i < n; i++, at += 3) {
        m->chunks[i] = (struct chunk){at[0], at[1], at[2], rows, NULL};
        rows += at[1];
        wanted += at[2];
        query_count += (at[1] + m->kernels->query_rows - 1) / m->kernels->query_rows;
        if (at[0] + at[1] > most_tokens)
            most_tokens = at[0] + at[1];
    }
    m->ids = at;
    at += rows;
    if (!reserve_rows(m, rows) || !reserve(&m->queries, &m->query_capacity, query_count, sizeof *m->queries))
        return -1;
    if (wanted > m->wanted_capacity) {
        m->wanted_capacity = none = 0;
        if (!allocate_rows(&m->hidden_rows, wanted, m->hidden, m->kernels->quantized_bytes(m->kind)) ||
                !reserve(&m->wanted_row, &none, wanted, sizeof(int32_t))) {
            return -1;
        }
        m->wanted_capacity = wanted;
    }
    size_t scratch = ((size_t)m->kernels->query_rows * round_up(most_tokens + 64, 64) +
                             (size_t)m->hidden / m->heads * m->kernels->vector + 15) /
                     16 * 16;
    if (scratch > m->scratch_floats) {
        m->scratch_floats = 0;
        free(m->scratch);
        m->scratch = zeros(scratch * m->threads * sizeof(float));
        if (!m->scratch)
            return -1;
        m->scratch_floats = scratch;
    }
    m->chunk_count = n;
    m->row_count = rows;
    m->wanted = m->query_count = 0;
    for (int i = 0; i < n; i++) {
        struct chunk* chunk = &m->chunks[i];
        chunk->pages = at;
        at += (chunk->start + chunk->count + m->page_size - 1) / m->page_size;
        for (int j = 0; j < chunk->count; j++) {
            int row = chunk->first_row + j, position = chunk->start + j;
            m->row_position[row] = position;
            m->row_page[row] = chunk->pages[position / m->page_size];
            m->row_offset[row] = position % m->page_size;
            if (j >= chunk->count - chunk->wanted)
                m->wanted_row[m->wanted++] = row;
        }
    }
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < m->chunks[i].count; j += m->kernels->query_rows) {
            int left = m->chunks[i].count - j;
            m->queries[m->query_count++] =
                    (struct queries){i, j, left < m->kernels->query_rows ? left : m->kernels->query_rows};
        }
    }
    return m->wanted;
}

/* ---- JNI ---- */

#define JNI(type, name) JNIEXPORT type JNICALL Java_io_github_loomtorch_torch_cpu_CpuKernels_##name

/* Asks the operating system for the registers of AMX, which it saves only for processes that have asked. */
static int may_use_amx(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA */
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

/* 4: AMX, 3: AVX-512 with BF16, 2: AVX-512 with VNNI, 1: AVX2, 0: none of them. What the processor has, and what the
   operating system saves. */
static int instruction_set(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || ~c & (bit_OSXSAVE | bit_FMA | bit_F16C | bit_AVX | bit_MOVBE))
        return 0;
    unsigned saved, high;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 0x06) != 0x06 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || ~b & (bit_AVX2 | bit_BMI | bit_BMI2))
        return 0;
    unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD;
    if ((saved & 0xe6) != 0xe6 || ~b & avx512 || !(c & bit_AVX512VNNI))
        return 1;
    int amx = !(~d & (bit_AMXTILE | bit_AMXBF16)) && (saved & 0x60000) == 0x60000;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & bit_AVX512BF16))
        return 2;
    return amx && may_use_amx() ? 4 : 3;
}

JNI(jint, instructionSet)(JNIEnv* env, jclass class) {
    (void)env, (void)class;
    return instruction_set();
}

JNI(jlong, create)(JNIEnv* env, jclass class, jintArray sizes, jfloat epsilon, jfloatArray score_scales) {
    (void)class;
    jint values[13];
    (*env)->GetIntArrayRegion(env, sizes, 0, 13, values);
    float* scales = (*env)->GetFloatArrayElements(env, score_scales, NULL);
    if (!scales)
        return 0;
    struct model* m = create(values, epsilon, scales);
    (*env)->ReleaseFloatArrayElements(env, score_scales, scales, JNI_ABORT);
    return (jlong)(intptr_t)m;
}

static struct model* model(jlong handle) {
    return (struct model*)(intptr_t)handle;
}

JNI(jboolean, load)(JNIEnv* env, jclass class, jlong handle, jint parameter, jint layer, jobject elements, jint dtype,
        jboolean out_first) {
    (void)class;
    return (jboolean)load_parameter(
            model(handle), parameter, layer, (*env)->GetDirectBufferAddress(env, elements), dtype, out_first);
}

JNI(jint, step)(JNIEnv* env, jclass class, jlong handle, jintArray plan, jint length) {
    (void)class;
    struct model* m = model(handle);
    if (!reserve(&m->plan, &m->plan_capacity, length, sizeof(int32_t)))
        return -1;
    (*env)->GetIntArrayRegion(env, plan, 0, length, m->plan);
    int wanted = prepare(m);
    if (wanted >= 0)
        run(m, step, NULL);
    return wanted;
}

JNI(void, logits)(JNIEnv* env, jclass class, jlong handle, jint first, jint count, jobject target) {
    (void)class;
    struct model* m = model(handle);
    struct logits l = {first, count, (*env)->GetDirectBufferAddress(env, target), round_up(m->vocab, 64)};
    run(m, logits, &l);
}

JNI(jlong, weightBytes)(JNIEnv* env, jclass class, jlong handle) {
    (void)env, (void)class;
    return (jlong)model(handle)->panel_bytes;
}

static void read_arena(struct model* m, int thread, void* argument) {
    _Atomic uint64_t* total = argument;
    struct phase phase = {m, 0};
    (void)thread;
    uint64_t sum = 0;
    for (int unit; (unit = take(&phase, (int)(m->arena_bytes / HUGE_PAGE))) >= 0;) {
        const uint64_t* words = (const uint64_t*)(m->arena + (size_t)unit * HUGE_PAGE);
        for (size_t i = 0; i < HUGE_PAGE / sizeof(uint64_t); i++)
            sum += words[i];
    }
    atomic_fetch_add(total, sum);
}

JNI(jdouble, readBandwidth)(JNIEnv* env, jclass class, jlong handle) {
    (void)env, (void)class;
    struct model* m = model(handle);
    _Atomic uint64_t total = 0;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    run(m, read_arena, &total);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return m->arena_bytes / ((to.tv_sec - from.tv_sec) + 1e-9 * (to.tv_nsec - from.tv_nsec));
}

JNI(void, close)(JNIEnv* env, jclass class, jlong handle) {
    (void)env, (void)class;
    destroy(model(handle));
}
