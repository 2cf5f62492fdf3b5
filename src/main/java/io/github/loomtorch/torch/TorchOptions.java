package io.github.loomtorch.torch;

import java.util.regex.Pattern;

/**
 * Where and how a model runs. Immutable.
 *
 * @param device {@code cpu}, {@code cuda} (the first GPU), {@code cuda:n}, or {@code auto}: the first GPU if there is one, else the CPU
 * @param dtype the number format of weights, cache and computation
 * @param maxBatchSize most sequences in one step, in [1, 1024]
 */
public record TorchOptions(String device, Dtype dtype, int maxBatchSize) {
    private static final Pattern DEVICE = Pattern.compile("auto|cpu|cuda(:\\d{1,3})?");

    /**
     * Validates.
     *
     * @throws IllegalArgumentException naming the first option that is out of its range
     */
    public TorchOptions {
        if (!DEVICE.matcher(device).matches()) {
            throw new IllegalArgumentException("device must be auto, cpu, cuda or cuda:n, got " + device);
        }
        if (maxBatchSize < 1 || maxBatchSize > 1024) {
            throw new IllegalArgumentException("maxBatchSize must be in [1, 1024], got " + maxBatchSize);
        }
    }
}
