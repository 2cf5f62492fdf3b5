/*
 * The element type T and 16-byte vectors of it: VEC elements. ELEMENT_BITS 32 is float; 16 with BRAIN is bfloat16, else half. The halves
 * are raw bits, because CUDA's headers are not there where NVRTC runs.
 */
#define INFINITY __int_as_float(0x7f800000)
typedef unsigned long long u64;

#if ELEMENT_BITS == 32
typedef float T;
static __device__ __forceinline__ float widen(T x) { return x; }
static __device__ __forceinline__ T narrow(float x) { return x; }
#define VEC 4
static __device__ __forceinline__ void expand(uint4 raw, float* x) {
    x[0] = __uint_as_float(raw.x);
    x[1] = __uint_as_float(raw.y);
    x[2] = __uint_as_float(raw.z);
    x[3] = __uint_as_float(raw.w);
}
#else
typedef unsigned short T;
#define VEC 8
#ifdef BRAIN
static __device__ __forceinline__ float widen(T x) { return __uint_as_float((unsigned)x << 16); }
static __device__ __forceinline__ T narrow(float x) {
    const unsigned bits = __float_as_uint(x);
    return x != x ? 0x7fff : (T)((bits + 0x7fff + (bits >> 16 & 1)) >> 16); // to nearest, ties to even
}
#else
static __device__ __forceinline__ float widen(T x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
static __device__ __forceinline__ T narrow(float x) {
    T y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
#endif
static __device__ __forceinline__ void expand(uint4 raw, float* x) {
    const unsigned pairs[4] = {raw.x, raw.y, raw.z, raw.w};
    #pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = widen((T)(pairs[i] & 0xffff));
        x[2 * i + 1] = widen((T)(pairs[i] >> 16));
    }
}
#endif

static __device__ __forceinline__ void load(const T* from, float* x) {
    expand(*(const uint4*)from, x);
}

/* Activations, which the kernel before wrote: past the first-level cache, and never before awaitPrevious(). */
static __device__ __forceinline__ uint4 loadFresh(const T* from) {
    uint4 x;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(from) : "memory");
    return x;
}

/*
 * Programmatic dependent launch: the next kernel may start, which then does what needs nothing of this one and waits. Every thread that
 * reads or writes what another kernel of the step does calls awaitPrevious() first; it returns when that kernel, and so all before, are done.
 */
static __device__ __forceinline__ void releaseNext() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

static __device__ __forceinline__ void awaitPrevious() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
