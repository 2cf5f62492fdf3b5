package io.github.loomtorch.testing;

import io.github.loomtorch.model.Activation;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** Model directories with random weights, for tests of what is made from them. */
public final class RandomCheckpoint {
    private RandomCheckpoint() {}

    /** A model of a few thousand parameters: V 50, 32 positions, C 16, 2 layers, 2 heads. */
    public static Gpt2Config tinyConfig() {
        return new Gpt2Config(50, 32, 16, 2, 2, 64, Activation.GELU_TANH, 1e-5, true, false, true, List.of(49));
    }

    /**
     * Writes {@code config.json} and {@code model.safetensors}: normal weights of deviation 0.1, LayerNorm's around 1.
     */
    public static Path write(Path directory, Gpt2Config config, DType dtype, long seed) throws IOException {
        return write(directory, config, dtype, seed, 0.1f);
    }

    /** The same with normal weights of another deviation. */
    public static Path write(Path directory, Gpt2Config config, DType dtype, long seed, float deviation)
            throws IOException {
        Files.createDirectories(directory);
        config.write(directory.resolve("config.json"));
        Random random = new Random(seed);
        SafetensorsWriter writer = new SafetensorsWriter().metadata(Map.of("format", "pt"));
        for (Map.Entry<String, long[]> tensor : Gpt2Weights.shapes(config).entrySet()) {
            int size = 1;
            for (long n : tensor.getValue()) {
                size = Math.multiplyExact(size, Math.toIntExact(n));
            }
            float mean = tensor.getKey().matches(".*ln_(1|2|f)\\.weight") ? 1 : 0;
            float[] values = new float[size];
            for (int i = 0; i < size; i++) {
                values[i] = mean + deviation * (float) random.nextGaussian();
            }
            writer.add(tensor.getKey(), dtype, tensor.getValue(), values);
        }
        writer.write(directory.resolve("model.safetensors"));
        return directory;
    }
}
