/*
 * The arithmetic of sampling, as io.github.loomtorch.sampling.Sampler has it: compiled without fused multiply-add, and
 * with integer sums, it gives the same results bit for bit. The package documentation of `sampling` states it.
 */
#pragma once
#include "element.cuh"

constexpr int OCTAVE = 32;          // buckets to a factor of two of weight
constexpr float MIN_EXPONENT = -41; // weights below 2^-41 of the largest are 0
constexpr int BUCKETS = 41 * OCTAVE + 1;

/* Orders as Sampler.orderOf: descending logit, then ascending id; -0 equals 0. */
__device__ __forceinline__ u64 orderOf(float logit, int id) {
    const int bits = __float_as_int(logit + 0.f);
    const int ascending = bits ^ (int)((unsigned)(bits >> 31) >> 1);
    return (u64)(unsigned)(~ascending ^ 0x80000000) << 32 | (unsigned)id;
}

__device__ __forceinline__ float logitOf(u64 order) {
    const int ascending = ~(int)((unsigned)(order >> 32) ^ 0x80000000);
    return __int_as_float(ascending ^ (int)((unsigned)(ascending >> 31) >> 1));
}

__device__ __forceinline__ int idOf(u64 order) {
    return (int)(unsigned)order;
}

/* The last order, of any id, of tokens with this logit. */
__device__ __forceinline__ u64 lastOrderOf(unsigned upper) {
    return (u64)upper << 32 | 0xffffffffu;
}

__device__ __forceinline__ float exponentOf(float logit, float max, float scale) {
    return (logit - max) * scale;
}

__device__ __forceinline__ int bucketOf(float exponent) {
    return (int)(fmaxf(exponent, MIN_EXPONENT) * -(float)OCTAVE);
}

/* 2^exponent in units of 2^-40, for an exponent of at most 0. */
__device__ __forceinline__ u64 weightOf(float exponent) {
    exponent = fmaxf(exponent, MIN_EXPONENT);
    const float f = exponent - (float)(int)exponent;
    float power = 1.14919952e-4f;
    power = power * f + 1.29163684e-3f;
    power = power * f + 9.59703512e-3f;
    power = power * f + 5.54992296e-2f;
    power = power * f + 2.40226090e-1f;
    power = power * f + 6.93147182e-1f;
    power = power * f + 1.f;
    return (u64)(int)(power * 16777216.f) << 16 >> (int)(exponent * -(float)OCTAVE) / OCTAVE;
}
