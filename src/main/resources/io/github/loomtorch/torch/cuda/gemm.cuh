/*
 * What the matrix products of gemm_skinny.cu and gemm_wgmma.cu share. All matrices are row-major with K contiguous:
 * activations x [M, K], weights w [N, K], out [M, N] = x w^T, of 16-bit elements.
 *
 *   LT_EPSILON_BITS  epsilon of the LayerNorm, as the bits of a float
 *   LT_ACTIVATION    name of an Activation
 *
 * A product with a LayerNorm before it takes the rows as they are. With w holding the norm's weight, and `sums` the sum
 * of each row of w,
 *
 *   norm(x) w^T = (x w^T - mean sums) / deviation
 *
 * so the mean and the standard deviation, which the blocks compute beside the product, are needed only at its end.
 * Weights, biases and sums are made so when the model is loaded: see LinearWeights.java.
 */
#pragma once
#include "memory.cuh"
#if !defined(LT_EPSILON_BITS) || !defined(LT_ACTIVATION)
#error "gemm.cuh needs -DLT_EPSILON_BITS and -DLT_ACTIVATION: see KernelFile.java"
#endif
static_assert(LT_ELEMENT_BITS == 16, "tensor cores take 16-bit elements here");

enum class Epilogue {
    BIAS,       // out = x w^T + bias
    ACTIVATION, // out = activation(x w^T + bias)
    RESIDUAL    // out += x w^T + bias
};

/* Those of io.github.loomtorch.model.Activation, by the same names. */
enum class Activation { GELU_TANH, GELU, RELU, QUICK_GELU, SILU, TANH };
constexpr Activation ACTIVATION = Activation::LT_ACTIVATION;

__device__ __forceinline__ float sigmoid(float x) {
    return __fdividef(1.f, 1.f + __expf(-x));
}

/* NaN stays NaN. */
__device__ __forceinline__ float activation(float x) {
    if constexpr (ACTIVATION == Activation::GELU_TANH) {
        const float u = 0.7978845608f * (x + 0.044715f * x * x * x);
        return x - __fdividef(x, 1.f + __expf(2.f * u)); // x (1 + tanh u) / 2
    } else if constexpr (ACTIVATION == Activation::GELU) {
        return 0.5f * x * (1.f + erff(0.7071067812f * x));
    } else if constexpr (ACTIVATION == Activation::RELU) {
        return x < 0.f ? 0.f : x;
    } else if constexpr (ACTIVATION == Activation::QUICK_GELU) {
        return x * sigmoid(1.702f * x);
    } else if constexpr (ACTIVATION == Activation::SILU) {
        return x * sigmoid(x);
    } else {
        return tanhf(x);
    }
}

/* Mean and inverse standard deviation of a row. */
struct Norm {
    float mean, inverse;
};

/* Of a row of K elements, from its sum and its sum of squares. */
template <int K>
__device__ __forceinline__ Norm normOf(float sum, float squares) {
    const float mean = sum / K;
    return {mean, rsqrtf(fmaxf(squares / K - mean * mean, 0.f) + __int_as_float(LT_EPSILON_BITS))};
}
