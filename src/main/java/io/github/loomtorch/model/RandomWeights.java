package io.github.loomtorch.model;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.IntStream;

/**
 * Random weights, initialised as GPT-2 is: standard deviation 0.02, in the residual projections divided by
 * {@code sqrt(2L)}; biases 0, LayerNorm weights 1. They are made when they are read, on all processors.
 */
public final class RandomWeights {
    /*
     * An element is the sum of four uniform numbers of 16 bits, which is close to normal (no element is more than 3.5 standard deviations
     * from 0) and takes a nanosecond. The 64 bits are SplitMix64's at the element's index, so any thread can make any element.
     * [1] G. L. Steele Jr., D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014
     */
    private static final long GOLDEN_GAMMA = 0x9e3779b97f4a7c15L;
    private static final double MEAN = 2 * 65535;
    private static final double STANDARD_DEVIATION = Math.sqrt(4 * (65536.0 * 65536.0 - 1) / 12);
    private static final double DEVIATION = 0.02;
    private static final int PIECE = 1 << 16; // elements

    private RandomWeights() {}

    /**
     * Weights of a model.
     *
     * @param config its shape
     * @param seed equal seeds give equal weights
     * @return the weights, F32, in no file
     */
    public static Gpt2Weights of(Gpt2Config config, long seed) {
        Map<String, CheckpointTensor> tensors = new LinkedHashMap<>();
        for (Map.Entry<String, long[]> tensor : Gpt2Weights.shapes(config).entrySet()) {
            String name = tensor.getKey();
            Consumer<ByteBuffer> elements = elements(name, config, mix(seed) + tensors.size());
            try {
                tensors.put(name, CheckpointTensor.computed(name, DType.F32, tensor.getValue(), elements));
            } catch (IOException e) {
                throw new UncheckedIOException(e); // of no file
            }
        }
        return new Gpt2Weights(config, tensors);
    }

    private static Consumer<ByteBuffer> elements(String name, Gpt2Config config, long key) {
        if (name.endsWith(".bias")) {
            return buffer -> {};
        }
        if (name.contains("ln_")) {
            return RandomWeights::ones;
        }
        double scale = name.endsWith("c_proj.weight") ? 1 / Math.sqrt(2.0 * config.layerCount()) : 1;
        return buffer -> normal(buffer, mix(key), (float) (scale * DEVIATION / STANDARD_DEVIATION));
    }

    private static void ones(ByteBuffer buffer) {
        while (buffer.hasRemaining()) {
            buffer.putFloat(1);
        }
    }

    private static void normal(ByteBuffer buffer, long key, float scale) {
        int count = buffer.limit() / Float.BYTES;
        IntStream.range(0, Math.ceilDiv(count, PIECE)).parallel().forEach(piece -> {
            int end = Math.min(count, (piece + 1) * PIECE);
            for (int i = piece * PIECE; i < end; i++) {
                long bits = mix(key + i * GOLDEN_GAMMA);
                long sum = (bits & 0xffff) + (bits >>> 16 & 0xffff) + (bits >>> 32 & 0xffff) + (bits >>> 48);
                buffer.putFloat(i * Float.BYTES, (float) (sum - MEAN) * scale);
            }
        });
    }

    private static long mix(long z) {
        z = (z ^ z >>> 30) * 0xbf58476d1ce4e5b9L;
        z = (z ^ z >>> 27) * 0x94d049bb133111ebL;
        return z ^ z >>> 31;
    }
}
