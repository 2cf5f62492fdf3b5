/*
 * Barriers in shared memory (mbarrier [1]), bulk copies to shared memory (TMA [2]), stores to other blocks of a cluster
 * [3], and a pipeline of stages made of them. Compute capability 9.0 on.
 *
 * A barrier completes a phase when it has seen all expected arrivals and bytes. The n-th phase, n from 0, is awaited by
 * parity n % 2.
 *
 * [1] PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier"
 * [2] PTX ISA, "cp.async.bulk" and "cp.async.bulk.tensor"
 * [3] PTX ISA, "st.async"
 */
#pragma once
#include "element.cuh"

__device__ __forceinline__ unsigned sharedAddress(const void* p) {
    return (unsigned)__cvta_generic_to_shared(p);
}

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void initBarrier(u64* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(arrivals) : "memory");
}

/* After initBarrier(), and before the __syncthreads() behind which other threads and the TMA use the barriers. */
__device__ __forceinline__ void publishBarriers() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* Arrives, and has the phase wait for `bytes` too. */
__device__ __forceinline__ void expectBytes(u64* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(bytes)
            : "memory");
}

__device__ __forceinline__ void arrive(u64* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(sharedAddress(barrier)) : "memory");
}

__device__ __forceinline__ void waitFor(u64* barrier, int parity) {
    asm volatile("{\n .reg .pred done;\n again:\n mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 " @!done bra again;\n}" ::"r"(sharedAddress(barrier)),
            "r"(parity)
            : "memory");
}

/* The same for a barrier that other blocks of the cluster complete by pushRemote(), whose values are read then. */
__device__ __forceinline__ void waitForCluster(u64* barrier, int parity) {
    asm volatile(
            "{\n .reg .pred done;\n again:\n mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
            " @!done bra again;\n}" ::"r"(sharedAddress(barrier)),
            "r"(parity)
            : "memory");
}

/* L2 cache policy of data that is not read again soon. */
__device__ __forceinline__ u64 evictFirst() {
    u64 policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

/* Copies contiguous global memory to shared memory; `bytes` is a multiple of 16. The barrier counts them. */
__device__ __forceinline__ void bulkCopy(void* to, const void* from, int bytes, u64* barrier, u64 policy) {
    asm volatile(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
                    "r"(sharedAddress(to)),
            "l"(from), "r"(bytes), "r"(sharedAddress(barrier)), "l"(policy)
            : "memory");
}

/*
 * A barrier of the cluster in two halves. All threads of its blocks call both, once; after awaitCluster() the barriers
 * that other blocks initialised before arriveAtCluster() can be used.
 */
__device__ __forceinline__ void arriveAtCluster() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

__device__ __forceinline__ void awaitCluster() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* The address of another block's copy of `local`, a variable in shared memory. */
__device__ __forceinline__ unsigned remoteAddress(const void* local, int block) {
    unsigned address;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(sharedAddress(local)), "r"(block));
    return address;
}

/* Stores 16 bytes in another block's shared memory; that block's barrier counts them. Both addresses are remote. */
__device__ __forceinline__ void pushRemote(unsigned to, float a, float b, float c, float d, unsigned barrier) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
            "f"(a), "f"(b), "f"(c), "f"(d), "r"(barrier)
            : "memory");
}

/*
 * A pipeline of STAGES buffers from a producer, whose copies are counted in bytes, to consumer threads; as CUTLASS's
 * PipelineTmaAsync. The i-th item, i from 0, uses stage i % STAGES. In shared memory.
 */
template <int STAGES>
struct Pipeline {
    u64 full[STAGES];
    u64 empty[STAGES];

    /* By one thread; then publishBarriers() and __syncthreads(). */
    __device__ __forceinline__ void init(int consumers) {
        for (int s = 0; s < STAGES; s++) {
            initBarrier(&full[s], 1);
            initBarrier(&empty[s], consumers);
        }
    }

    /* The producer waits until the consumers have released the stage's previous item, if it had one. */
    __device__ __forceinline__ void acquire(int i) {
        if (i >= STAGES) {
            waitFor(&empty[i % STAGES], i / STAGES - 1 & 1);
        }
    }

    /* What the producer's copies of item i, and expectBytes(), name. */
    __device__ __forceinline__ u64* barrier(int i) {
        return &full[i % STAGES];
    }

    /* A consumer waits until the item is there. */
    __device__ __forceinline__ void wait(int i) {
        waitFor(&full[i % STAGES], i / STAGES & 1);
    }

    /*
     * A consumer thread has read the item. Each thread arrives, not one for its warp after a __syncwarp():
     * compute-sanitizer's racecheck does not see that __syncwarp() orders the other lanes' reads. It costs no
     * measurable time.
     */
    __device__ __forceinline__ void release(int i) {
        arrive(&empty[i % STAGES]);
    }
};
#endif
