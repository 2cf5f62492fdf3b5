/* What gpt2.c, compiled once, and kernels.c, compiled for each instruction set, have in common. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum {
    BLOCK = 32,    /* columns of one unit of work; also the values of int8 activations that have one scale */
    TILE_ROWS = 16 /* of AMX */
};

enum weights { FLOAT32, BFLOAT16, INT8 };

enum activation { GELU_TANH, GELU, RELU, QUICK_GELU, SILU, TANH, NO_ACTIVATION };

/* How the elements of a checkpoint are stored. */
enum dtype { F32, F16, BF16, F64 };

/* A linear layer, y = x W + b. N is the number of outputs, K that of inputs. Weights are stored in panels of as many
   outputs as two vectors have; kernels.c says in which order, for each kind. The products of an output are always
   summed in the same order, so its bits do not depend on the other rows. */
struct linear {
    int32_t k, n;
    int32_t padded_k, padded_n; /* to multiples of BLOCK, with zeros */
    uint8_t* panels;
    float* scales; /* [padded_n], of int8 weights */
    float* bias;   /* [padded_n] */
};

/* Rows of activations: float32 [rows, stride], and the form that products read if they do not read float32. For int8
   weights x = scale * q, with a scale for each BLOCK of a row; correction is -128 times the sum of a block. For
   bfloat16 weights, on processors that multiply bfloat16, the values are rounded to bfloat16; AMX reads them in tiles.
 */
struct rows {
    float* values;
    int32_t stride;
    void* quantized;     /* [rows, stride], or of AMX [rows / TILE_ROWS, stride / BLOCK, TILE_ROWS, BLOCK] */
    float* scales;       /* of int8: [rows, stride / BLOCK] */
    int32_t* correction; /* of int8: [rows, stride / BLOCK] */
};

struct attention {
    int32_t heads, head_size, padded_head_size; /* the last: to a multiple of the vector */
    int32_t page_size;
    int32_t hidden_size;
    float scale;
    float* keys;   /* of the layer: [pages, heads, head_size, page_size] */
    float* values; /* of the layer: [pages, heads, page_size, padded_head_size] */
};

/* The functions of an instruction set. */
struct kernels {
    int32_t vector;     /* floats in one */
    int32_t query_rows; /* most rows of one call of attend */
    size_t (*panel_bytes)(enum weights kind, int padded_k, int n);
    /* Packs outputs [from, to), multiples of BLOCK, of a stored matrix: [K, N], or [N, K] if out_first. */
    void (*pack)(enum weights kind, struct linear* linear, const void* elements, enum dtype dtype, int out_first,
            int from, int to, float* scratch);
    /* n stored elements as float32, from the one at `from` on. */
    void (*convert)(const void* elements, enum dtype dtype, size_t from, size_t n, float* target);
    /* One output's weights as float32: [K]. */
    void (*unpack)(enum weights kind, const struct linear* linear, int output, float* target);
    /* Outputs [from, to), multiples of BLOCK, of rows [row, row + rows): y = activation(x W + b) + residual. y and
       residual begin with row `row`. */
    void (*multiply)(enum weights kind, const struct linear* linear, const struct rows* x, int row, int rows, int from,
            int to, float* y, size_t stride, enum activation activation, const float* residual);
    void (*normalize)(const float* x, int n, const float* weight, const float* bias, float epsilon, float* y);
    /* Bytes of an element of the quantized form; 0 if products read float32. */
    int (*quantized_bytes)(enum weights kind);
    /* Quantizes the columns [from, to), multiples of BLOCK, of a row. */
    void (*quantize)(enum weights kind, const struct rows* rows, int row, int from, int to);
    /* Writes the keys and values among the columns [from, to) of a row [3C] of queries, keys and values. */
    void (*store)(const struct attention* attention, const float* row, int from, int to, int page, int offset);
    /* Attention of one head for `rows` consecutive tokens, the first at `position`. */
    void (*attend)(const struct attention* attention, const int32_t* pages, int position, int rows,
            const float* queries, size_t stride, int head, float* y, size_t y_stride, float* scratch);
};

extern const struct kernels kernels_avx2, kernels_avx512, kernels_avx512_bf16, kernels_amx;
