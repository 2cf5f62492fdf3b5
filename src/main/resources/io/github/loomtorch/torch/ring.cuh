/*
 * A ring of pieces of shared memory (compute capability 9.0 on): the copy engine fills a piece and completes its `full` barrier; who has
 * read it arrives at its `empty` barrier. Both count phases: the n-th use of a piece waits for parity n % 2.
 */
static __device__ __forceinline__ unsigned sharedAddress(const void* p) {
    return (unsigned)__cvta_generic_to_shared(p);
}

#if __CUDA_ARCH__ >= 900
static __device__ __forceinline__ void initBarrier(u64* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(sharedAddress(barrier)), "r"(arrivals) : "memory");
}

/* Before other threads, and the copy engine, use the barriers that this thread made; __syncthreads() then tells them. */
static __device__ __forceinline__ void publishBarriers() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

static __device__ __forceinline__ void expectBytes(u64* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(sharedAddress(barrier)), "r"(bytes) : "memory");
}

static __device__ __forceinline__ void arrive(u64* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(sharedAddress(barrier)) : "memory");
}

static __device__ __forceinline__ void waitFor(u64* barrier, int parity) {
    asm volatile("{\n .reg .pred done;\n again:\n mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n @!done bra again;\n}"
                 :: "r"(sharedAddress(barrier)), "r"(parity) : "memory");
}

/* Contiguous memory, 16 bytes times anything. */
static __device__ __forceinline__ void copyBytes(void* to, const void* from, int bytes, u64* barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 :: "r"(sharedAddress(to)), "l"(from), "r"(bytes), "r"(sharedAddress(barrier)) : "memory");
}
#endif
