package io.github.loomtorch.torch;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.cuda.CudaGpt2;
import io.github.loomtorch.torch.natives.Failures;
import io.github.loomtorch.torch.program.Gpt2;
import io.github.loomtorch.torch.program.Gpt2Module;
import io.github.loomtorch.torch.program.TorchScriptGpt2;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Loads a GPT-2 and chooses the implementation for its device. Thread-safe; a model belongs to one thread. */
public final class Gpt2Loader {
    private static final Logger LOG = LoggerFactory.getLogger(Gpt2Loader.class);

    private Gpt2Loader() {}

    /**
     * Loads a model from its weights, or from its {@code model.ts} where there are no weights.
     *
     * @param directory {@code config.json} and weights
     * @param options device, dtype, batch size
     * @return the model, to be closed by the caller
     * @throws IOException if a file is missing, malformed or does not fit
     * @throws TorchException if libtorch or CUDA is missing, or memory runs out
     */
    public static Gpt2 load(ModelDirectory directory, ModelOptions options) throws IOException {
        return create(Gpt2Module.open(directory, options.trustModelTs()), options);
    }

    /**
     * A model with random weights, to measure speed without a download.
     *
     * @param config its shape
     * @param seed of the weights
     * @param options device, dtype, batch size
     * @return the model, to be closed by the caller
     * @throws TorchException if libtorch or CUDA is missing, or memory runs out
     */
    public static Gpt2 random(Gpt2Config config, long seed, ModelOptions options) {
        try {
            return create(Gpt2Module.random(config, seed), options);
        } catch (IOException e) {
            throw new UncheckedIOException(e); // it reads no file
        }
    }

    private static Gpt2 create(Gpt2Module model, ModelOptions options) throws IOException {
        Gpt2Config config = model.config();
        TorchScriptProgram program;
        try {
            program = new TorchScriptProgram(model, options, CudaGpt2.reservedBytes(config, options));
        } catch (RuntimeException e) {
            throw Failures.explain("loading the model", e);
        }
        LOG.info(
                "GPT-2 with {} layers of width {} on {} in {}, {} KV pages of {} tokens",
                config.layerCount(),
                config.hiddenSize(),
                program.deviceName(),
                program.dtype(),
                program.cache().pageCount(),
                program.cache().pageSize());
        try {
            return program.device().is_cuda()
                    ? CudaGpt2.create(program, options)
                    : new TorchScriptGpt2(program, options);
        } catch (RuntimeException e) {
            program.close();
            throw Failures.explain("preparing the model", e);
        } catch (Error e) {
            program.close();
            throw e;
        }
    }
}
