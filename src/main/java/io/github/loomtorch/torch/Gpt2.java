package io.github.loomtorch.torch;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * GPT-2 on libtorch: on a CPU, and on CUDA with recorded decode steps and sampling on the device. Owns the weights and
 * the KV cache. Confined to the engine thread, {@link #close()} included.
 */
public abstract class Gpt2 implements CausalLm {
    private static final Logger LOG = LoggerFactory.getLogger(Gpt2.class);

    final TorchScriptProgram program;
    final ModelOptions options;
    private final int[] endOfTextIds;

    Gpt2(TorchScriptProgram program, ModelOptions options) {
        this.program = program;
        this.options = options;
        endOfTextIds = program.config().endOfTextIds().stream()
                .mapToInt(Integer::intValue)
                .toArray();
    }

    /**
     * Loads a model; exports its {@code model.ts} first if need be.
     *
     * @param directory {@code config.json} and weights
     * @param options device, dtype, batch size
     * @return the model, to be closed by the caller
     * @throws IOException if a file is missing, malformed or does not fit
     * @throws TorchException if libtorch or CUDA is missing, or memory runs out
     */
    public static Gpt2 load(ModelDirectory directory, ModelOptions options) throws IOException {
        return create(
                directory.config(), options, (device, dtype) -> TorchScriptExporter.load(directory, device, dtype));
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
            return create(config, options, (device, dtype) -> TorchScriptExporter.random(config, seed, device, dtype));
        } catch (IOException e) {
            throw new UncheckedIOException(e); // it reads no file
        }
    }

    private static Gpt2 create(Gpt2Config config, ModelOptions options, TorchScriptProgram.Loader loader)
            throws IOException {
        TorchScriptProgram program;
        try {
            program = new TorchScriptProgram(config, options, loader);
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
    static int decodes(List<Chunk> chunks) {
        int decodes = 0;
        while (decodes < chunks.size() && chunks.get(decodes).count() == 1) {
            decodes++;
        }
        return decodes;
    }

    TorchException failure(String phase, int sequences, RuntimeException e) {
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
