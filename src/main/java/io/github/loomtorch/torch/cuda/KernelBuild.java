package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.request.TorchException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * The kernels of a model for a GPU that need not be there: writes what is compiled, or compiles it ahead of time. Needs
 * neither a GPU nor its driver nor libtorch; to compile, NVRTC. Immutable.
 */
public final class KernelBuild {
    /**
     * A module that is in the cache.
     *
     * @param name such as {@code gemm_skinny}
     * @param file its cubin
     * @param compiled whether it was not there before
     */
    public record Module(String name, Path file, boolean compiled) {}

    private final KernelSet set;

    /**
     * The kernels of a model.
     *
     * @param config of the model
     * @param dtype of weights, cache and computation; AUTO is float16
     * @param pageSize tokens of a page of the KV cache
     * @param int8Weights whether small batches read 8-bit weights
     * @param gpu the GPU
     * @throws TorchException if there are no kernels for the model's heads
     */
    public KernelBuild(Gpt2Config config, Dtype dtype, int pageSize, boolean int8Weights, GpuModel gpu) {
        Dtype resolved = dtype == Dtype.AUTO ? Dtype.FLOAT16 : dtype;
        set = new KernelSet(config, resolved, pageSize, int8Weights, gpu);
        if (!set.isSupported()) {
            throw new TorchException("the CUDA kernels are not made for heads of " + config.headSize() + " in "
                    + resolved + ": the model runs without them");
        }
    }

    /**
     * Writes all CUDA files to a folder, and for each module its options, one a line, as {@code MODULE.options}.
     *
     * @param folder is made if need be; files of the same names are replaced
     * @return for each module its file and options, as one line
     * @throws IOException if the folder cannot be written
     */
    public List<String> dump(Path folder) throws IOException {
        Files.createDirectories(folder);
        for (Map.Entry<String, String> source : KernelFile.allSources().entrySet()) {
            Files.writeString(folder.resolve(source.getKey()), source.getValue());
        }
        List<String> lines = new ArrayList<>();
        for (KernelModule module : set.modules()) {
            Files.write(folder.resolve(module.name() + ".options"), module.options());
            lines.add(module.file().fileName() + " "
                    + String.join(
                            " ",
                            module.options().stream().map(KernelBuild::quoted).toList()));
        }
        return lines;
    }

    /** As a shell takes it. */
    private static String quoted(String option) {
        return option.matches("[\\w=.-]+") ? option : "'" + option + "'";
    }

    /**
     * Compiles the modules that a cache folder does not hold yet. For a process that runs no model.
     *
     * @param folder of the cache, is made if need be
     * @param progress gets each module when it is done
     * @throws IOException if the folder cannot be written
     * @throws TorchException if NVRTC is missing or does not know the GPU's architecture
     */
    public void compile(Path folder, Consumer<Module> progress) throws IOException {
        KernelCompiler.loadWithoutDriver();
        KernelCache cache = new KernelCache(folder);
        for (KernelModule module : set.modules()) {
            String key = module.key(KernelCompiler.version());
            boolean missing = cache.read(key).length == 0;
            if (missing) {
                cache.store(key, KernelCompiler.compile(module));
            }
            progress.accept(new Module(module.name(), cache.file(key), missing));
        }
    }
}
