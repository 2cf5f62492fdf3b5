package io.github.loomtorch.cli;

import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.torch.Gpt2Loader;
import java.nio.file.Path;
import java.util.List;
import picocli.CommandLine.Option;

/** Device, dtype and memory of a model. */
final class DeviceOptions {
    @Option(
            names = "--device",
            paramLabel = "DEVICE",
            split = ",",
            description =
                    "auto (the first GPU if there is one), cpu, cuda or cuda:N; several with commas between, where a command"
                            + " says so, run a replica of the model on each (default: auto).")
    private List<String> devices = List.of("auto");

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            converter = NamedConverter.OfDtype.class,
            description =
                    "auto, float32, float16 or bfloat16; auto is float16 on a GPU, and on a CPU bfloat16 if it computes with it,"
                            + " else float32 (default: auto).")
    private Dtype dtype = Dtype.AUTO;

    @Option(
            names = "--page-size",
            paramLabel = "N",
            description = "Tokens in a page of the KV cache, a power of two in [8, 256] (default: ${DEFAULT-VALUE}).")
    private int pageSize = 16;

    @Option(
            names = "--kv-cache-fraction",
            paramLabel = "F",
            description =
                    "Most of the free GPU memory that the KV cache may take, in (0, 1] (default: ${DEFAULT-VALUE}).")
    private double kvCacheFraction = 0.9;

    @Option(
            names = "--no-cuda-graphs",
            description = "Launch every operation of a decode step instead of replaying a recording.")
    private boolean noCudaGraphs;

    @Option(
            names = "--deterministic",
            description =
                    "Make a request's tokens the same bit for bit whatever runs beside it, which is slower; on a CPU they always are.")
    private boolean deterministic;

    @Option(
            names = "--weights",
            paramLabel = "FORMAT",
            converter = NamedConverter.OfWeights.class,
            description =
                    "dtype or int8: quantized to 8 bits, on a GPU for small batches only: faster, slightly less exact"
                            + " (default: dtype).")
    private WeightFormat weights = WeightFormat.DTYPE;

    @Option(
            names = "--threads",
            paramLabel = "N",
            description = "Threads of one step on a CPU, in [0, 1024]; 0 takes one for each core (default: 0).")
    private int threads;

    @Option(
            names = "--trust-model-ts",
            description =
                    "Execute the program in a model.ts without weights beside it, where it is not this version's own: for"
                            + " files from a trusted source only.")
    private boolean trustModelTs;

    @Option(
            names = "--cache",
            paramLabel = "DIR",
            description =
                    "Where compiled CUDA kernels are kept (default: system property loomtorch.cache, environment variable"
                            + " LOOMTORCH_CACHE, loomtorch in XDG_CACHE_HOME, or ~/.cache/loomtorch).")
    private Path cache;

    /**
     * As {@link ModelOptions} of a model on one device.
     *
     * @throws IllegalArgumentException naming the first option that is out of its range
     */
    ModelOptions torch(int maxBatchSize) {
        if (devices.size() > 1) {
            throw new IllegalArgumentException(
                    "device must be one device for this command, got " + String.join(",", devices));
        }
        return replicas(maxBatchSize).getFirst();
    }

    /** As {@link #torch}, of a replica on each device. */
    List<ModelOptions> replicas(int maxBatchSize) {
        ModelOptions.Builder options = ModelOptions.builder()
                .dtype(dtype)
                .maxBatchSize(maxBatchSize)
                .pageSize(pageSize)
                .kvCacheFraction(kvCacheFraction)
                .cudaGraphs(!noCudaGraphs)
                .deterministic(deterministic)
                .int8Weights(weights == WeightFormat.INT8)
                .threads(threads)
                .trustModelTs(trustModelTs);
        if (cache != null) {
            options.cacheFolder(cache);
        }
        return Gpt2Loader.replicas(options.build(), devices);
    }
}
