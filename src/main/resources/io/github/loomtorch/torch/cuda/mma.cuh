/*
 * Matrix products of 16-bit elements on tensor cores, by warps (mma.sync [1], compute capability 8.0 on).
 *
 * [1] PTX ISA, "Matrix Fragments for mma.m16n8k16"
 */
#pragma once
#include "element.cuh"
static_assert(LT_ELEMENT_BITS == 16, "tensor cores take 16-bit elements here");

#if LT_BFLOAT16
#define MMA_TYPES ".f32.bf16.bf16.f32"
constexpr unsigned ONES = 0x3f803f80u; // two elements of 1
#else
#define MMA_TYPES ".f32.f16.f16.f32"
constexpr unsigned ONES = 0x3c003c00u;
#endif

/*
 * c += a b for a [16, 16], b [16, 8], c [16, 8]. Thread (g, t) = (lane / 4, lane % 4) holds of a rows g and g + 8 (a0
 * and a1 columns 2t and 2t + 1, a2 and a3 those 8 further), of b column g (b0 rows 2t and 2t + 1, b1 those 8 further),
 * of c columns 2t and 2t + 1 of rows g and g + 8.
 */
__device__ __forceinline__ void mma(
        float (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col" MMA_TYPES
                 " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/*
 * The same over 32 of K: each thread has 8 neighbouring elements of K from rows g and g + 8 of a and from row g of b,
 * as 16-byte loads give them. That permutes K, equally in a and in b, so the sum is the same.
 */
__device__ __forceinline__ void mma32(float (&c)[4], const uint4& upper, const uint4& lower, const uint4& b) {
    mma(c, upper.x, lower.x, upper.y, lower.y, b.x, b.y);
    mma(c, upper.z, lower.z, upper.w, lower.w, b.z, b.w);
}
