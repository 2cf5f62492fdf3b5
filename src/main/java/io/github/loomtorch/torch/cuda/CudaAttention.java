package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Attention of a step's rows over the paged KV cache, by the kernels of {@code decode.cu}. Confined to the engine
 * thread.
 */
final class CudaAttention {
    private static final int SPLIT_BLOCKS = 4;
    private static final int UNROLL = 8;
    private static final int MOST_THREADS = 256;
    private static final int MOST_RING_HEADS = 5; // a few, so that there are enough blocks
    private static final int RING_PIECES = 4;
    private static final int PIECE_TOKENS = 16; // at most
    private static final int RING_BYTES = 98 << 10; // at most
    private static final int TILE_HEAD_SIZE = 64;
    private static final int TILE_ROWS = 16;
    private static final int TILE_THREADS = 128;

    private final TorchScriptProgram program;
    private final Gpt2Config config;
    private final AttentionChoice choice;
    private final int ringHeads;
    private final CudaKernels.Kernel heads;
    private final CudaKernels.Kernel split; // null, as the next two, if it is never chosen
    private final CudaKernels.Kernel tiles;
    private final Ring ring;

    /**
     * What RING has.
     *
     * @param partial address of [items, H, D + 4] float32
     * @param done address of [items, H] int32
     */
    private record Ring(CudaKernels.Kernel kernel, AttentionPlan plan, long partial, long done) {}

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
     * @param maxRows of a step
     * @param deterministic whether no row's result may depend on what other rows there are
     * @param resources of the owner, to which this adds its own
     */
    CudaAttention(
            TorchScriptProgram program,
            CudaKernels decode,
            boolean atLeast90,
            int multiprocessors,
            int maxRows,
            boolean deterministic,
            Resources resources) {
        this.program = program;
        config = program.config();
        ringHeads = ringHeads(config);
        choice = new AttentionChoice(
                config.headCount(),
                config.contextLength(),
                UNROLL * MOST_THREADS * 16 / (config.headSize() * Libtorch.sizeBytes(program.dtype())),
                multiprocessors,
                atLeast90,
                program.flash() && config.headSize() == TILE_HEAD_SIZE);
        heads = decode.overlappingKernel("attention");
        split = atLeast90 ? decode.overlappingKernel("split_attention") : null;
        tiles = choice.tiles() ? decode.overlappingKernel("tile_attention") : null;
        ring = atLeast90 ? ring(decode, multiprocessors, maxRows, deterministic, resources) : null;
    }

    private Ring ring(
            CudaKernels decode, int multiprocessors, int maxRows, boolean deterministic, Resources resources) {
        CudaKernels.Kernel kernel = decode.overlappingKernel("ring_attention")
                .withSharedBytes(RING_PIECES * pieceTokens(program) * tokenBytes(program));
        AttentionPlan plan = new AttentionPlan(
                config.headCount() / ringHeads,
                multiprocessors * kernel.blocksPerMultiprocessor(ringThreads()),
                pieceTokens(program),
                !deterministic);
        long items = plan.capacity(maxRows);
        long heads = config.headCount();
        return new Ring(
                kernel,
                plan,
                zeros(ScalarType.Float, resources, items, heads, config.headSize() + 4),
                zeros(ScalarType.Int, resources, items, heads));
    }

    /** Their address. */
    private long zeros(ScalarType type, Resources resources, long... shape) {
        TensorOptions options = new TensorOptions(type).device(new DeviceOptional(program.device()));
        return resources.keep(torch.zeros(shape, options)).data_ptr().address();
    }

    private int ringThreads() {
        return 32 * (ringHeads + 1);
    }

    /** What to launch for which step. */
    AttentionChoice choice() {
        return choice;
    }

    /** What stands before a step's rows; null if nothing. */
    AttentionPlan plan() {
        return ring == null ? null : ring.plan();
    }

    /**
     * Writes the rows' keys and values to the cache and attends to it.
     *
     * @param input address of the step's rows, before which the plan stands
     * @param qkv address of [count, 3C]
     * @param attended address of the result, [count, C]
     */
    void launch(AttentionChoice.Kind kind, int layer, int count, long input, long qkv, long attended) {
        long keys = program.cache().keysAddress(layer);
        long values = program.cache().valuesAddress(layer);
        double scale = config.scaleAttnWeights() ? 1 / Math.sqrt(config.headSize()) : 1;
        float layerScale = (float) (config.scaleAttnByInverseLayerIdx() ? scale / (layer + 1) : scale);
        int headCount = config.headCount();
        int blocks = count * headCount;
        int tileLines = Math.ceilDiv(count, TILE_ROWS);
        switch (kind) {
            case HEADS -> {
                int threads = blocks <= 192 ? MOST_THREADS : blocks <= 768 ? 128 : 64;
                heads.launch(headCount, count, 1, threads, input, qkv, keys, values, layerScale, attended);
            }
            case SPLIT ->
                split.launch(
                        headCount, count, SPLIT_BLOCKS, MOST_THREADS, input, qkv, keys, values, layerScale, attended);
            case RING ->
                ring.kernel()
                        .launch(
                                ring.plan().blocks(),
                                1,
                                1,
                                ringThreads(),
                                input,
                                qkv,
                                keys,
                                values,
                                layerScale,
                                attended,
                                ring.partial(),
                                ring.done(),
                                ring.plan().capacity(count));
            case TILES ->
                tiles.launch(
                        headCount,
                        tileLines + count,
                        1,
                        TILE_THREADS,
                        input,
                        qkv,
                        keys,
                        values,
                        layerScale,
                        attended,
                        count);
            case TILES_AND_RING -> {
                tiles.launch(
                        headCount, tileLines, 1, TILE_THREADS, input, qkv, keys, values, layerScale, attended, count);
                launch(AttentionChoice.Kind.RING, layer, count, input, qkv, attended);
            }
        }
    }
}
