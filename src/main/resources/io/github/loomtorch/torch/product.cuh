/*
 * What the matrix products of linear.cu and wide.cu share, for 16-bit elements.
 *
 * A product of normed rows takes the rows as they are. With w holding the norm's factors, and `sums` the sum of each row of w,
 *
 *   norm(x) w^T = (x w^T - mean sums) / deviation
 *
 * so that mean and deviation, which the blocks find out beside the product, are needed at its end only. Weights, biases and sums are
 * made so when the model is loaded: see CudaLinear.java.
 */
#include "element.cuh"

#define PLAIN 0      /* out = x w^T + bias */
#define ACTIVATED 1  /* out = activation(x w^T + bias) */
#define RESIDUAL 2   /* out += x w^T + bias */

#ifdef BRAIN
#define MMA_TYPES ".f32.bf16.bf16.f32"
#define ONES 0x3f803f80u
#else
#define MMA_TYPES ".f32.f16.f16.f32"
#define ONES 0x3c003c00u
#endif

/* c += a b for a [16, 16], b [16, 8]: thread (g, t) = (lane / 4, lane % 4) holds rows g and g + 8 of a, column g of b. */
static __device__ __forceinline__ void mma(float (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col" MMA_TYPES " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ float activation(float x) {
#if ACTIVATION == 0
    const float u = 0.7978845608f * (x + 0.044715f * x * x * x);
    return x - __fdividef(x, 1.f + __expf(2.f * u)); // x (1 + tanh u) / 2
#elif ACTIVATION == 1
    return 0.5f * x * (1.f + erff(0.7071067812f * x));
#else
    return x < 0.f ? 0.f : x; // NaN stays
#endif
}

/* Mean and inverse deviation of a row of K, from its sum and its sum of squares. */
struct Norm {
    float mean, inverse;
};

template <int K>
static __device__ __forceinline__ Norm normOf(float sum, float squares) {
    const float mean = sum / K;
    return {mean, rsqrtf(fmaxf(squares / K - mean * mean, 0.f) + __int_as_float(EPSILON_BITS))};
}
