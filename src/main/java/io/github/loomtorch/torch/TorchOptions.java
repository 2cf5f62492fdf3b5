package io.github.loomtorch.torch;

import java.util.regex.Pattern;

/**
 * Where and how a model runs. Immutable.
 *
 * @param device {@code cpu}, {@code cuda} (the first GPU), {@code cuda:n}, or {@code auto}: the first GPU if there is
 *     one, else the CPU
 * @param dtype the number format of weights, cache and computation
 * @param maxBatchSize most sequences in one step, in [1, 1024]
 * @param pageSize tokens in one page of the KV cache, a power of two in [8, 256]. Small pages waste less memory and let
 *     sequences share more of a common beginning; large ones are fewer to keep account of in each step
 * @param kvCacheFraction in (0, 1]; how much of the GPU memory that the weights leave free the KV cache may take. It
 *     never takes more than {@code maxBatchSize} sequences of full length need
 * @param cudaGraphs whether a GPU's steps are recorded once as CUDA graphs and replayed, which is faster
 * @param deterministic whether a request's tokens depend on nothing but the request, bit for bit, whatever runs beside
 *     it: every decode step then has the largest batch's shape and every prompt is computed by itself, which is slower.
 *     No prompt then begins with what another has computed, so several completions of one prompt each compute it
 * @param int8Weights whether steps of at most 16 rows, which cost what reading the weights costs, read these rounded to
 *     8 bits, with a scale for each output channel: faster for small batches, and slightly less exact. On a GPU, in
 *     float16 or bfloat16; takes half as much memory again for the weights
 */
public record TorchOptions(
        String device,
        Dtype dtype,
        int maxBatchSize,
        int pageSize,
        double kvCacheFraction,
        boolean cudaGraphs,
        boolean deterministic,
        boolean int8Weights) {
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
        if (pageSize < 8 || pageSize > 256 || Integer.bitCount(pageSize) != 1) {
            throw new IllegalArgumentException("pageSize must be a power of two in [8, 256], got " + pageSize);
        }
        if (!(kvCacheFraction > 0 && kvCacheFraction <= 1)) {
            throw new IllegalArgumentException("kvCacheFraction must be in (0, 1], got " + kvCacheFraction);
        }
    }

    /**
     * Options with pages of 16 tokens, 0.9 of the free GPU memory for the KV cache, and CUDA graphs.
     *
     * @param device see {@link #device()}
     * @param dtype the number format
     * @param maxBatchSize in [1, 1024]
     * @throws IllegalArgumentException naming the first option that is out of its range
     */
    public TorchOptions(String device, Dtype dtype, int maxBatchSize) {
        this(device, dtype, maxBatchSize, 16, 0.9, true, false, false);
    }
}
