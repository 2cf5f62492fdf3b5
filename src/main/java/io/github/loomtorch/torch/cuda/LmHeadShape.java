package io.github.loomtorch.torch.cuda;

/**
 * The sizes of {@code lm_head.cu} for a model: pure arithmetic.
 *
 * @param hiddenSize of the model, divisible by 32
 */
record LmHeadShape(int hiddenSize) {
    /** Most rows. */
    static final int ROWS = 16;

    static final int WARPS = 8;
    static final int THREADS = 32 * WARPS;

    private static final int MAX_SHARED_BYTES = 99 << 10; // of a block, on any GPU of compute capability 8.0 on
    private static final int BANK_ELEMENTS = 64; // 16-bit elements in all banks of shared memory

    /** Whether the rows fit into shared memory. */
    boolean isSupported() {
        return hiddenSize % 32 == 0 && sharedBytes() <= MAX_SHARED_BYTES;
    }

    /** Elements from a normed row to the next: neighbouring rows are half of the banks apart. */
    int stride() {
        return hiddenSize + (hiddenSize % BANK_ELEMENTS == 0 ? BANK_ELEMENTS / 2 : 0);
    }

    /** Dynamic shared memory of a block. */
    int sharedBytes() {
        return 2 * ROWS * stride();
    }
}
