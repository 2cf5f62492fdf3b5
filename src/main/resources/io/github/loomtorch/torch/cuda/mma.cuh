/*
 * The matrix units, by warps (mma [1], compute capability 8.0 on), for the 16-bit elements of element.cuh.
 *
 * [1] PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions"
 */
#ifdef BRAIN
#define MMA_TYPES ".f32.bf16.bf16.f32"
#define ONES 0x3f803f80u
#else
#define MMA_TYPES ".f32.f16.f16.f32"
#define ONES 0x3c003c00u
#endif

/*
 * c += a b for a [16, 16], b [16, 8], c [16, 8]. Thread (g, t) = (lane / 4, lane % 4) holds of a rows g and g + 8 (a0 and a1 columns 2t and
 * 2t + 1, a2 and a3 those 8 further), of b column g (b0 rows 2t and 2t + 1, b1 those 8 further), of c columns 2t and 2t + 1 of rows g and
 * g + 8.
 */
static __device__ __forceinline__ void mma(float (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col" MMA_TYPES " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
