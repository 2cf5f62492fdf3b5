package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.PrefillProfile;
import io.github.loomtorch.torch.program.StepProfile;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.bytedeco.cuda.cudart.CUevent_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Measures the steps of a model on a GPU. The model must have no engine, as measuring writes to its KV cache. Confined
 * to the thread of the model.
 */
public final class CudaProfiler implements AutoCloseable {
    private static final int MEASUREMENTS = 11;
    private static final int WARM_UPS = 100;
    private static final int STEP_REPEATS = 50;
    private static final int LARGE_REPEATS = 5;
    private static final long COPY_BYTES = 1L << 29;
    private static final long MATMUL_SIZE = 8192;

    private final CudaGpt2 model;
    private final CudaLayers layers;
    private final StepCost cost;
    private final CUevent_st begun = new CUevent_st();
    private final CUevent_st done = new CUevent_st();
    private final Resources resources = new Resources();

    private CudaProfiler(CudaGpt2 model) {
        this.model = model;
        layers = model.layers();
        KernelSet set = model.kernels();
        cost = new StepCost(set.config(), Libtorch.sizeBytes(model.elementType()), set.int8Weights());
        model.configureThread();
        for (CUevent_st event : List.of(begun, done)) {
            Cuda.check(cudart.cudaEventCreate(event), "cudaEventCreate");
            resources.onClose(() -> cudart.cudaEventDestroy(event));
        }
    }

    /**
     * A profiler of a model.
     *
     * @param model to be measured; must outlive the profiler
     * @return a profiler, to be closed by the caller
     * @throws TorchException if the model is on a CPU, in float32, without CUDA graphs, or of sizes that the kernels
     *     are not made for
     */
    public static CudaProfiler of(Gpt2 model) {
        if (!(model instanceof CudaGpt2 cuda)) {
            throw new TorchException(
                    "profiling needs a GPU in float16 or bfloat16, got " + model.device() + " in " + model.dtype());
        }
        if (!cuda.kernels().isFused()) {
            throw new TorchException(
                    "profiling needs float16 or bfloat16, compute capability 8.0 or later, and sizes that the kernels are"
                            + " made for, got " + cuda.dtype() + " on "
                            + cuda.kernels().gpu().architecture()
                            + ", hidden size " + cuda.kernels().config().hiddenSize() + " and inner size "
                            + cuda.kernels().config().innerSize());
        }
        if (!cuda.recordsGraphs()) {
            throw new TorchException("profiling replays CUDA graphs, got cudaGraphs=false");
        }
        return new CudaProfiler(cuda);
    }

    /**
     * Measures a decode step, part by part: the time of a part is how much faster a replayed step is without it.
     *
     * @param batchSize sequences, in [1, {@code model.maxBatchSize()}]
     * @param contextLength tokens of each, its new one included, in [1, {@code model.contextLength()}]
     * @return the medians of many steps
     * @throws IllegalArgumentException if an argument is out of its range
     */
    public StepProfile step(int batchSize, int contextLength) {
        requireRange("batchSize", batchSize, model.maxBatchSize());
        requireRange("contextLength", contextLength, model.contextLength());
        begin();
        model.fillSynthetic(batchSize, contextLength);
        List<StepProfile.Part> parts = new ArrayList<>();
        double whole = stepMicros(batchSize, contextLength, Optional.empty());
        for (StepPart part : StepPart.values()) {
            int launches = layers.launches(part, batchSize);
            parts.add(new StepProfile.Part(
                    part.name().toLowerCase(Locale.ROOT),
                    launches,
                    Math.max(0, whole - stepMicros(batchSize, contextLength, Optional.of(part))),
                    launches * cost.bytes(part, batchSize, contextLength)));
        }
        return new StepProfile(batchSize, contextLength, whole, copyBytesPerSecond(), parts);
    }

    private double stepMicros(int rows, int contextLength, Optional<StepPart> without) {
        AttentionChoice.Kind kind = layers.attentionChoice().decode(rows, contextLength);
        double[] micros = new double[1];
        try (TensorScope scope = new TensorScope()) {
            layers.without(without, () -> {
                model.upload(rows, kind);
                model.launchStep(rows, kind);
                model.synchronize();
                GraphRecorder.Graph graph = model.recorder().record(() -> model.launchStep(rows, kind));
                micros[0] = medianMicros(STEP_REPEATS, () -> {
                    model.upload(rows, kind);
                    graph.launch();
                });
            });
        }
        return micros[0];
    }

    /**
     * Measures a prefill of several prompts in one step.
     *
     * @param prompts how many, &gt;= 1
     * @param promptLength tokens of each, in [1, {@code model.contextLength()}]; all must fit into the KV cache
     * @return the median of many steps
     * @throws IllegalArgumentException if an argument is out of its range
     */
    public PrefillProfile prefill(int prompts, int promptLength) {
        requireRange("promptLength", promptLength, model.contextLength());
        requireRange("prompts", prompts, model.pageCount() * model.pageSize() / promptLength);
        begin();
        double micros = medianMicros(1, () -> {
            try (TensorScope scope = new TensorScope()) {
                layers.logits(model.prefill().synthetic(prompts, promptLength, false));
            }
        });
        return new PrefillProfile(
                prompts, promptLength, micros, cost.operations(prompts, promptLength), matmulOperationsPerSecond());
    }

    /**
     * Measures the scoring of all tokens of several prompts in one step: the prefill, and the scores as they lie in the
     * device's memory.
     *
     * @param prompts how many, &gt;= 1
     * @param promptLength tokens of each, in [1, {@code model.contextLength()}]; all must fit into the KV cache
     * @param scoring what is reported of each token; {@code firstToken} does not matter
     * @return microseconds, the median of many steps
     * @throws IllegalArgumentException if an argument is out of its range
     */
    public double scoreMicros(int prompts, int promptLength, PromptScoring scoring) {
        requireRange("promptLength", promptLength, model.contextLength());
        requireRange("prompts", prompts, model.pageCount() * model.pageSize() / promptLength);
        begin();
        return medianMicros(1, () -> {
            try (TensorScope scope = new TensorScope()) {
                model.scorer()
                        .launchSynthetic(
                                model.prefill().synthetic(prompts, promptLength, true),
                                prompts * promptLength,
                                scoring);
            }
        });
    }

    private static void requireRange(String name, int value, int max) {
        if (value < 1 || value > max) {
            throw new IllegalArgumentException(name + " must be in [1, " + max + "], got " + value);
        }
    }

    private void begin() {
        model.configureThread();
        model.synchronize();
    }

    private double copyBytesPerSecond() {
        try (TensorScope scope = new TensorScope()) {
            TensorOptions options = options(ScalarType.Float);
            Tensor from = torch.randn(new long[] {COPY_BYTES / Float.BYTES}, options);
            Tensor to = torch.empty(new long[] {COPY_BYTES / Float.BYTES}, options, null);
            return 2e6 * COPY_BYTES / medianMicros(LARGE_REPEATS, () -> to.copy_(from));
        }
    }

    private double matmulOperationsPerSecond() {
        try (TensorScope scope = new TensorScope()) {
            TensorOptions options = options(model.elementType());
            long[] square = {MATMUL_SIZE, MATMUL_SIZE};
            Tensor a = torch.randn(square, options);
            Tensor b = torch.randn(square, options);
            Tensor product = torch.empty(square, options, null);
            double micros = medianMicros(LARGE_REPEATS, () -> torch.mm_out(product, a, b));
            return 2e6 * MATMUL_SIZE * MATMUL_SIZE * MATMUL_SIZE / micros;
        }
    }

    private TensorOptions options(ScalarType type) {
        return new TensorOptions(type).device(new DeviceOptional(model.torchDevice()));
    }

    /**
     * Microseconds per repetition: after a warm-up, the median of 11 measurements of {@code repeats} back-to-back runs.
     */
    private double medianMicros(int repeats, Runnable work) {
        double[] times = new double[MEASUREMENTS];
        for (int i = -WARM_UPS / repeats; i < times.length; i++) {
            model.synchronize();
            Cuda.check(cudart.cudaEventRecord(begun, model.stream()), "cudaEventRecord");
            for (int repeat = 0; repeat < repeats; repeat++) {
                work.run();
            }
            Cuda.check(cudart.cudaEventRecord(done, model.stream()), "cudaEventRecord");
            model.synchronize();
            if (i >= 0) {
                float[] millis = new float[1];
                Cuda.check(cudart.cudaEventElapsedTime(millis, begun, done), "cudaEventElapsedTime");
                times[i] = millis[0] * 1e3 / repeats;
            }
        }
        Arrays.sort(times);
        return times[times.length / 2];
    }

    @Override
    public void close() {
        resources.close();
    }
}
