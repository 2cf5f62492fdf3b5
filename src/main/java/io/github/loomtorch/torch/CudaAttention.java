package io.github.loomtorch.torch;

import io.github.loomtorch.model.Gpt2Config;

/**
 * Attention of single queries over the paged KV cache, by the kernels of {@code decode.cu}: one whose blocks have a head each, and, on a GPU
 * of compute capability 9.0 on, one for few rows with long contexts, whose blocks share a head, and one for many sequences, whose blocks have
 * several heads and fetch keys and values through a ring of shared memory. A step of more rows than sequences can run has the first again:
 * rows of one sequence read the same keys and values, mostly from the L2 cache. Confined to the engine thread.
 */
final class CudaAttention {
    private static final int FEW_BLOCKS = 48; // of the first kernel: so many can be split
    private static final int SPLIT_BLOCKS = 4;
    private static final int UNROLL = 8;
    private static final int MOST_THREADS = 256;
    private static final int MANY_BLOCKS = 5; // of the first kernel for each multiprocessor: the last is faster then
    private static final int MOST_RING_HEADS = 5; // a few, so that there are enough blocks
    private static final int RING_PIECES = 4;
    private static final int PIECE_TOKENS = 16; // at most
    private static final int RING_BYTES = 98 << 10; // at most

    private final TorchScriptProgram program;
    private final Gpt2Config config;
    private final int ringHeads;
    private final int manyBlocks;
    private final int batch;
    private final CudaKernels.Kernel attention;
    private final CudaKernels.Kernel splitAttention; // null if the GPU does not have what it needs
    private final CudaKernels.Kernel ringAttention; // likewise
    private final int ringBlocks; // of it that run at once

    private static int ringHeads(Gpt2Config config) {
        int heads = MOST_RING_HEADS;
        while (config.headCount() % heads != 0) {
            heads--;
        }
        return heads;
    }

    /** Bytes of the keys and values of one token in a ring. */
    private static int tokenBytes(TorchScriptProgram program) {
        return 2 * ringHeads(program.config()) * program.config().headSize() * Libtorch.sizeBytes(program.dtype());
    }

    private static int pieceTokens(TorchScriptProgram program) {
        int fitting = Integer.highestOneBit(RING_BYTES / RING_PIECES / tokenBytes(program));
        return Math.min(fitting, Math.min(PIECE_TOKENS, program.cache().pageSize()));
    }

    /** The options that {@code decode.cu} takes for a program. */
    static String[] macros(TorchScriptProgram program) {
        return new String[] {
            "-DTHREADS=" + MOST_THREADS,
            "-DUNROLL=" + UNROLL,
            "-DSPLIT_BLOCKS=" + SPLIT_BLOCKS,
            "-DHEADS=" + ringHeads(program.config()),
            "-DRING=" + RING_PIECES,
            "-DPIECE=" + pieceTokens(program)
        };
    }

    /**
     * Takes the kernels.
     *
     * @param decode compiled with {@link #macros}
     * @param batch most sequences of a step; a step of more rows has several of one
     * @param atLeast90 whether the GPU has what the kernels need that share memory
     */
    CudaAttention(TorchScriptProgram program, CudaKernels decode, int batch, boolean atLeast90, int multiprocessors) {
        this.program = program;
        config = program.config();
        ringHeads = ringHeads(config);
        manyBlocks = MANY_BLOCKS * multiprocessors;
        this.batch = batch;
        attention = decode.overlappingKernel("attention");
        splitAttention = atLeast90 ? decode.overlappingKernel("split_attention") : null;
        ringAttention = atLeast90
                ? decode.overlappingKernel("ring_attention").withSharedBytes(RING_PIECES * pieceTokens(program) * tokenBytes(program))
                : null;
        ringBlocks = atLeast90 ? multiprocessors * ringAttention.blocksPerMultiprocessor(ringThreads()) : 0;
    }

    private int ringThreads() {
        return 32 * (ringHeads + 1);
    }

    /** Whether a step of so many rows is faster split, if one of them attends to so many tokens. */
    boolean splits(int count, int longest) {
        int keysAtOnce = UNROLL * MOST_THREADS * 16 / (config.headSize() * Libtorch.sizeBytes(program.dtype()));
        return splitAttention != null && count * config.headCount() <= FEW_BLOCKS && longest > keysAtOnce;
    }

    /**
     * Writes the rows' keys and values to the cache and attends to it.
     *
     * @param longest about how many tokens a row attends to at most: right for any, fastest for this
     * @param input address of the step's rows
     * @param qkv address of [count, 3C]
     * @param attended address of the result, [count, C]
     */
    void launch(int layer, int count, int longest, long input, long qkv, long attended) {
        long keys = program.cache().keysAddress(layer);
        long values = program.cache().valuesAddress(layer);
        double scale = config.scaleAttnWeights() ? 1 / Math.sqrt(config.headSize()) : 1;
        float layerScale = (float) (config.scaleAttnByInverseLayerIdx() ? scale / (layer + 1) : scale);
        int heads = config.headCount();
        int blocks = count * heads;
        if (ringAttention != null && blocks >= manyBlocks && count <= batch) {
            int shares = blocks / ringHeads;
            ringAttention.launch(
                    Math.min(shares, ringBlocks), 1, 1, ringThreads(), input, qkv, keys, values, layerScale, attended, shares);
        } else if (splits(count, longest)) {
            splitAttention.launch(heads, count, SPLIT_BLOCKS, MOST_THREADS, input, qkv, keys, values, layerScale, attended);
        } else {
            int threads = blocks <= 192 ? MOST_THREADS : blocks <= 768 ? 128 : 64;
            attention.launch(heads, count, 1, threads, input, qkv, keys, values, layerScale, attended);
        }
    }
}
