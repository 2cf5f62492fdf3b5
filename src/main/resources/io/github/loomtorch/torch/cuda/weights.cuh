/* Eight neighbouring weights of a row, as they are in memory and as elements. */
#pragma once
#include "memory.cuh"

/*
 * 16-bit weights; with INT8, weights rounded to 8 bits, with 128 added. A sum of products with 8-bit weights is to be
 * multiplied by the row's scale.
 */
template <bool INT8>
struct Weights {
    uint4 raw;

    __device__ __forceinline__ static Weights load(const void* w, size_t at) {
        return {loadWeights((const Element*)w + at)};
    }

    __device__ __forceinline__ static Weights zero() {
        return {make_uint4(0, 0, 0, 0)};
    }

    __device__ __forceinline__ uint4 elements() const {
        return raw;
    }
};

template <>
struct Weights<true> {
    uint2 raw;

    __device__ __forceinline__ static Weights load(const void* w, size_t at) {
        return {loadWeights8((const char*)w + at)};
    }

    __device__ __forceinline__ static Weights zero() {
        return {make_uint2(0x80808080, 0x80808080)};
    }

    /* Bytes `first` and first + 1 as elements. */
    __device__ __forceinline__ static unsigned pair(unsigned bytes, int first) {
#if LT_BFLOAT16
        const float x = (float)((int)(bytes >> 8 * first & 0xff) - 128);
        const float y = (float)((int)(bytes >> 8 * (first + 1) & 0xff) - 128);
        return pack2(x, y);
#else
        unsigned x; // 0x64 before a byte is the half 1024 + byte
        asm("prmt.b32 %0, %1, 0x64646464, %2;" : "=r"(x) : "r"(bytes), "r"(first == 0 ? 0x4140 : 0x4342));
        asm("sub.f16x2 %0, %0, %1;" : "+r"(x) : "r"(0x64806480)); // 1024 + 128
        return x;
#endif
    }

    __device__ __forceinline__ uint4 elements() const {
        return make_uint4(pair(raw.x, 0), pair(raw.x, 2), pair(raw.y, 0), pair(raw.y, 2));
    }
};
