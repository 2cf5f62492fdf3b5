package io.github.loomtorch.torch;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.cpu.CpuGpt2;
import io.github.loomtorch.torch.cpu.CpuKernels;
import io.github.loomtorch.torch.cuda.CudaGpt2;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.natives.CpuThreads;
import io.github.loomtorch.torch.natives.Failures;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.program.Gpt2Module;
import io.github.loomtorch.torch.program.TorchScriptGpt2;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Collections;
import java.util.List;
import org.bytedeco.javacpp.Pointer;
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
        long start = System.nanoTime();
        Gpt2Module model = Gpt2Module.open(directory, options.trustModelTs());
        LOG.debug("opening the files took {} ms", (System.nanoTime() - start) / 1_000_000);
        return create(model, options);
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
        } finally {
            System.gc(); // frees the buffers that held the weights, which would else distort a benchmark's memory
        }
    }

    /**
     * The options of a replica on each of some devices. Replicas on the CPU divide its cores, unless {@code threads} is
     * set.
     *
     * @param model options of all replicas, but for the device
     * @param devices as {@link ModelOptions#device()}, one for each replica
     * @return one for each device, in their order
     */
    public static List<ModelOptions> replicas(ModelOptions model, List<String> devices) {
        int onCpu = Collections.frequency(devices, "cpu");
        int threads = model.threads() == 0 && onCpu > 1 ? Math.max(1, CpuThreads.count(0) / onCpu) : model.threads();
        return devices.stream()
                .map(device -> model.toBuilder().device(device).threads(threads).build())
                .toList();
    }

    private static Gpt2 create(Gpt2Module model, ModelOptions options) throws IOException {
        if (model.weights().isPresent() && hasCpuKernels(options)) {
            return createOnCpu(model.weights().get(), options);
        }
        Gpt2Config config = model.config();
        TorchScriptProgram program;
        long start = System.nanoTime();
        Libtorch.load();
        start = logPhase("loading libtorch", start);
        try {
            program = new TorchScriptProgram(model, options, CudaGpt2.reservedBytes(config, options));
        } catch (RuntimeException e) {
            throw Failures.explain("loading the model", e);
        }
        start = logPhase("reading the weights", start);
        try {
            Gpt2 gpt2 = program.device().is_cuda()
                    ? CudaGpt2.create(program, options)
                    : new TorchScriptGpt2(program, options);
            logPhase("preparing the steps", start);
            logLoaded(gpt2, config);
            return gpt2;
        } catch (RuntimeException e) {
            program.close();
            throw Failures.explain("preparing the model", e);
        } catch (Error e) {
            program.close();
            throw e;
        }
    }

    /** Whether a model with these options runs on the CPU by the C library. Loads libtorch only to look for a GPU. */
    private static boolean hasCpuKernels(ModelOptions options) {
        boolean onCpu = options.device().equals("cpu") || options.device().equals("auto") && !hasGpu();
        return onCpu && options.dtype() != Dtype.FLOAT16 && CpuKernels.isAvailable();
    }

    private static boolean hasGpu() {
        if (!Libtorch.hasGpuBuild()) {
            return false;
        }
        Libtorch.load();
        return Libtorch.cudaDeviceCount() > 0;
    }

    private static Gpt2 createOnCpu(Gpt2Weights weights, ModelOptions options) throws IOException {
        long start = System.nanoTime();
        Gpt2 gpt2 = CpuGpt2.load(weights, options);
        logPhase("reading the weights", start);
        logLoaded(gpt2, weights.config());
        return gpt2;
    }

    private static void logLoaded(Gpt2 gpt2, Gpt2Config config) {
        LOG.info(
                "GPT-2 with {} layers of width {} on {} in {}, {} KV pages of {} tokens ({})",
                config.layerCount(),
                config.hiddenSize(),
                gpt2.device(),
                gpt2.dtype(),
                gpt2.pageCount(),
                gpt2.pageSize(),
                gpt2.hardware());
    }

    /** Says how long a phase took and how much memory the process then has; returns the present. */
    private static long logPhase(String phase, long start) {
        long now = System.nanoTime();
        if (LOG.isDebugEnabled()) {
            LOG.debug(
                    "{} took {} ms; {} MiB resident", phase, (now - start) / 1_000_000, Pointer.physicalBytes() >> 20);
        }
        return now;
    }
}
