package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Failures;
import java.util.List;

/**
 * GPT-2 on libtorch: on a CPU, and on CUDA with recorded decode steps and sampling on the device. Owns the weights and
 * the KV cache. Confined to the engine thread, {@link #close()} included.
 */
public abstract class Gpt2 implements CausalLm {
    /** The weights and the KV cache; owned by this model. */
    protected final TorchScriptProgram program;
    /** What the model was made with. */
    protected final ModelOptions options;

    private final int[] endOfTextIds;

    protected Gpt2(TorchScriptProgram program, ModelOptions options) {
        this.program = program;
        this.options = options;
        endOfTextIds = program.config().endOfTextIds().stream()
                .mapToInt(Integer::intValue)
                .toArray();
    }

    /**
     * Where it runs.
     *
     * @return {@code cpu} or {@code cuda:n}
     */
    public String device() {
        return program.deviceName();
    }

    /**
     * What the device is, for reports of measurements.
     *
     * @return the GPU's name and the CUDA versions of its driver and of the runtime, or the processor's number of cores
     */
    public String hardware() {
        return program.hardware();
    }

    /**
     * The number format that it computes in.
     *
     * @return not {@link Dtype#AUTO}
     */
    public Dtype dtype() {
        return switch (program.dtype()) {
            case Half -> Dtype.FLOAT16;
            case BFloat16 -> Dtype.BFLOAT16;
            default -> Dtype.FLOAT32;
        };
    }

    /**
     * Measures a decode step, part by part: what a part takes is what a replayed step is faster without it. For a model
     * that no engine has, as it writes to the KV cache.
     *
     * @param batchSize sequences, in [1, {@link #maxBatchSize()}]
     * @param contextLength tokens of each, its new one included, in [1, {@link #contextLength()}]
     * @return the medians of many steps
     * @throws IllegalArgumentException if an argument is out of its range
     * @throws TorchException on a CPU, without CUDA graphs, and in a dtype without kernels of its own
     */
    public StepProfile profileStep(int batchSize, int contextLength) {
        throw new TorchException(
                "a step can be profiled on a GPU in float16 or bfloat16, got " + device() + " in " + dtype());
    }

    /**
     * Measures a prefill of several prompts in one step. For a model that no engine has, as it writes to the KV cache.
     *
     * @param prompts how many, &gt;= 1
     * @param promptLength tokens of each, in [1, {@link #contextLength()}]; all must fit into the KV cache
     * @return the median of many steps
     * @throws IllegalArgumentException if an argument is out of its range
     * @throws TorchException on a CPU, without CUDA graphs, and in a dtype without kernels of its own
     */
    public PrefillProfile profilePrefill(int prompts, int promptLength) {
        throw new TorchException(
                "a prefill can be profiled on a GPU in float16 or bfloat16, got " + device() + " in " + dtype());
    }

    @Override
    public int vocabSize() {
        return program.config().vocabSize();
    }

    @Override
    public int contextLength() {
        return program.config().contextLength();
    }

    @Override
    public int[] endOfTextIds() {
        return endOfTextIds;
    }

    @Override
    public int maxBatchSize() {
        return options.maxBatchSize();
    }

    @Override
    public int pageSize() {
        return program.cache().pageSize();
    }

    @Override
    public int pageCount() {
        return program.cache().pageCount();
    }

    @Override
    public boolean deterministic() {
        return options.deterministic();
    }

    /** How many chunks, which stand first, have one token. */
    public static int decodes(List<Chunk> chunks) {
        int decodes = 0;
        while (decodes < chunks.size() && chunks.get(decodes).count() == 1) {
            decodes++;
        }
        return decodes;
    }

    protected TorchException failure(String phase, int sequences, RuntimeException e) {
        return Failures.explain(
                "step of phase=" + phase + " sequences=" + sequences + " device=" + program.deviceName() + " dtype="
                        + program.dtype(),
                e);
    }

    @Override
    public void close() {
        program.close();
    }
}
