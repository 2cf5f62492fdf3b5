/*
 * Barriers in shared memory (mbarrier, compute capability 9.0 on), which count arrivals and bytes: of the copy engine, and of the stores of
 * other blocks of a cluster. They count phases too: who waits for the n-th completion waits for parity n % 2, n from 0.
 *
 * In a ring of pieces of shared memory each has two: the copy engine completes `full`, and who has read the piece arrives at `empty`.
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

/* The same for a barrier that other blocks complete, whose stores are read then. */
static __device__ __forceinline__ void waitForBlocks(u64* barrier, int parity) {
    asm volatile("{\n .reg .pred done;\n again:\n mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
                 " @!done bra again;\n}" :: "r"(sharedAddress(barrier)), "r"(parity) : "memory");
}

/* For what is not read again soon: it leaves the L2 cache first. */
static __device__ __forceinline__ u64 evictFirst() {
    u64 policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

/* Contiguous memory, 16 bytes times anything; `policy` of the L2 cache. */
static __device__ __forceinline__ void copyBytes(void* to, const void* from, int bytes, u64* barrier, u64 policy) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
                 :: "r"(sharedAddress(to)), "l"(from), "r"(bytes), "r"(sharedAddress(barrier)), "l"(policy) : "memory");
}

/* All threads of a cluster's blocks arrive, once, those that made barriers after publishBarriers(); then the others' barriers are there. */
static __device__ __forceinline__ void arriveAtCluster() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

static __device__ __forceinline__ void awaitCluster() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* An address in the shared memory of another block of the cluster, where `own` is in this one's. */
static __device__ __forceinline__ unsigned ofBlock(const void* own, int block) {
    unsigned at;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(at) : "r"(sharedAddress(own)), "r"(block));
    return at;
}

/* Stores in another block's shared memory, which that block's barrier counts. */
static __device__ __forceinline__ void push(unsigned to, float a, float b, float c, float d, unsigned barrier) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];"
                 :: "r"(to), "f"(a), "f"(b), "f"(c), "f"(d), "r"(barrier) : "memory");
}
#endif
