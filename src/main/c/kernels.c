/* The kernels of a step on a CPU. Compiled for each set of instructions, see dev/build-native. */
#include "gpt2.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#ifdef __AVX512F__

#ifdef __AMX_BF16__
#define KERNELS kernels_amx
#elif defined(__AVX512BF16__)
#define KERNELS kernels_avx512_bf16
#else
#define KERNELS kernels_avx512
#endif
enum { VECTOR = 16, FLOAT_ROWS = 12, INT8_ROWS = 6, QUERY_ROWS = 12, VALUE_ROWS = 6 };
typedef __m512 floats;
typedef __m512i ints;
INLINE floats load(const float* p) {
    return _mm512_loadu_ps(p);
}
INLINE void store(float* p, floats x) {
    _mm512_storeu_ps(p, x);
}
INLINE floats all(float x) {
    return _mm512_set1_ps(x);
}
INLINE floats fma_(floats a, floats b, floats c) {
    return _mm512_fmadd_ps(a, b, c);
}
INLINE floats max_(floats a, floats b) {
    return _mm512_max_ps(a, b);
}
INLINE floats min_(floats a, floats b) {
    return _mm512_min_ps(a, b);
}
INLINE floats absolute(floats x) {
    return _mm512_abs_ps(x);
}
INLINE floats first(int n, floats x) {
    return _mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), x);
}
INLINE ints load_ints(const void* p) {
    return _mm512_loadu_si512(p);
}
INLINE ints all_ints(int x) {
    return _mm512_set1_epi32(x);
}
INLINE ints round_(floats x) {
    return _mm512_cvtps_epi32(x);
}
INLINE floats to_floats(ints x) {
    return _mm512_cvtepi32_ps(x);
}
INLINE ints add_ints(ints a, ints b) {
    return _mm512_add_epi32(a, b);
}
INLINE floats as_floats(ints x) {
    return _mm512_castsi512_ps(x);
}
INLINE ints shift_left(ints x, int n) {
    return _mm512_slli_epi32(x, n);
}
#ifndef __AVX512BF16__
INLINE ints high_halves(ints x) {
    return _mm512_and_si512(x, _mm512_set1_epi32((int)0xffff0000));
}
#endif
INLINE void store_bytes(int8_t* p, ints x) {
    _mm_storeu_si128((void*)p, _mm512_cvtepi32_epi8(x));
}
/* Weights are stored as w + 128, as the first operand is unsigned; the sums begin with the correction. */
enum { WEIGHT_OFFSET = 128 };
INLINE ints dot4(ints sum, ints weights, int32_t activations) {
    return _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(activations));
}

#else

#define KERNELS kernels_avx2
enum { VECTOR = 8, FLOAT_ROWS = 6, INT8_ROWS = 2, QUERY_ROWS = 6, VALUE_ROWS = 2 };
typedef __m256 floats;
typedef __m256i ints;
INLINE floats load(const float* p) {
    return _mm256_loadu_ps(p);
}
INLINE void store(float* p, floats x) {
    _mm256_storeu_ps(p, x);
}
INLINE floats all(float x) {
    return _mm256_set1_ps(x);
}
INLINE floats fma_(floats a, floats b, floats c) {
    return _mm256_fmadd_ps(a, b, c);
}
INLINE floats max_(floats a, floats b) {
    return _mm256_max_ps(a, b);
}
INLINE floats min_(floats a, floats b) {
    return _mm256_min_ps(a, b);
}
INLINE floats absolute(floats x) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.f), x);
}
INLINE floats first(int n, floats x) {
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes)));
}
INLINE ints load_ints(const void* p) {
    return _mm256_loadu_si256(p);
}
INLINE ints all_ints(int x) {
    return _mm256_set1_epi32(x);
}
INLINE ints round_(floats x) {
    return _mm256_cvtps_epi32(x);
}
INLINE floats to_floats(ints x) {
    return _mm256_cvtepi32_ps(x);
}
INLINE ints add_ints(ints a, ints b) {
    return _mm256_add_epi32(a, b);
}
INLINE floats as_floats(ints x) {
    return _mm256_castsi256_ps(x);
}
INLINE ints shift_left(ints x, int n) {
    return _mm256_slli_epi32(x, n);
}
INLINE ints high_halves(ints x) {
    return _mm256_and_si256(x, _mm256_set1_epi32((int)0xffff0000));
}
INLINE void store_bytes(int8_t* p, ints x) {
    int32_t lanes[VECTOR];
    _mm256_storeu_si256((void*)lanes, x);
    for (int i = 0; i < VECTOR; i++)
        p[i] = (int8_t)lanes[i];
}
/* Two products of |x| <= 127 and |w| <= 127 fit in 16 bits; so the sign of x is moved to w. */
enum { WEIGHT_OFFSET = 0 };
INLINE ints dot4(ints sum, ints weights, int32_t activations) {
    __m256i x = _mm256_set1_epi32(activations);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(weights, x));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#endif

enum { PANEL = 2 * VECTOR };

/* How bfloat16 weights are multiplied: by float32 activations, by bfloat16 ones, or by tiles of those. */
#ifdef __AMX_BF16__
enum { ROUNDS_ACTIVATIONS = 1, TILES = 1 };
#elif defined(__AVX512BF16__)
enum { ROUNDS_ACTIVATIONS = 1, TILES = 0 };
#else
enum { ROUNDS_ACTIVATIONS = 0, TILES = 0 };
#endif

/* The weights that follow; the processor alone does not look ahead far enough. */
INLINE void prefetch(const void* weights, int bytes) {
    for (int line = 0; line < bytes; line += 64)
        _mm_prefetch((const char*)weights + 2048 + line, _MM_HINT_T0);
}

INLINE float sum_of(floats x) {
#ifdef __AVX512F__
    __m256 y = _mm512_castps512_ps256(x) + _mm512_extractf32x8_ps(x, 1);
#else
    __m256 y = x;
#endif
    __m128 z = _mm256_castps256_ps128(y) + _mm256_extractf128_ps(y, 1);
    z = z + _mm_movehl_ps(z, z);
    return z[0] + z[1];
}

INLINE float max_of(floats x) {
#ifdef __AVX512F__
    __m256 y = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
#else
    __m256 y = x;
#endif
    __m128 z = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_max_ps(z, _mm_movehl_ps(z, z));
    return z[0] > z[1] ? z[0] : z[1];
}

/* e^x, within 2 units in the last place; x is limited to [-87, 88]. */
INLINE floats exp_(floats x) {
    x = max_(all(-87.f), min_(all(88.f), x)); /* of NaN, the second operand */
    ints n = round_(x * all(1.44269504f));
    floats m = to_floats(n);
    x = fma_(m, all(-0.693359375f), x);
    x = fma_(m, all(2.12194440e-4f), x);
    floats p = all(1.9875691500e-4f);
    p = fma_(p, x, all(1.3981999507e-3f));
    p = fma_(p, x, all(8.3334519073e-3f));
    p = fma_(p, x, all(4.1665795894e-2f));
    p = fma_(p, x, all(1.6666665459e-1f));
    p = fma_(p, x, all(5.0000001201e-1f));
    p = fma_(p, x * x, x) + all(1.f);
    return p * as_floats(shift_left(add_ints(n, all_ints(127)), 23));
}

INLINE floats sigmoid_times(floats x, floats exponent) { /* x / (1 + e^-exponent) */
    return x / (all(1.f) + exp_(all(0.f) - exponent));
}

INLINE floats activate(enum activation activation, floats x) {
    switch (activation) {
    case GELU_TANH: /* 0.5 (1 + tanh u) = 1 / (1 + e^-2u) */
        return sigmoid_times(x, x * fma_(x * x, all(2.f * 0.7978845608f * 0.044715f), all(2.f * 0.7978845608f)));
    case GELU: { /* erf by Abramowitz and Stegun 7.1.26, within 1.5e-7 */
        floats z = absolute(x) * all(0.7071067812f);
        floats t = all(1.f) / fma_(z, all(0.3275911f), all(1.f));
        floats p = all(1.061405429f);
        p = fma_(p, t, all(-1.453152027f));
        p = fma_(p, t, all(1.421413741f));
        p = fma_(p, t, all(-0.284496736f));
        p = fma_(p, t, all(0.254829592f));
        floats tail = p * t * exp_(all(0.f) - z * z) * all(0.5f); /* of the side away from zero */
        return max_(x, all(0.f)) - absolute(x) * tail;
    }
    case RELU:
        return max_(all(0.f), x);
    case QUICK_GELU:
        return sigmoid_times(x, x * all(1.702f));
    case SILU:
        return sigmoid_times(x, x);
    case TANH: /* 2 / (1 + e^-2x) - 1; near zero by its series, where that loses digits */
    {
        floats a = absolute(x), s = x * x;
        floats series = x * fma_(s, fma_(s, all(2.f / 15), all(-1.f / 3)), all(1.f));
        floats far = sigmoid_times(all(2.f), x + x) - all(1.f);
        float values[VECTOR], other[VECTOR], size[VECTOR];
        store(values, far);
        store(other, series);
        store(size, a);
        for (int i = 0; i < VECTOR; i++)
            values[i] = size[i] < 0.05f ? other[i] : values[i];
        return load(values);
    }
    default:
        return x;
    }
}

/* ---- weights ---- */

static size_t panel_bytes(enum weights kind, int padded_k, int n) {
    static const int element[] = {4, 2, 1};
    return (size_t)padded_k * ((n + BLOCK - 1) / BLOCK * BLOCK) * element[kind];
}

static uint8_t* panel(enum weights kind, const struct linear* linear, int output) {
    return linear->panels + panel_bytes(kind, linear->padded_k, 1) / BLOCK * (output / PANEL * PANEL);
}

static float half(uint16_t h) {
    return _cvtsh_ss(h);
}

static void convert(const void* elements, enum dtype dtype, size_t from, size_t n, float* target) {
    for (size_t i = 0; i < n; i++) {
        size_t at = from + i;
        switch (dtype) {
        case F32:
            target[i] = ((const float*)elements)[at];
            break;
        case F16:
            target[i] = half(((const uint16_t*)elements)[at]);
            break;
        case BF16: {
            uint32_t bits = (uint32_t)((const uint16_t*)elements)[at] << 16;
            memcpy(target + i, &bits, 4);
            break;
        }
        default:
            target[i] = (float)((const double*)elements)[at];
        }
    }
}

static uint16_t bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40); /* NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Where the bfloat16 weight of an input and a column of a panel is: [padded_k, VECTOR, 2], column c beside column
   c + VECTOR; for bfloat16 activations [padded_k / 2, PANEL, 2], two inputs side by side; for tiles the same in the
   order [padded_k / BLOCK, 2, BLOCK / 2, VECTOR, 2]. */
INLINE size_t bfloat16_at(size_t input, int column) {
    if (TILES) {
        size_t half = input / BLOCK * 2 + column / VECTOR;
        return (half * (BLOCK / 2) + input % BLOCK / 2) * PANEL + 2 * (column % VECTOR) + input % 2;
    }
    if (ROUNDS_ACTIVATIONS)
        return input / 2 * 2 * PANEL + 2 * column + input % 2;
    return input * PANEL + 2 * (column % VECTOR) + column / VECTOR;
}

/* `scratch` [padded_k, PANEL] */
static void pack_panel(enum weights kind, struct linear* linear, const void* elements, enum dtype dtype, int out_first,
        int output, float* scratch) {
    int k = linear->k, columns = linear->n - output; /* the last block may end in a panel without any */
    columns = columns < 0 ? 0 : columns < PANEL ? columns : PANEL;
    uint8_t* target = panel(kind, linear, output);
    float* values = kind == FLOAT32 ? (float*)target : scratch;
    if (columns < PANEL || linear->padded_k > k)
        memset(values, 0, (size_t)linear->padded_k * PANEL * sizeof(float));
    if (out_first) {
        float column[256];
        for (int c = 0; c < columns; c++) {
            for (int i = 0; i < k; i += 256) {
                int n = k - i < 256 ? k - i : 256;
                convert(elements, dtype, (size_t)(output + c) * k + i, n, column);
                for (int j = 0; j < n; j++)
                    values[(size_t)(i + j) * PANEL + c] = column[j];
            }
        }
    } else {
        for (int i = 0; i < k; i++) {
            convert(elements, dtype, (size_t)i * linear->n + output, columns, values + (size_t)i * PANEL);
        }
    }
    if (kind == BFLOAT16) {
        for (size_t i = 0; i < (size_t)linear->padded_k; i++) {
            for (int c = 0; c < PANEL; c++)
                ((uint16_t*)target)[bfloat16_at(i, c)] = bfloat16(values[i * PANEL + c]);
        }
    }
    if (kind == INT8) { /* [padded_k / 4, PANEL, 4] */
        for (int c = 0; c < PANEL; c++) {
            float largest = 0;
            for (int i = 0; i < k; i++) {
                float a = fabsf(values[(size_t)i * PANEL + c]);
                largest = a > largest || a != a ? a : largest; /* NaN stays */
            }
            if (!(largest < INFINITY))
                largest = NAN;
            float scale = largest / 127, inverse = largest > 1e-30f ? 127 / largest : 0;
            linear->scales[output + c] = scale;
            for (int i = 0; i < linear->padded_k; i++) {
                float q = i < k && inverse > 0 ? rintf(values[(size_t)i * PANEL + c] * inverse) : 0;
                target[((size_t)(i / 4) * PANEL + c) * 4 + i % 4] = (uint8_t)((int)q + WEIGHT_OFFSET);
            }
        }
    }
}

static void pack(enum weights kind, struct linear* linear, const void* elements, enum dtype dtype, int out_first,
        int from, int to, float* scratch) {
    for (int output = from; output < to; output += PANEL) {
        pack_panel(kind, linear, elements, dtype, out_first, output, scratch);
    }
}

static void unpack(enum weights kind, const struct linear* linear, int output, float* target) {
    const uint8_t* from = panel(kind, linear, output);
    int c = output % PANEL;
    for (size_t i = 0; i < (size_t)linear->k; i++) {
        if (kind == FLOAT32) {
            target[i] = ((const float*)from)[i * PANEL + c];
        } else if (kind == BFLOAT16) {
            uint32_t bits = (uint32_t)((const uint16_t*)from)[bfloat16_at(i, c)] << 16;
            memcpy(target + i, &bits, 4);
        } else {
            uint8_t q = from[(i / 4 * PANEL + c) * 4 + i % 4];
            target[i] = linear->scales[output] * (WEIGHT_OFFSET ? q - WEIGHT_OFFSET : (int8_t)q);
        }
    }
}

/* ---- products ---- */

/* y [ROWS, PANEL] of one panel. ROWS is a constant wherever this is inlined, so the sums stay in registers. */
INLINE void tile_float32(int ROWS, const float* x, size_t stride, const uint8_t* panel, int k, floats y[][2]) {
    const float* w = (const float*)panel;
    for (int m = 0; m < ROWS; m++)
        y[m][0] = y[m][1] = all(0.f);
    for (int i = 0; i < k; i++, w += PANEL) {
        floats w0 = load(w), w1 = load(w + VECTOR);
        prefetch(w, 4 * PANEL);
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++) {
            floats a = all(x[m * stride + i]);
            y[m][0] = fma_(a, w0, y[m][0]);
            y[m][1] = fma_(a, w1, y[m][1]);
        }
    }
}

#ifdef __AVX512BF16__

INLINE void tile_bfloat16(int ROWS, const struct rows* x, size_t row, const uint8_t* w, int k, floats y[][2]) {
    size_t stride = (size_t)x->stride;
    const uint16_t* q = (const uint16_t*)x->quantized + row * stride;
    for (int m = 0; m < ROWS; m++)
        y[m][0] = y[m][1] = all(0.f);
    for (int i = 0; i < k; i += 2, w += 4 * PANEL) {
        __m512bh w0 = (__m512bh)load_ints(w), w1 = (__m512bh)load_ints(w + 4 * VECTOR);
        prefetch(w, 4 * PANEL);
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++) {
            int32_t pair;
            memcpy(&pair, q + m * stride + i, 4);
            __m512bh a = (__m512bh)all_ints(pair);
            y[m][0] = _mm512_dpbf16_ps(y[m][0], w0, a);
            y[m][1] = _mm512_dpbf16_ps(y[m][1], w1, a);
        }
    }
}

#else

INLINE void tile_bfloat16(int ROWS, const struct rows* rows, size_t row, const uint8_t* panel, int k, floats y[][2]) {
    size_t stride = (size_t)rows->stride;
    const float* x = rows->values + row * stride;
    const uint16_t* w = (const uint16_t*)panel;
    for (int m = 0; m < ROWS; m++)
        y[m][0] = y[m][1] = all(0.f);
    for (int i = 0; i < k; i++, w += PANEL) {
        ints pairs = load_ints(w);
        prefetch(w, 4 * PANEL);
        floats w0 = as_floats(shift_left(pairs, 16)), w1 = as_floats(high_halves(pairs));
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++) {
            floats a = all(x[m * stride + i]);
            y[m][0] = fma_(a, w0, y[m][0]);
            y[m][1] = fma_(a, w1, y[m][1]);
        }
    }
}

#endif

INLINE void tile_int8(int ROWS, const struct rows* x, size_t row, const uint8_t* w, int k, floats y[][2]) {
    size_t stride = (size_t)x->stride, blocks = stride / BLOCK;
    const int8_t* q = (const int8_t*)x->quantized + row * stride;
    const float* scales = x->scales + row * blocks;
    const int32_t* correction = x->correction + row * blocks;
    for (int m = 0; m < ROWS; m++)
        y[m][0] = y[m][1] = all(0.f);
    for (int b = 0; b < k / BLOCK; b++) {
        ints sums[INT8_ROWS][2];
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++) {
            sums[m][0] = sums[m][1] = all_ints(WEIGHT_OFFSET ? correction[m * blocks + b] : 0);
        }
#pragma GCC unroll 1
        for (int g = 0; g < BLOCK / 4; g++, w += 4 * PANEL) {
            ints w0 = load_ints(w), w1 = load_ints(w + 4 * VECTOR);
            prefetch(w, 4 * PANEL);
#pragma GCC unroll 12
            for (int m = 0; m < ROWS; m++) {
                int32_t a;
                memcpy(&a, q + m * stride + b * BLOCK + g * 4, 4);
                sums[m][0] = dot4(sums[m][0], w0, a);
                sums[m][1] = dot4(sums[m][1], w1, a);
            }
        }
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++) {
            floats scale = all(scales[m * blocks + b]);
            y[m][0] = fma_(to_floats(sums[m][0]), scale, y[m][0]);
            y[m][1] = fma_(to_floats(sums[m][1]), scale, y[m][1]);
        }
    }
}

struct output {
    const struct linear* linear;
    int first_row; /* of y */
    float* y;
    size_t stride;
    const float* residual;
    enum activation activation;
};

/* The outputs of rows and of a panel, of their sums [rows, PANEL]. */
static void finish(enum weights kind, const struct output* to, int row, int rows, int panel_column, const float* sums) {
    const struct linear* linear = to->linear;
    for (int column = panel_column; column < panel_column + PANEL; column += VECTOR) {
        floats bias = linear->bias ? load(linear->bias + column) : all(0.f);
        floats scale = kind == INT8 ? load(linear->scales + column) : all(1.f);
        for (int m = 0; m < rows; m++) {
            size_t at = (size_t)(row + m - to->first_row) * to->stride + column;
            floats y = fma_(load(sums + m * PANEL + column - panel_column), scale, bias);
            if (to->activation != NO_ACTIVATION)
                y = activate(to->activation, y);
            if (to->residual)
                y = y + load(to->residual + at);
            store(to->y + at, y);
        }
    }
}

INLINE void tile(enum weights kind, int ROWS, const struct rows* x, int row, const uint8_t* w, int column,
        const struct output* to) {
    floats y[FLOAT_ROWS][2];
    const struct linear* linear = to->linear;
    size_t stride = (size_t)x->stride;
    if (kind == FLOAT32)
        tile_float32(ROWS, x->values + row * stride, stride, w, linear->k, y);
    if (kind == BFLOAT16)
        tile_bfloat16(ROWS, x, (size_t)row, w, ROUNDS_ACTIVATIONS ? linear->padded_k : linear->k, y);
    if (kind == INT8)
        tile_int8(ROWS, x, (size_t)row, w, linear->padded_k, y);
    float sums[FLOAT_ROWS][PANEL];
#pragma GCC unroll 12
    for (int m = 0; m < ROWS; m++) {
        store(sums[m], y[m][0]);
        store(sums[m] + VECTOR, y[m][1]);
    }
    finish(kind, to, row, ROWS, column, sums[0]);
}

/* A function for each kind of weights and number of rows. */
// clang-format off
#define TILE(kind, n) \
    static __attribute__((noinline)) void tile_##kind##_##n( \
            const struct rows* x, int row, const uint8_t* w, int column, const struct output* to) { \
        tile(kind, n, x, row, w, column, to); \
    }
#define TILES_2(kind) TILE(kind, 1) TILE(kind, 2)
#define TILES_6(kind) TILES_2(kind) TILE(kind, 3) TILE(kind, 4) TILE(kind, 5) TILE(kind, 6)
#define TILES_12(kind) \
    TILES_6(kind) TILE(kind, 7) TILE(kind, 8) TILE(kind, 9) TILE(kind, 10) TILE(kind, 11) TILE(kind, 12)
#define NAMES_2(kind) tile_##kind##_1, tile_##kind##_2
#define NAMES_6(kind) NAMES_2(kind), tile_##kind##_3, tile_##kind##_4, tile_##kind##_5, tile_##kind##_6
#define NAMES_12(kind) \
    NAMES_6(kind), tile_##kind##_7, tile_##kind##_8, tile_##kind##_9, tile_##kind##_10, tile_##kind##_11, \
    tile_##kind##_12

typedef void tile_function(const struct rows* x, int row, const uint8_t* w, int column, const struct output* to);
#ifdef __AMX_BF16__
TILES_12(FLOAT32) TILES_6(INT8)
static tile_function* const FUNCTIONS[3][FLOAT_ROWS] = {{NAMES_12(FLOAT32)}, {NULL}, {NAMES_6(INT8)}};
#elif defined(__AVX512F__)
TILES_12(FLOAT32) TILES_12(BFLOAT16) TILES_6(INT8)
static tile_function* const FUNCTIONS[3][FLOAT_ROWS] = {{NAMES_12(FLOAT32)}, {NAMES_12(BFLOAT16)}, {NAMES_6(INT8)}};
#else
TILES_6(FLOAT32) TILES_6(BFLOAT16) TILES_2(INT8)
static tile_function* const FUNCTIONS[3][FLOAT_ROWS] = {{NAMES_6(FLOAT32)}, {NAMES_6(BFLOAT16)}, {NAMES_2(INT8)}};
#endif
// clang-format on

#ifdef __AMX_BF16__

/* Tiles 0 to 3 are sums, of 16 rows and 16 outputs each; 4 and 5 activations of 16 rows, 6 and 7 weights of 16 outputs,
   both of BLOCK inputs. */
INLINE void configure_tiles(void) {
    struct {
        uint8_t palette, start_row, unused[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } configuration = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        configuration.row_bytes[i] = 64;
        configuration.rows[i] = TILE_ROWS;
    }
    _tile_loadconfig(&configuration);
}

/* sums [GROUPS * TILE_ROWS, PANEL] of GROUPS times 16 rows and the outputs of a panel */
INLINE void sum_tiles(
        int GROUPS, int prefetches, const uint16_t* x, size_t stride, const uint8_t* w, int k, float* sums) {
    enum { WEIGHTS = PANEL * BLOCK * 2, AHEAD = 3 * WEIGHTS };
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < k; i += BLOCK, w += WEIGHTS, x += TILE_ROWS * BLOCK) {
        if (prefetches)
            prefetch(w + AHEAD, WEIGHTS);
        _tile_loadd(4, x, 64);
        _tile_loadd(6, w, 64);
        _tile_loadd(7, w + WEIGHTS / 2, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (GROUPS == 2) {
            _tile_loadd(5, x + TILE_ROWS * stride, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    enum { BYTES = PANEL * sizeof(float), GROUP = TILE_ROWS * PANEL };
    _tile_stored(0, sums, BYTES);
    _tile_stored(1, sums + VECTOR, BYTES);
    if (GROUPS == 2) {
        _tile_stored(2, sums + GROUP, BYTES);
        _tile_stored(3, sums + GROUP + VECTOR, BYTES);
    }
}

static void multiply_tiles(
        const struct rows* x, int first_row, int rows, int from, int to, const struct output* output) {
    const struct linear* linear = output->linear;
    size_t stride = (size_t)x->stride;
    int end = first_row + rows;
    configure_tiles();
    for (int column = from; column < to; column += PANEL) {
        const uint8_t* w = panel(BFLOAT16, linear, column);
        for (int row = first_row; row < end;) {
            float sums[2 * TILE_ROWS][PANEL];
            int tile = row / TILE_ROWS * TILE_ROWS, next = tile + 2 * TILE_ROWS < end ? tile + 2 * TILE_ROWS : end;
            const uint16_t* q = (const uint16_t*)x->quantized + tile * stride;
            if (next - tile > TILE_ROWS) {
                sum_tiles(2, row == first_row, q, stride, w, linear->padded_k, sums[0]);
            } else {
                sum_tiles(1, row == first_row, q, stride, w, linear->padded_k, sums[0]);
            }
            finish(BFLOAT16, output, row, next - row, column, sums[row - tile]);
            row = next;
        }
    }
    _tile_release();
}

#endif

static void multiply(enum weights kind, const struct linear* linear, const struct rows* x, int first_row, int rows,
        int from, int to, float* y, size_t stride, enum activation activation, const float* residual) {
    struct output output = {linear, first_row, y, stride, residual, activation};
#ifdef __AMX_BF16__
    if (kind == BFLOAT16) {
        multiply_tiles(x, first_row, rows, from, to, &output);
        return;
    }
#endif
    int most = kind == INT8 ? INT8_ROWS : FLOAT_ROWS;
    int tiles = (rows + most - 1) / most;
    for (int column = from; column < to; column += PANEL) {
        const uint8_t* w = panel(kind, linear, column);
        int row = first_row;
        for (int t = 0; t < tiles; t++) { /* as equal as possible */
            int n = (first_row + rows - row + tiles - t - 1) / (tiles - t);
            FUNCTIONS[kind][n - 1](x, row, w, column, &output);
            row += n;
        }
    }
}

/* ---- rows ---- */

static void normalize(const float* x, int n, const float* weight, const float* bias, float epsilon, float* y) {
    floats sum = all(0.f), squares = all(0.f);
    for (int i = 0; i < n; i += VECTOR)
        sum = sum + load(x + i); /* zeros behind n */
    floats mean = all(sum_of(sum) / n);
    for (int i = 0; i < n; i += VECTOR) {
        floats d = load(x + i) - mean;
        if (n - i < VECTOR)
            d = first(n - i, d);
        squares = fma_(d, d, squares);
    }
    floats scale = all(1 / sqrtf(sum_of(squares) / n + epsilon));
    for (int i = 0; i < n; i += VECTOR) {
        store(y + i, fma_((load(x + i) - mean) * scale, load(weight + i), load(bias + i)));
    }
}

static int quantized_bytes(enum weights kind) {
    return kind == INT8 ? 1 : kind == BFLOAT16 && ROUNDS_ACTIVATIONS ? 2 : 0;
}

/* One block. */
INLINE void quantize_int8(const float* x, int8_t* q, float* scale, int32_t* correction) {
    floats largest = absolute(load(x)), probe = all(0.f);
    for (int j = VECTOR; j < BLOCK; j += VECTOR)
        largest = max_(largest, absolute(load(x + j)));
    float limit = max_of(largest);
    for (int j = 0; j < BLOCK; j += VECTOR)
        probe = fma_(load(x + j), all(0.f), probe);
    float nothing = sum_of(probe);
    if (nothing != 0 || limit < 1e-30f) { /* NaN or infinity, or too small for an inverse */
        memset(q, 0, BLOCK);
        *scale = nothing;
        *correction = 0;
        return;
    }
    floats inverse = all(127 / limit);
    ints sum = all_ints(0);
    for (int j = 0; j < BLOCK; j += VECTOR) {
        ints rounded = round_(load(x + j) * inverse);
        sum = add_ints(sum, rounded);
        store_bytes(q + j, rounded);
    }
    *scale = limit / 127;
    *correction = -WEIGHT_OFFSET * (int)sum_of(to_floats(sum));
}

static void quantize(enum weights kind, const struct rows* rows, int row, int from, int to) {
    size_t stride = (size_t)rows->stride;
    for (size_t at = row * stride + from; at < row * stride + to; at += BLOCK) {
        const float* x = rows->values + at;
        if (kind == INT8) {
            quantize_int8(x, (int8_t*)rows->quantized + at, rows->scales + at / BLOCK, rows->correction + at / BLOCK);
        }
#ifdef __AVX512BF16__
        if (kind == BFLOAT16) {
#ifdef __AMX_BF16__
            size_t tile = row / TILE_ROWS * (stride / BLOCK) + at % stride / BLOCK;
            uint16_t* q = (uint16_t*)rows->quantized + (tile * TILE_ROWS + row % TILE_ROWS) * BLOCK;
#else
            uint16_t* q = (uint16_t*)rows->quantized + at;
#endif
            _mm512_storeu_si512(q, (__m512i)_mm512_cvtne2ps_pbh(load(x + VECTOR), load(x)));
        }
#endif
    }
}

/* ---- attention ---- */

static void store_head(const struct attention* a, const float* row, int from, int to, int page, int offset) {
    int d = a->head_size, c = a->hidden_size;
    for (int i = from > c ? from : c; i < to && i < 3 * c; i++) {
        int column = i < 2 * c ? i - c : i - 2 * c, head = column / d, j = column % d;
        size_t heads = (size_t)page * a->heads + head;
        if (i < 2 * c) {
            a->keys[(heads * d + j) * a->page_size + offset] = row[i];
        } else {
            a->values[(heads * a->page_size + offset) * a->padded_head_size + j] = row[i];
        }
    }
}

/* The keys of VECTOR tokens from `position` on: [head_size, *stride]. */
INLINE const float* keys(const struct attention* a, const int32_t* pages, int position, int end, int head,
        float* scratch, size_t* stride) {
    size_t plane = (size_t)a->head_size * a->page_size;
    if (a->page_size >= VECTOR) {
        *stride = (size_t)a->page_size;
        int page = pages[position / a->page_size];
        return a->keys + ((size_t)page * a->heads + head) * plane + position % a->page_size;
    }
    for (int p = position; p < end && p < position + VECTOR; p += a->page_size) { /* of small pages: copied together */
        const float* from = a->keys + ((size_t)pages[p / a->page_size] * a->heads + head) * plane;
        for (int d = 0; d < a->head_size; d++) {
            memcpy(scratch + d * VECTOR + (p - position), from + d * a->page_size,
                    (size_t)a->page_size * sizeof(float));
        }
    }
    *stride = VECTOR;
    return scratch;
}

/* Scores of ROWS queries with the VECTOR keys of each of BLOCKS groups. */
INLINE void score(int ROWS, int BLOCKS, const float* queries, size_t stride, const float* const* k, size_t k_stride,
        int head_size, float scale, float* scores, size_t scores_stride) {
    floats s[QUERY_ROWS][4], key[4];
    for (int m = 0; m < ROWS; m++) {
        for (int b = 0; b < BLOCKS; b++)
            s[m][b] = all(0.f);
    }
    for (int d = 0; d < head_size; d++) {
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++)
            key[b] = load(k[b] + d * k_stride);
#pragma GCC unroll 12
        for (int m = 0; m < ROWS; m++) {
            floats query = all(queries[m * stride + d]);
#pragma GCC unroll 4
            for (int b = 0; b < BLOCKS; b++)
                s[m][b] = fma_(query, key[b], s[m][b]);
        }
    }
    for (int m = 0; m < ROWS; m++) {
        for (int b = 0; b < BLOCKS; b++) {
            store(scores + m * scores_stride + b * VECTOR, s[m][b] * all(scale));
        }
    }
}

/* Turns n scores into e^(score - largest), 0 behind them up to the end of a vector; returns their sum. */
INLINE float exponentials(float* scores, int n) {
    floats largest = all(scores[0]), sum = all(0.f);
    int whole = n / VECTOR * VECTOR;
    for (int i = 0; i < whole; i += VECTOR)
        largest = max_(largest, load(scores + i));
    float limit = max_of(largest);
    for (int i = whole; i < n; i++)
        limit = scores[i] > limit ? scores[i] : limit;
    for (int i = 0; i < n; i += VECTOR) {
        floats e = exp_(load(scores + i) - all(limit));
        if (n - i < VECTOR)
            e = first(n - i, e);
        store(scores + i, e);
        sum = sum + e;
    }
    return sum_of(sum);
}

/* y = weights V / sum, for ROWS rows and VECTORS vectors of a head from `column` on. The first row sees `tokens`, each
   other one more than the row before. */
INLINE void weigh(int ROWS, int VECTORS, const struct attention* a, const int32_t* pages, int tokens, int head,
        const float* weights, size_t weights_stride, const float* sums, int column, float* y, size_t stride) {
    floats result[VALUE_ROWS][4];
#pragma GCC unroll 6
    for (int m = 0; m < ROWS; m++) {
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            result[m][v] = all(0.f);
    }
    for (int first_token = 0; first_token < tokens; first_token += a->page_size) {
        size_t at = (size_t)pages[first_token / a->page_size] * a->heads + head;
        const float* values = a->values + at * a->page_size * a->padded_head_size + column;
        int n = tokens - first_token < a->page_size ? tokens - first_token : a->page_size;
        for (int j = 0; j < n; j++, values += a->padded_head_size) {
            floats value[4];
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                value[v] = load(values + v * VECTOR);
#pragma GCC unroll 6
            for (int m = 0; m < ROWS; m++) {
                floats weight = all(weights[m * weights_stride + first_token + j]);
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; v++)
                    result[m][v] = fma_(weight, value[v], result[m][v]);
            }
        }
    }
    for (int t = tokens; t < tokens + ROWS - 1; t++) { /* not for the rows before it: zero times NaN is NaN */
        size_t at = (size_t)pages[t / a->page_size] * a->heads + head;
        const float* values = a->values + (at * a->page_size + t % a->page_size) * a->padded_head_size + column;
#pragma GCC unroll 6
        for (int m = 1; m < ROWS; m++) {
            if (t >= tokens + m)
                continue;
            floats weight = all(weights[m * weights_stride + t]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                result[m][v] = fma_(weight, load(values + v * VECTOR), result[m][v]);
        }
    }
    y += (size_t)head * a->head_size + column;
#pragma GCC unroll 6
    for (int m = 0; m < ROWS; m++) {
        floats inverse = all(1 / sums[m]);
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            int left = a->head_size - column - v * VECTOR;
            if (left >= VECTOR) {
                store(y + m * stride + v * VECTOR, result[m][v] * inverse);
            } else {
                float lanes[VECTOR];
                store(lanes, result[m][v] * inverse);
                memcpy(y + m * stride + v * VECTOR, lanes, (size_t)left * sizeof(float));
            }
        }
    }
}

/* scratch: [QUERY_ROWS, scores_stride] scores, then [head_size, VECTOR] keys */
static void attend(const struct attention* a, const int32_t* pages, int position, int rows, const float* queries,
        size_t stride, int head, float* y, size_t y_stride, float* scratch) {
    int tokens = position + rows; /* that the last row sees */
    size_t scores_stride = ((size_t)tokens + 4 * VECTOR - 1) / VECTOR * VECTOR;
    float *scores = scratch, *copied = scratch + QUERY_ROWS * scores_stride;
    queries += (size_t)head * a->head_size;
    size_t k_stride;
    const float* k[4];
    int most = a->page_size < VECTOR ? 1 : rows == QUERY_ROWS ? 2 : 4; /* groups: one alone would wait for each sum */
    for (int t = 0, groups; t < tokens; t += groups * VECTOR) {
        groups = t + (most - 1) * VECTOR < tokens ? most : 1;
        for (int b = 0; b < groups; b++)
            k[b] = keys(a, pages, t + b * VECTOR, tokens, head, copied, &k_stride);
#define SCORE(r, g, m)                                                                                                 \
    score(r, g, queries + (m) * stride, stride, k, k_stride, a->head_size, a->scale, scores + (m) * scores_stride + t, \
            scores_stride)
        if (rows == QUERY_ROWS) {
            groups == 1 ? SCORE(QUERY_ROWS, 1, 0) : SCORE(QUERY_ROWS, 2, 0);
        } else {
            for (int m = 0; m < rows; m++)
                groups == 1 ? SCORE(1, 1, m) : SCORE(1, 4, m);
        }
    }
    float sums[QUERY_ROWS];
    for (int m = 0; m < rows; m++)
        sums[m] = exponentials(scores + m * scores_stride, position + m + 1);
    int vectors = a->padded_head_size / VECTOR;
    for (int m = 0; m < rows;) {
        int together = rows - m >= VALUE_ROWS ? VALUE_ROWS : 1;
        int n = position + m + 1; /* that all of them see */
        for (int v = 0; v < vectors; v += 4) {
            int count = vectors - v < 4 ? vectors - v : 4;
#define WEIGH(r, c)                                                                                                   \
    weigh(r, c, a, pages, n, head, scores + m * scores_stride, scores_stride, sums + m, v * VECTOR, y + m * y_stride, \
            y_stride)
            if (together == 1) {
                count == 1 ? WEIGH(1, 1) : count == 2 ? WEIGH(1, 2) : count == 3 ? WEIGH(1, 3) : WEIGH(1, 4);
            } else {
                count == 1   ? WEIGH(VALUE_ROWS, 1)
                : count == 2 ? WEIGH(VALUE_ROWS, 2)
                : count == 3 ? WEIGH(VALUE_ROWS, 3)
                             : WEIGH(VALUE_ROWS, 4);
            }
        }
        m += together;
    }
}

const struct kernels KERNELS = {
        .vector = VECTOR,
        .query_rows = QUERY_ROWS,
        .panel_bytes = panel_bytes,
        .convert = convert,
        .pack = pack,
        .unpack = unpack,
        .multiply = multiply,
        .normalize = normalize,
        .quantized_bytes = quantized_bytes,
        .quantize = quantize,
        .store = store_head,
        .attend = attend,
};
