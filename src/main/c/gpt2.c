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
enum { SPIN_CYCLES = 100000, STEP_SPIN_CYCLES = 1000000 };

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
    const struct job* job;
    void* argument; /* of the job */
    _Atomic int closing;
    _Alignas(LINE) _Atomic uint64_t ticket; /* see "threads" */
    _Alignas(LINE) _Atomic uint32_t opened; /* the upper half of the ticket, when a phase has been opened */
    _Alignas(LINE) _Atomic uint32_t sleepers;
};

static int round_up(int n, int multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

/* ---- threads ---- */

/* A job is a sequence of phases, a phase some units of work in any order. A phase begins when all units of the one
   before are done. Threads take units as they come: nobody waits for a thread that sleeps or that the system does not
   let run, unless it has taken a unit.

   The ticket has, from the highest bit: the number of the job (16 bits), its phase (16), how many units are left to be
   taken (21), and how many threads are at work on some (11). Who is at work may read what belongs to the job. The last
   to leave a phase opens the next. */
struct job {
    int phases;
    int (*units)(struct model*, int phase);
    void (*work)(struct model*, int phase, int from, int to, int thread);
};

enum { AT_WORK_BITS = 11, MOST_UNITS = (1 << 21) - 1, NO_PHASE = 0xffff }; /* Java allows 1,024 threads and layers */

static uint64_t ticket(uint64_t number, int phase, int left, int at_work) {
    return (number & 0xffff) << 48 | (uint64_t)phase << 32 | (uint64_t)left << AT_WORK_BITS | (uint64_t)at_work;
}

static uint64_t number_of(uint64_t ticket) {
    return ticket >> 48;
}

static int phase_of(uint64_t ticket) {
    return ticket >> 32 & 0xffff;
}

static int left_of(uint64_t ticket) {
    return (uint32_t)ticket >> AT_WORK_BITS;
}

static int at_work_of(uint64_t ticket) {
    return ticket & ((1 << AT_WORK_BITS) - 1);
}

/* How many units are taken at once: fewer and fewer, so that all threads end at the same time. */
static int share_of(const struct model* m, int left) {
    int share = left / (2 * m->threads);
    return share > 1 ? share : left > 0;
}

/* The beginning of the first phase that has units, from `phase` on; the caller has taken the first of them. */
static uint64_t open_phase(struct model* m, uint64_t number, int phase) {
    for (; phase < m->job->phases; phase++) {
        int units = m->job->units(m, phase);
        if (units > 0)
            return ticket(number, phase, units - share_of(m, units), 1);
    }
    return ticket(number, NO_PHASE, 0, 0);
}

/* Each value is stored once, but one of the job before may be stored late, over a newer one. That is harmless: a thread
   reads `opened` before the ticket, so it waits only for a value that comes after what the ticket showed. */
static void wake(struct model* m, uint64_t ticket) {
    atomic_store(&m->opened, (uint32_t)(ticket >> 32));
    if (atomic_load(&m->sleepers) > 0)
        syscall(SYS_futex, &m->opened, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void wait_while(struct model* m, uint32_t opened, uint64_t cycles) {
    uint64_t start = __rdtsc();
    while (atomic_load_explicit(&m->opened, memory_order_acquire) == opened) {
        _mm_pause();
        if (__rdtsc() - start > cycles) {
            atomic_fetch_add(&m->sleepers, 1);
            while (atomic_load(&m->opened) == opened)
                syscall(SYS_futex, &m->opened, FUTEX_WAIT_PRIVATE, opened, NULL, NULL, 0);
            atomic_fetch_sub(&m->sleepers, 1);
            return;
        }
    }
}

/* Does units [from, from + count) of a phase, the last that were left, and more until there are none. The last thread
   to leave a phase goes on with the next. */
static void work_in_phase(struct model* m, int phase, int from, int count, int thread) {
    for (;;) {
        m->job->work(m, phase, from, from + count, thread);
        uint64_t now = atomic_load_explicit(&m->ticket, memory_order_relaxed), next;
        do {
            from = left_of(now);
            count = share_of(m, from);
            if (from > 0) {
                next = ticket(number_of(now), phase, from - count, at_work_of(now));
            } else if (at_work_of(now) > 1) {
                next = ticket(number_of(now), phase, 0, at_work_of(now) - 1);
            } else {
                next = open_phase(m, number_of(now), phase + 1);
            }
        } while (!atomic_compare_exchange_weak(&m->ticket, &now, next));
        if (from == 0 && at_work_of(now) > 1)
            return;
        if (from == 0) { /* opened the next phase */
            wake(m, next);
            phase = phase_of(next);
            if (phase == NO_PHASE)
                return;
            from = m->job->units(m, phase);
            count = share_of(m, from);
        }
        from -= count;
    }
}

/* Works until the job is done, or `forever`: then on all jobs, until the model is closed. */
static void work_on(struct model* m, int thread, int forever) {
    for (;;) {
        uint32_t opened = atomic_load(&m->opened);
        uint64_t now = atomic_load(&m->ticket);
        int left = left_of(now), count = share_of(m, left);
        if (left > 0) {
            uint64_t next = ticket(number_of(now), phase_of(now), left - count, at_work_of(now) + 1);
            if (atomic_compare_exchange_strong(&m->ticket, &now, next))
                work_in_phase(m, phase_of(now), left - count, count, thread);
        } else if (phase_of(now) != NO_PHASE) {
            wait_while(m, opened, SPIN_CYCLES);
        } else if (!forever || m->closing) {
            return;
        } else {
            wait_while(m, opened, STEP_SPIN_CYCLES);
        }
    }
}

static void* run_worker(void* pointer) {
    struct worker* worker = pointer;
    work_on(worker->model, worker->number, 1);
    return NULL;
}

static void run(struct model* m, const struct job* job, void* argument) {
    m->job = job;
    m->argument = argument;
    uint64_t first = open_phase(m, number_of(atomic_load(&m->ticket)) + 1, 0);
    atomic_store(&m->ticket, first);
    wake(m, first);
    int phase = phase_of(first);
    if (phase == NO_PHASE)
        return;
    int units = job->units(m, phase), count = share_of(m, units);
    work_in_phase(m, phase, units - count, count, 0);
    work_on(m, 0, 0);
}

/* ---- the step ---- */

/* A product of the step; `first` is the row of x that y begins with. */
struct product {
    const struct linear* linear;
    const struct rows* x;
    int first, rows;
    float* y;
    size_t stride;
    enum activation activation;
    const float* residual;
    const struct rows* quantized;   /* y, if it is quantized */
    const struct attention* stored; /* where keys and values go, if y has them */
};

/* A unit is BLOCK outputs of all rows, or of some where there are many rows and few outputs. */
static int row_units(const struct model* m, const struct linear* linear, int rows) {
    int blocks = linear->padded_n / BLOCK, parts = (rows + ROWS_OF_A_UNIT - 1) / ROWS_OF_A_UNIT;
    return blocks < 16 * m->threads && (int64_t)blocks * parts <= MOST_UNITS ? parts : 1;
}

static int product_units(const struct model* m, const struct linear* linear, int rows) {
    return linear->padded_n / BLOCK * row_units(m, linear, rows);
}

static void multiply(const struct model* m, const struct product* p, int row, int end, int from, int to) {
    size_t at = (size_t)row * p->stride;
    m->kernels->multiply(m->kind, p->linear, p->x, p->first + row, end - row, from, to, p->y + at, p->stride,
            p->activation, p->residual ? p->residual + at : NULL);
    for (int r = row; p->quantized && r < end; r++)
        m->kernels->quantize(m->kind, p->quantized, r, from, to);
    for (int r = row; p->stored && r < end; r++) {
        m->kernels->store(p->stored, p->y + (size_t)r * p->stride, from, to, m->row_page[r], m->row_offset[r]);
    }
}

static void work_on_product(const struct model* m, const struct product* p, int from, int to) {
    int parts = row_units(m, p->linear, p->rows);
    if (parts == 1) {
        multiply(m, p, 0, p->rows, from * BLOCK, to * BLOCK);
        return;
    }
    for (int unit = from; unit < to; unit++) {
        int column = unit / parts * BLOCK, row = unit % parts * ROWS_OF_A_UNIT;
        int end = row + ROWS_OF_A_UNIT < p->rows ? row + ROWS_OF_A_UNIT : p->rows;
        multiply(m, p, row, end, column, column + BLOCK);
    }
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

/* Whether heads are whole blocks; if not, a block of the attention's output is of two heads. */
static int whole_blocks(const struct model* m) {
    return m->hidden / m->heads % BLOCK == 0;
}

/* Units are in the order of heads, so that the keys and values of one stay in the cache; the last ones, which are taken
   first, are long. */
static void attend(struct model* m, const struct attention* attention, int unit, int thread) {
    int head = unit / m->query_count;
    const struct queries* q = &m->queries[unit % m->query_count];
    const struct chunk* chunk = &m->chunks[q->chunk];
    int row = chunk->first_row + q->first, head_size = attention->head_size;
    size_t stride = m->layer->qkv.padded_n, y_stride = m->attended.stride;
    m->kernels->attend(attention, chunk->pages, chunk->start + q->first, q->count, m->qkv + row * stride, stride, head,
            m->attended.values + row * y_stride, y_stride, m->scratch + m->scratch_floats * thread);
    for (int r = row; quantizes(m) && whole_blocks(m) && r < row + q->count; r++) {
        m->kernels->quantize(m->kind, &m->attended, r, head * head_size, (head + 1) * head_size);
    }
}

/* The phases of a layer. Before them the tokens are embedded, after them what is wanted is normalized. */
enum part { NORM_1, QKV, ATTEND, QUANTIZE, PROJ, NORM_2, FC, OUT, PARTS };

static struct product product(const struct model* m, const struct layer* layer, enum part part) {
    struct product p = {.rows = m->row_count, .y = m->x.values, .stride = m->x.stride, .activation = NO_ACTIVATION};
    switch (part) {
    case QKV:
        p.linear = &layer->qkv;
        p.x = &m->normal;
        p.y = m->qkv;
        p.stride = layer->qkv.padded_n;
        p.stored = &layer->attention;
        break;
    case FC:
        p.linear = &layer->fc;
        p.x = &m->normal;
        p.y = m->inner_rows.values;
        p.stride = m->inner_rows.stride;
        p.activation = m->activation;
        p.quantized = quantizes(m) ? &m->inner_rows : NULL;
        break;
    default:
        p.linear = part == PROJ ? &layer->proj : &layer->out;
        p.x = part == PROJ ? &m->attended : &m->inner_rows;
        p.residual = m->x.values;
    }
    return p;
}

static int step_phases(const struct model* m) {
    return 1 + m->layers * PARTS + 1;
}

static int step_units(struct model* m, int phase) {
    if (phase == 0)
        return m->row_count;
    if (phase == step_phases(m) - 1)
        return m->wanted;
    enum part part = (phase - 1) % PARTS;
    switch (part) {
    case NORM_1:
        return phase == 1 ? 0 : m->row_count; /* done with the embedding */
    case NORM_2:
        return m->row_count;
    case ATTEND:
        return m->query_count * m->heads;
    case QUANTIZE:
        return quantizes(m) && !whole_blocks(m) ? m->row_count : 0;
    default:
        return product_units(m, product(m, &m->layer[(phase - 1) / PARTS], part).linear, m->row_count);
    }
}

static void work_on_step(struct model* m, int phase, int from, int to, int thread) {
    const struct layer* layer = &m->layer[phase == 0 ? 0 : (phase - 1) / PARTS];
    if (phase == 0) {
        for (int row = from; row < to; row++) {
            embed(m, row);
            normalize_row(m, row, layer->ln1_w, layer->ln1_b, &m->normal, row);
        }
        return;
    }
    if (phase == step_phases(m) - 1) {
        for (int i = from; i < to; i++)
            normalize_row(m, m->wanted_row[i], m->lnf_w, m->lnf_b, &m->hidden_rows, i);
        return;
    }
    enum part part = (phase - 1) % PARTS;
    switch (part) {
    case NORM_1:
    case NORM_2:
        for (int row = from; row < to; row++) {
            normalize_row(m, row, part == NORM_1 ? layer->ln1_w : layer->ln2_w,
                    part == NORM_1 ? layer->ln1_b : layer->ln2_b, &m->normal, row);
        }
        break;
    case ATTEND:
        for (int unit = to - 1; unit >= from; unit--)
            attend(m, &layer->attention, unit, thread);
        break;
    case QUANTIZE:
        for (int row = from; row < to; row++)
            m->kernels->quantize(m->kind, &m->attended, row, 0, m->attended.stride);
        break;
    default: {
        struct product p = product(m, layer, part);
        work_on_product(m, &p, from, to);
    }
    }
}

static void step(struct model* m) {
    run(m, &(struct job){step_phases(m), step_units, work_on_step}, NULL);
}

static int logits_units(struct model* m, int phase) {
    (void)phase;
    const struct product* p = m->argument;
    return product_units(m, p->linear, p->rows);
}

static void work_on_logits(struct model* m, int phase, int from, int to, int thread) {
    (void)phase, (void)thread;
    work_on_product(m, m->argument, from, to);
}

/* Logits of some of the wanted rows. */
static void logits(struct model* m, int first, int count, float* target) {
    struct product p = {&m->head, &m->hidden_rows, first, count, target, (size_t)round_up(m->vocab, 64), NO_ACTIVATION,
            NULL, NULL, NULL};
    run(m, &(struct job){1, logits_units, work_on_logits}, &p);
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
    if (quantized_bytes > 1) /* bfloat16, without scales */
        return rows->quantized != NULL;
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
        uint64_t end = ticket(number_of(m->ticket) + 1, NO_PHASE, 0, 0);
        m->ticket = end;
        wake(m, end);
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
    m->ticket = ticket(0, NO_PHASE, 0, 0);
    m->opened = (uint32_t)(m->ticket >> 32);
    for (int i = 1; i < m->threads; i++) {
        m->others[i - 1].model = m;
        m->others[i - 1].number = i;
        if (pthread_create(&m->others[i - 1].thread, NULL, run_worker, &m->others[i - 1]) != 0) {
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
    float* scratch; /* of each thread [padded_k, BLOCK] */
};

static int load_units(struct model* m, int phase) {
    (void)phase;
    const struct load* load = m->argument;
    return load->linear->padded_n / BLOCK;
}

static void work_on_load(struct model* m, int phase, int from, int to, int thread) {
    (void)phase;
    const struct load* load = m->argument;
    float* scratch = load->scratch + (size_t)load->linear->padded_k * BLOCK * thread;
    m->kernels->pack(
            m->kind, load->linear, load->elements, load->dtype, load->out_first, from * BLOCK, to * BLOCK, scratch);
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
        float* scratch = malloc((size_t)linear->padded_k * BLOCK * m->threads * sizeof(float));
        if (!scratch)
            return 0;
        struct load load = {linear, elements, dtype, out_first, scratch};
        run(m, &(struct job){1, load_units, work_on_load}, &load);
        free(scratch);
        return 1;
    }
    m->kernels->convert(elements, dtype, 0, n, vector);
    return 1;
}

/* ---- a step's plan ---- */

/* Returns the number of wanted rows, or -1 if memory ran out or there are too many rows. */
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
    if (rows > MOST_UNITS || (int64_t)query_count * m->heads > MOST_UNITS)
        return -1;
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
    unsigned more, high, saved;
    if (!__get_cpuid(0x80000001, &a, &b, &more, &d) || !(more & bit_LZCNT))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 0x06) != 0x06 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || ~b & (bit_AVX2 | bit_BMI | bit_BMI2))
        return 0;
    unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD;
    if ((saved & 0xe6) != 0xe6 || ~b & avx512 || !(c & bit_AVX512VNNI))
        return 1;
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 }; /* compilers name them differently */
    int amx = !(~d & (AMX_BF16 | AMX_TILE)) && (saved & 0x60000) == 0x60000;
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
        step(m);
    return wanted;
}

JNI(void, logits)(JNIEnv* env, jclass class, jlong handle, jint first, jint count, jobject target) {
    (void)class;
    struct model* m = model(handle);
    logits(m, first, count, (*env)->GetDirectBufferAddress(env, target));
}

JNI(jlong, weightBytes)(JNIEnv* env, jclass class, jlong handle) {
    (void)env, (void)class;
    return (jlong)model(handle)->panel_bytes;
}

static int arena_units(struct model* m, int phase) {
    (void)phase;
    return (int)(m->arena_bytes / HUGE_PAGE);
}

static void read_arena(struct model* m, int phase, int from, int to, int thread) {
    (void)phase, (void)thread;
    const uint64_t *words = (const uint64_t*)(m->arena + (size_t)from * HUGE_PAGE),
                   *end = (const uint64_t*)(m->arena + (size_t)to * HUGE_PAGE);
    uint64_t sum = 0;
    for (; words < end; words++)
        sum += *words;
    atomic_fetch_add((_Atomic uint64_t*)m->argument, sum);
}

JNI(jdouble, readBandwidth)(JNIEnv* env, jclass class, jlong handle) {
    (void)env, (void)class;
    struct model* m = model(handle);
    _Atomic uint64_t total = 0;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    run(m, &(struct job){1, arena_units, read_arena}, &total);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return m->arena_bytes / ((to.tv_sec - from.tv_sec) + 1e-9 * (to.tv_nsec - from.tv_nsec));
}

JNI(void, close)(JNIEnv* env, jclass class, jlong handle) {
    (void)env, (void)class;
    destroy(model(handle));
}
