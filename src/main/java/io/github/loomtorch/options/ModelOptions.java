package io.github.loomtorch.options;

import io.github.loomtorch.serial.SerialForm;
import java.io.Serializable;
import java.nio.file.Path;
import java.util.Objects;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Where and how a model runs. Immutable, serializable.
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
 *     No prompt then begins with what another has computed, so several completions of one prompt each compute it. The
 *     kernels for a CPU compute so always, in any batch and however a prompt is cut: there this option changes nothing
 * @param int8Weights whether linear layers read weights quantized to 8 bits, with a scale for each output channel:
 *     faster, and slightly less exact. On a GPU, in float16 or bfloat16, steps of at most 16 rows do; it takes half as
 *     much memory again for the weights. On a CPU, in float32 ({@code AUTO} is float32 then), all steps do; activations
 *     are quantized to 8 bits in blocks of 32 values, each with a scale, and the weights take a quarter of the memory
 * @param threads on a CPU, how many threads compute one step, in [0, 1024]; 0 takes one for each core that the process
 *     may use, containers' limits included, or as many as the environment variable {@code OMP_NUM_THREADS} says;
 *     several replicas on the CPU divide these. A GPU ignores it
 * @param trustModelTs whether a {@code model.ts} without weights beside it runs the program that it holds, where that
 *     is not this version's own. <b>This executes code of the file</b>, which can read and write files as this process
 *     may: only for files from a source that may run programs here. Without it, only the file's tensors are used
 * @param cacheFolder where compiled CUDA kernels are kept; is made if need be. If empty, the first of these that is
 *     set: the system property {@code loomtorch.cache}, the environment variable {@code LOOMTORCH_CACHE}, the folder
 *     {@code loomtorch} in {@code XDG_CACHE_HOME}, else {@code ~/.cache/loomtorch}
 */
public record ModelOptions(
        String device,
        Dtype dtype,
        int maxBatchSize,
        int pageSize,
        double kvCacheFraction,
        boolean cudaGraphs,
        boolean deterministic,
        boolean int8Weights,
        int threads,
        boolean trustModelTs,
        Optional<Path> cacheFolder)
        implements Serializable {
    private static final Pattern DEVICE = Pattern.compile("auto|cpu|cuda(:\\d{1,3})?");

    /**
     * Validates.
     *
     * @throws IllegalArgumentException naming the first option that is out of its range
     */
    public ModelOptions {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(cacheFolder, "cacheFolder");
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
        if (threads < 0 || threads > 1024) {
            throw new IllegalArgumentException("threads must be in [0, 1024], got " + threads);
        }
    }

    /**
     * The default options.
     *
     * @return the first GPU if there is one, {@link Dtype#AUTO}, 16 sequences, pages of 16 tokens, 0.9 of the free GPU
     *     memory for the KV cache, CUDA graphs, neither deterministic nor with 8-bit weights, a thread for each core,
     *     no trust in {@code model.ts}
     */
    public static ModelOptions defaults() {
        return builder().build();
    }

    /** {@return its components, which are written in its place} */
    private Object writeReplace() {
        return new SerialForm(this);
    }

    /**
     * A builder that starts from {@link #defaults()}.
     *
     * @return a new builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * A builder that starts from these options.
     *
     * @return a new builder
     */
    public Builder toBuilder() {
        Builder builder = new Builder()
                .device(device)
                .dtype(dtype)
                .maxBatchSize(maxBatchSize)
                .pageSize(pageSize)
                .kvCacheFraction(kvCacheFraction)
                .cudaGraphs(cudaGraphs)
                .deterministic(deterministic)
                .int8Weights(int8Weights)
                .threads(threads)
                .trustModelTs(trustModelTs);
        cacheFolder.ifPresent(builder::cacheFolder);
        return builder;
    }

    /** Collects options; {@link #build()} checks the ranges. Not thread-safe. */
    public static final class Builder {
        private String device = "auto";
        private Dtype dtype = Dtype.AUTO;
        private int maxBatchSize = 16;
        private int pageSize = 16;
        private double kvCacheFraction = 0.9;
        private boolean cudaGraphs = true;
        private boolean deterministic;
        private boolean int8Weights;
        private int threads;
        private boolean trustModelTs;
        private Optional<Path> cacheFolder = Optional.empty();

        private Builder() {}

        /**
         * Sets {@link ModelOptions#device()}.
         *
         * @param device {@code auto}, {@code cpu}, {@code cuda} or {@code cuda:n}
         * @return this
         */
        public Builder device(String device) {
            this.device = device;
            return this;
        }

        /**
         * Sets {@link ModelOptions#dtype()}.
         *
         * @param dtype of weights, cache and computation
         * @return this
         */
        public Builder dtype(Dtype dtype) {
            this.dtype = dtype;
            return this;
        }

        /**
         * Sets {@link ModelOptions#maxBatchSize()}.
         *
         * @param maxBatchSize in [1, 1024]
         * @return this
         */
        public Builder maxBatchSize(int maxBatchSize) {
            this.maxBatchSize = maxBatchSize;
            return this;
        }

        /**
         * Sets {@link ModelOptions#pageSize()}.
         *
         * @param pageSize a power of two in [8, 256]
         * @return this
         */
        public Builder pageSize(int pageSize) {
            this.pageSize = pageSize;
            return this;
        }

        /**
         * Sets {@link ModelOptions#kvCacheFraction()}.
         *
         * @param kvCacheFraction in (0, 1]
         * @return this
         */
        public Builder kvCacheFraction(double kvCacheFraction) {
            this.kvCacheFraction = kvCacheFraction;
            return this;
        }

        /**
         * Sets {@link ModelOptions#cudaGraphs()}.
         *
         * @param cudaGraphs whether steps on a GPU are recorded and replayed
         * @return this
         */
        public Builder cudaGraphs(boolean cudaGraphs) {
            this.cudaGraphs = cudaGraphs;
            return this;
        }

        /**
         * Sets {@link ModelOptions#deterministic()}.
         *
         * @param deterministic whether tokens depend on the request alone, bit for bit
         * @return this
         */
        public Builder deterministic(boolean deterministic) {
            this.deterministic = deterministic;
            return this;
        }

        /**
         * Sets {@link ModelOptions#int8Weights()}.
         *
         * @param int8Weights whether linear layers read 8-bit weights
         * @return this
         */
        public Builder int8Weights(boolean int8Weights) {
            this.int8Weights = int8Weights;
            return this;
        }

        /**
         * Sets {@link ModelOptions#threads()}.
         *
         * @param threads of one step on a CPU, in [0, 1024]; 0 takes one for each core
         * @return this
         */
        public Builder threads(int threads) {
            this.threads = threads;
            return this;
        }

        /**
         * Sets {@link ModelOptions#trustModelTs()}. This executes code of the file.
         *
         * @param trustModelTs whether a {@code model.ts} may run its own program
         * @return this
         */
        public Builder trustModelTs(boolean trustModelTs) {
            this.trustModelTs = trustModelTs;
            return this;
        }

        /**
         * Sets {@link ModelOptions#cacheFolder()}.
         *
         * @param cacheFolder for compiled CUDA kernels
         * @return this
         */
        public Builder cacheFolder(Path cacheFolder) {
            this.cacheFolder = Optional.of(cacheFolder);
            return this;
        }

        /**
         * The options.
         *
         * @return a new instance
         * @throws IllegalArgumentException naming the first option that is out of its range
         */
        public ModelOptions build() {
            return new ModelOptions(
                    device,
                    dtype,
                    maxBatchSize,
                    pageSize,
                    kvCacheFraction,
                    cudaGraphs,
                    deterministic,
                    int8Weights,
                    threads,
                    trustModelTs,
                    cacheFolder);
        }
    }
}
