package io.github.loomtorch.torch.program;

import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.natives.Libtorch;

/** GPT-2 whose weights and KV cache libtorch holds. */
public abstract class LibtorchGpt2 extends Gpt2 {
    /** The weights and the KV cache; owned by this model. */
    protected final TorchScriptProgram program;

    protected LibtorchGpt2(TorchScriptProgram program, ModelOptions options) {
        super(program.config(), options);
        this.program = program;
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

    @Override
    public String hardware() {
        return program.hardware();
    }

    @Override
    public Dtype dtype() {
        return Libtorch.dtype(program.dtype());
    }

    @Override
    public int pageCount() {
        return program.cache().pageCount();
    }

    @Override
    public boolean deterministic() {
        return options.deterministic();
    }

    @Override
    public void close() {
        program.close();
    }
}
