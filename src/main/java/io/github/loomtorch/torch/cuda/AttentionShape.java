package io.github.loomtorch.torch.cuda;

/**
 * The sizes of the attention kernels for a model: pure arithmetic.
 *
 * @param headCount of the model
 * @param headSize of the model
 * @param elementBytes of an element, 2 or 4
 * @param pageSize tokens of a page
 */
record AttentionShape(int headCount, int headSize, int elementBytes, int pageSize) {
    /** Most threads of a block of {@code attention_paged.cu}. */
    static final int PAGED_THREADS = 256;
    /** Keys that a group of threads has in flight there. */
    static final int PAGED_UNROLL = 8;
    /** Blocks that share a row's context in its split-KV kernel. */
    static final int PAGED_CLUSTER = 4;

    /** Rows of a tile of {@code attention_prefill.cu}. */
    static final int PREFILL_QUERIES = 16;

    static final int PREFILL_WARPS = 4;
    /** The head size that it is made for. */
    static final int PREFILL_HEAD_SIZE = 64;

    /** Stages of the pipeline of {@code attention_persistent.cu}. */
    static final int PERSISTENT_STAGES = 4;

    private static final int MAX_PERSISTENT_HEADS = 5; // of a block: few, so that there are enough blocks
    private static final int MAX_STAGE_TOKENS = 16;
    private static final int PIPELINE_BYTES = 98 << 10; // at most, so that two blocks run on an SM
    private static final int VECTOR_BYTES = 16;
    private static final int WARP = 32;

    /** Whether the kernels are made for heads of this size: 16 bytes a thread, for a power of two threads of a warp. */
    boolean isSupported() {
        int lanes = headSize * elementBytes / VECTOR_BYTES;
        return headSize * elementBytes % VECTOR_BYTES == 0 && lanes <= WARP && Integer.bitCount(lanes) == 1;
    }

    /** Keys that a block of {@code attention_paged.cu} reads at once. */
    int pagedKeys() {
        return PAGED_UNROLL * PAGED_THREADS * VECTOR_BYTES / (headSize * elementBytes);
    }

    /** Heads of a block of {@code attention_persistent.cu}: they divide the model's. */
    int persistentHeads() {
        int heads = MAX_PERSISTENT_HEADS;
        while (headCount % heads != 0) {
            heads--;
        }
        return heads;
    }

    /** Threads of a block there: a warp a head, and the producer. */
    int persistentThreads() {
        return WARP * (persistentHeads() + 1);
    }

    /** Tokens of a stage there, a power of two. */
    int persistentTokens() {
        int fitting = Integer.highestOneBit(PIPELINE_BYTES / PERSISTENT_STAGES / tokenBytes());
        return Math.min(fitting, Math.min(MAX_STAGE_TOKENS, pageSize));
    }

    /** Dynamic shared memory of a block there. */
    int persistentSharedBytes() {
        return PERSISTENT_STAGES * persistentTokens() * tokenBytes();
    }

    /** Keys and values of one token, for the heads of a block. */
    private int tokenBytes() {
        return 2 * persistentHeads() * headSize * elementBytes;
    }

    /** Floats of a partial state there: the output of a head, maximum and sum, padded to 16 bytes. */
    int planState() {
        return headSize + 4;
    }
}
