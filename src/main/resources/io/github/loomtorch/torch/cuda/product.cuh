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
#include "mma.cuh"

#define PLAIN 0      /* out = x w^T + bias */
#define ACTIVATED 1  /* out = activation(x w^T + bias) */
#define RESIDUAL 2   /* out += x w^T + bias */

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
