/*
 * Loads with a cache policy, and programmatic dependent launch [1].
 *
 * [1] CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization"
 */
#pragma once
#include "element.cuh"

__device__ __forceinline__ void load(const Element* from, float* x) {
    unpack(*(const uint4*)from, x);
}

/*
 * Loads of activations, which the previous kernel of the step wrote: they bypass the L1 cache, and come after
 * awaitPrevious(). 16 bytes, two 16-bit elements, one 16-bit element.
 */
__device__ __forceinline__ uint4 loadFresh(const Element* from) {
    uint4 x;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
            : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
            : "l"(from)
            : "memory");
    return x;
}

__device__ __forceinline__ unsigned loadFresh2(const Element* from) {
    unsigned x;
    asm volatile("ld.global.cg.u32 %0, [%1];" : "=r"(x) : "l"(from) : "memory");
    return x;
}

__device__ __forceinline__ unsigned short loadFresh1(const Element* from) {
    unsigned short x;
    asm volatile("ld.global.cg.u16 %0, [%1];" : "=h"(x) : "l"(from) : "memory");
    return x;
}

/* Loads of weights, which a step reads once: they bypass the L1 cache. 16 bytes, 8 bytes. */
__device__ __forceinline__ uint4 loadWeights(const Element* from) {
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
            : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
            : "l"(from));
    return x;
}

__device__ __forceinline__ uint2 loadWeights8(const char* from) {
    uint2 x;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "l"(from));
    return x;
}

/*
 * Programmatic dependent launch. After releaseNext() the next kernel may start; it does what does not depend on this
 * one, then waits. Every thread that reads what an earlier kernel of the step writes, or writes what one reads, calls
 * awaitPrevious() first: it returns when the previous kernel, and so all before it, have finished.
 */
__device__ __forceinline__ void releaseNext() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ void awaitPrevious() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
