/*
 * Element, the type of weights, activations and KV cache, and its conversions.
 *
 *   LT_ELEMENT_BITS  32: float. 16: half or bfloat16
 *   LT_BFLOAT16      whether 16 bits are bfloat16
 *
 * A 16-bit element is its raw bits, because NVRTC runs where CUDA's headers are not installed.
 */
#pragma once
#if !defined(LT_ELEMENT_BITS) || !defined(LT_BFLOAT16)
#error "element.cuh needs -DLT_ELEMENT_BITS and -DLT_BFLOAT16: see KernelFile.java"
#endif
static_assert(LT_ELEMENT_BITS == 32 || LT_ELEMENT_BITS == 16, "LT_ELEMENT_BITS must be 32 or 16");

typedef unsigned long long u64;

#define INF __int_as_float(0x7f800000)
constexpr float LOG2_E = 1.44269504f;
constexpr unsigned FULL_WARP = 0xffffffffu;
constexpr int WARP = 32;
constexpr int VEC = 128 / LT_ELEMENT_BITS; // elements of 16 bytes

#if LT_ELEMENT_BITS == 32
typedef float Element;

__device__ __forceinline__ float widen(Element x) {
    return x;
}

__device__ __forceinline__ Element narrow(float x) {
    return x;
}

/* 16 bytes to VEC floats. */
__device__ __forceinline__ void unpack(uint4 raw, float* x) {
    x[0] = __uint_as_float(raw.x);
    x[1] = __uint_as_float(raw.y);
    x[2] = __uint_as_float(raw.z);
    x[3] = __uint_as_float(raw.w);
}
#else
typedef unsigned short Element;

#if LT_BFLOAT16
__device__ __forceinline__ float widen(Element x) {
    return __uint_as_float((unsigned)x << 16);
}

__device__ __forceinline__ Element narrow(float x) {
    const unsigned bits = __float_as_uint(x);
    return x != x ? 0x7fff : (Element)((bits + 0x7fff + (bits >> 16 & 1)) >> 16); // to nearest, ties to even
}
#else
__device__ __forceinline__ float widen(Element x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}

__device__ __forceinline__ Element narrow(float x) {
    Element y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
#endif

/* Two elements in one register, and back. */
__device__ __forceinline__ unsigned pack2(float low, float high) {
    return (unsigned)narrow(low) | (unsigned)narrow(high) << 16;
}

__device__ __forceinline__ float2 unpack2(unsigned pair) {
    return make_float2(widen((Element)(pair & 0xffff)), widen((Element)(pair >> 16)));
}

/* VEC floats to 16 bytes, and back. */
__device__ __forceinline__ uint4 pack(const float* x) {
    return make_uint4(pack2(x[0], x[1]), pack2(x[2], x[3]), pack2(x[4], x[5]), pack2(x[6], x[7]));
}

__device__ __forceinline__ void unpack(uint4 raw, float* x) {
    const unsigned pairs[4] = {raw.x, raw.y, raw.z, raw.w};
    #pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 two = unpack2(pairs[i]);
        x[2 * i] = two.x;
        x[2 * i + 1] = two.y;
    }
}
#endif
