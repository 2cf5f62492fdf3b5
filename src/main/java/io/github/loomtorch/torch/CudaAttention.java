package io.github.loomtorch.torch;

import io.github.loomtorch.model.Gpt2Config;
import java.util.EnumSet;
import java.util.Set;

/**
 * Attention of a step's rows over the paged KV cache, by the kernels of {@code decode.cu}. Confined to the engine thread.
 */
final class CudaAttention {
    private static final int FEW_BLOCKS = 48; // of HEADS: so many can be split
    private static final int SPLIT_BLOCKS = 4;
    private static final int UNROLL = 8;
    private static final int MOST_THREADS = 256;
    private static final int MANY_BLOCKS = 5; // of HEADS for each multiprocessor: RING is faster then
    private static final int MOST_RING_HEADS = 5; // a few, so that there are enough blocks
    private static final int RING_PIECES = 4;
    private static final int PIECE_TOKENS = 16; // at most
    private static final int RING_BYTES = 98 << 10; // at most
    private static final int TILE_HEAD_SIZE = 64;
    private static final int TILE_ROWS = 16;
    private static final int TILE_THREADS = 128;

    /** The ways to compute it, each right for any step, but as they say. */
    enum Kind {
        /** Blocks have a head each. */
        HEADS,
        /** Blocks share a head: for few rows with long contexts. */
        SPLIT,
        /**
         * Blocks have several heads, and fetch keys and values through a ring of shared memory: for many rows, which must stand alone in
         * their sequence.
         */
        RING,
        /** Neighbouring rows of a sequence share a block, as there are if the step has parts of prompts; rows that stand alone as HEADS. */
        TILES,
        /** The same, with RING for the rows that stand alone. */
        TILES_AND_RING
    }

    private final TorchScriptProgram program;
    private final Gpt2Config config;
    private final int ringHeads;
    private final int manyBlocks;
    private final CudaKernels.Kernel heads;
    private final CudaKernels.Kernel split; // null if the GPU does not have what it needs
    private final CudaKernels.Kernel ring; // likewise
    private final CudaKernels.Kernel tiles; // or the elements or heads do not suit it
    private final int ringBlocks; // that run at once

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
            "-DPIECE=" + pieceTokens(program),
            "-DQUERIES=" + TILE_ROWS,
            "-DTILE_WARPS=" + TILE_THREADS / 32
        };
    }

    /**
     * Takes the kernels.
     *
     * @param decode compiled with {@link #macros}
     * @param atLeast90 whether the GPU has what the kernels need that share memory
     */
    CudaAttention(TorchScriptProgram program, CudaKernels decode, boolean atLeast90, int multiprocessors) {
        this.program = program;
        config = program.config();
        ringHeads = ringHeads(config);
        manyBlocks = MANY_BLOCKS * multiprocessors;
        heads = decode.overlappingKernel("attention");
        split = atLeast90 ? decode.overlappingKernel("split_attention") : null;
        ring = atLeast90
                ? decode.overlappingKernel("ring_attention").withSharedBytes(RING_PIECES * pieceTokens(program) * tokenBytes(program))
                : null;
        ringBlocks = atLeast90 ? multiprocessors * ring.blocksPerMultiprocessor(ringThreads()) : 0;
        tiles = program.flash() && config.headSize() == TILE_HEAD_SIZE ? decode.overlappingKernel("tile_attention") : null;
    }

    private int ringThreads() {
        return 32 * (ringHeads + 1);
    }

    /**
     * The fastest for a step.
     *
     * @param alone rows that stand alone in their sequence, or are padding
     * @param parts whether there are others, in parts of prompts
     * @param longest about how many tokens a row attends to at most
     */
    Kind kind(int alone, boolean parts, int longest) {
        boolean manyAlone = ring != null && alone * config.headCount() >= manyBlocks;
        if (parts) {
            return tiles == null ? Kind.HEADS : manyAlone ? Kind.TILES_AND_RING : Kind.TILES;
        }
        if (manyAlone) {
            return Kind.RING;
        }
        int keysAtOnce = UNROLL * MOST_THREADS * 16 / (config.headSize() * Libtorch.sizeBytes(program.dtype()));
        boolean splits = split != null && alone * config.headCount() <= FEW_BLOCKS && longest > keysAtOnce;
        return splits ? Kind.SPLIT : Kind.HEADS;
    }

    /** All that {@link #kind} says of steps of so many rows, {@code batch} sequences at most. */
    Set<Kind> kinds(int count, int batch) {
        Set<Kind> kinds = EnumSet.noneOf(Kind.class);
        if (count <= batch) {
            kinds.add(kind(count, false, 1));
            kinds.add(kind(count, false, config.contextLength()));
        }
        if (count > 1) {
            kinds.add(kind(0, true, 1));
            kinds.add(kind(Math.min(count - 2, batch), true, 1));
        }
        return kinds;
    }

    /**
     * Writes the rows' keys and values to the cache and attends to it.
     *
     * @param input address of the step's rows
     * @param qkv address of [count, 3C]
     * @param attended address of the result, [count, C]
     */
    void launch(Kind kind, int layer, int count, long input, long qkv, long attended) {
        long keys = program.cache().keysAddress(layer);
        long values = program.cache().valuesAddress(layer);
        double scale = config.scaleAttnWeights() ? 1 / Math.sqrt(config.headSize()) : 1;
        float layerScale = (float) (config.scaleAttnByInverseLayerIdx() ? scale / (layer + 1) : scale);
        int headCount = config.headCount();
        int blocks = count * headCount;
        if (kind == Kind.HEADS) {
            int threads = blocks <= 192 ? MOST_THREADS : blocks <= 768 ? 128 : 64;
            heads.launch(headCount, count, 1, threads, input, qkv, keys, values, layerScale, attended);
        } else if (kind == Kind.SPLIT) {
            split.launch(headCount, count, SPLIT_BLOCKS, MOST_THREADS, input, qkv, keys, values, layerScale, attended);
        }
        if (kind == Kind.TILES || kind == Kind.TILES_AND_RING) {
            int lines = Math.ceilDiv(count, TILE_ROWS) + (kind == Kind.TILES ? count : 0);
            tiles.launch(headCount, lines, 1, TILE_THREADS, input, qkv, keys, values, layerScale, attended, count);
        }
        if (kind == Kind.RING || kind == Kind.TILES_AND_RING) {
            int shares = blocks / ringHeads;
            ring.launch(Math.min(shares, ringBlocks), 1, 1, ringThreads(), input, qkv, keys, values, layerScale, attended, shares);
        }
    }
}
