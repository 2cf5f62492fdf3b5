package io.github.loomtorch.testing;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.torch.program.Gpt2Module;
import io.github.loomtorch.torch.program.TorchScriptGpt2;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.io.IOException;

/** Models on the CPU that run as TorchScript programs, also where there are kernels for them. */
public final class TorchScriptModels {
    private TorchScriptModels() {}

    /** As {@link io.github.loomtorch.torch.Gpt2Loader#load}, without kernels of our own. */
    public static TorchScriptGpt2 load(ModelDirectory directory, ModelOptions options) throws IOException {
        return new TorchScriptGpt2(new TorchScriptProgram(Gpt2Module.open(directory, false), options, 0), options);
    }
}
