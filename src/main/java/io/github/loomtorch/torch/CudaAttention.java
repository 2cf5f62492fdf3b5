package io.github.loomtorch.torch;

import io.github.loomtorch.model.Gpt2Config;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Attention of single queries over the paged KV cache, by the kernels of {@code decode.cu}: one whose blocks have a head each, and, for many
 * rows on a GPU of compute capability 9.0 on, some whose blocks have several heads and fetch their keys and values through a ring of
 * shared memory. Confined to the engine thread.
 */
final class CudaAttention {
    private static final int MANY_BLOCKS = 5; // of the first kernel for each multiprocessor: the others are faster then
    private static final int RING_PIECES = 4;
    private static final int MOST_RING_TOKENS = 64;
    private static final int RING_BYTES = 98 << 10; // at most; a multiprocessor has two such blocks

    private final TorchScriptProgram program;
    private final Gpt2Config config;
    private final int multiprocessors;
    private final CudaKernels.Kernel attention;
    private final TreeMap<Integer, CudaKernels.Kernel> rings = new TreeMap<>(); // by heads of a block

    /** Of a ring: tokens of a piece, or 0 if its keys and values are too large. */
    private static int pieceTokens(int heads, Gpt2Config config, int elementBytes, int pageSize) {
        int tokens = Math.min(MOST_RING_TOKENS, RING_BYTES / (2 * heads * config.headSize() * elementBytes));
        return Math.min(pageSize, Integer.highestOneBit(tokens / RING_PIECES));
    }

    private static int[] ringHeads(TorchScriptProgram program) {
        Gpt2Config config = program.config();
        return IntStream.rangeClosed(1, Math.min(config.headCount(), 31)) // a warp a head and one more: 1,024 threads at most
                .filter(heads -> config.headCount() % heads == 0
                        && pieceTokens(heads, config, Libtorch.sizeBytes(program.dtype()), program.cache().pageSize()) > 0)
                .toArray();
    }

    /** The option that has {@code decode.cu} define the kernels for a program. */
    static String definitions(TorchScriptProgram program) {
        return "-DRING_KERNELS=" + IntStream.of(ringHeads(program))
                .mapToObj(heads -> String.format(
                        Locale.ROOT, "RING_ATTENTION(attention_%d, %d, %d, %d)", heads, heads, RING_PIECES,
                        pieceTokens(heads, program.config(), Libtorch.sizeBytes(program.dtype()), program.cache().pageSize())))
                .collect(Collectors.joining(" "));
    }

    /**
     * Takes the kernels.
     *
     * @param decode compiled with {@link #definitions}
     * @param rings whether the GPU has what they need
     */
    CudaAttention(TorchScriptProgram program, CudaKernels decode, boolean rings, int multiprocessors) {
        this.program = program;
        config = program.config();
        this.multiprocessors = multiprocessors;
        attention = decode.overlappingKernel("attention");
        if (rings) {
            int elementBytes = Libtorch.sizeBytes(program.dtype());
            for (int heads : ringHeads(program)) {
                int tokens = RING_PIECES * pieceTokens(heads, config, elementBytes, program.cache().pageSize());
                this.rings.put(
                        heads,
                        decode.overlappingKernel("attention_" + heads).withSharedBytes(2 * tokens * heads * config.headSize() * elementBytes));
            }
        }
    }

    /**
     * Writes the rows' keys and values to the cache and attends to it.
     *
     * @param input address of the step's rows
     * @param qkv address of [count, 3C]
     * @param attended address of the result, [count, C]
     */
    void launch(int layer, int count, long input, long qkv, long attended) {
        long keys = program.cache().keysAddress(layer);
        long values = program.cache().valuesAddress(layer);
        double scale = config.scaleAttnWeights() ? 1 / Math.sqrt(config.headSize()) : 1;
        float layerScale = (float) (config.scaleAttnByInverseLayerIdx() ? scale / (layer + 1) : scale);
        int blocks = count * config.headCount();
        Integer heads = blocks < MANY_BLOCKS * multiprocessors ? null : headsOfABlock(count);
        if (heads == null) {
            int threads = blocks <= 192 ? 256 : blocks <= 768 ? 128 : 64;
            attention.launch(config.headCount(), count, 1, threads, input, qkv, keys, values, layerScale, attended);
        } else {
            rings.get(heads)
                    .launch(config.headCount() / heads, count, 1, 32 * (heads + 1), input, qkv, keys, values, layerScale, attended);
        }
    }

    /** As many as leave four blocks for three multiprocessors; null without rings. */
    private Integer headsOfABlock(int count) {
        for (int heads : rings.descendingKeySet()) {
            if (3 * count * (config.headCount() / heads) >= 4 * multiprocessors) {
                return heads;
            }
        }
        return null;
    }
}
