package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Failures;
import io.github.loomtorch.torch.natives.Libtorch;
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
    @Override
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
        return Libtorch.dtype(program.dtype());
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
