package io.github.loomtorch.torch.gpt2;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Failures;
import java.util.List;

/**
 * GPT-2 on some device. Owns the weights and the KV cache. Confined to the engine thread, {@link #close()} included.
 */
public abstract class Gpt2 implements CausalLm {
    /** What the model is. */
    protected final Gpt2Config config;
    /** What the model was made with. */
    protected final ModelOptions options;

    private final int[] endOfTextIds;

    protected Gpt2(Gpt2Config config, ModelOptions options) {
        this.config = config;
        this.options = options;
        endOfTextIds =
                config.endOfTextIds().stream().mapToInt(Integer::intValue).toArray();
    }

    /**
     * What the device is, for reports of measurements.
     *
     * @return the GPU's name and the CUDA versions of its driver and of the runtime, or the processor's number of cores
     */
    public abstract String hardware();

    /**
     * The number format that it computes in.
     *
     * @return not {@link Dtype#AUTO}
     */
    public abstract Dtype dtype();

    @Override
    public int vocabSize() {
        return config.vocabSize();
    }

    @Override
    public int contextLength() {
        return config.contextLength();
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
        return options.pageSize();
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
                "step of phase=" + phase + " sequences=" + sequences + " device=" + device() + " dtype=" + dtype(), e);
    }
}
