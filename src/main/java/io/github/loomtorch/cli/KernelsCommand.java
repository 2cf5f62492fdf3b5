package io.github.loomtorch.cli;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.torch.cuda.GpuModel;
import io.github.loomtorch.torch.cuda.KernelBuild;
import io.github.loomtorch.torch.natives.CacheFolder;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "kernels",
        header = "Compiles a model's CUDA kernels ahead of time, without a GPU.",
        description =
                "The first run of a model on a GPU otherwise does it. Needs CUDA's NVRTC library, but neither a GPU nor its driver."
                        + " The compiled kernels are used only with the same version of NVRTC. Put the cache folder into a container"
                        + " image, and name it there by the environment variable LOOMTORCH_CACHE. With --dump, nothing is compiled.",
        footer = {
            "  loomtorch kernels --shape gpt2 --arch sm_90 --cache /opt/loomtorch",
            "  loomtorch kernels --shape gpt2 --arch sm_90 --dump kernels"
        })
final class KernelsCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Mixin
    private ModelFolderOptions model;

    @Option(
            names = "--shape",
            paramLabel = "NAME",
            description = "Instead of a model's files: gpt2, gpt2-medium, gpt2-large, gpt2-xl or distilgpt2.")
    private String shape;

    @Option(
            names = "--arch",
            paramLabel = "ARCH",
            required = true,
            description = "The GPU's architecture: sm_ and its compute capability, such as sm_80, sm_90 or sm_120.")
    private String arch;

    @Option(
            names = "--sm-count",
            paramLabel = "N",
            description =
                    "The GPU's number of SMs, on which some kernels of sm_90 depend (default: ${DEFAULT-VALUE}, that of H100 SXM,"
                            + " H200 and GH200; H100 PCIe has 114).")
    private int smCount = 132;

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            converter = NamedConverter.OfDtype.class,
            description = "auto (float16), float32, float16 or bfloat16 (default: auto).")
    private Dtype dtype = Dtype.AUTO;

    @Option(
            names = "--page-size",
            paramLabel = "N",
            description = "Tokens in a page of the KV cache, a power of two in [8, 256] (default: ${DEFAULT-VALUE}).")
    private int pageSize = ModelOptions.defaults().pageSize();

    @Option(
            names = "--weights",
            paramLabel = "FORMAT",
            converter = NamedConverter.OfWeights.class,
            description = "dtype or int8, as the model will be run (default: dtype).")
    private WeightFormat weights = WeightFormat.DTYPE;

    @Option(
            names = "--cache",
            paramLabel = "DIR",
            description =
                    "Where to keep the compiled kernels (default: system property loomtorch.cache, environment variable"
                            + " LOOMTORCH_CACHE, loomtorch in XDG_CACHE_HOME, or ~/.cache/loomtorch).")
    private Path cache;

    @Option(
            names = "--dump",
            paramLabel = "DIR",
            description = "Only write the CUDA files and their compiler options to a folder, and print the options.")
    private Path dump;

    @Override
    public Integer call() throws IOException {
        GpuModel gpu = new GpuModel(arch, smCount);
        ModelOptions options = ModelOptions.builder().pageSize(pageSize).build(); // checks the range
        KernelBuild build = new KernelBuild(config(), dtype, options.pageSize(), weights == WeightFormat.INT8, gpu);
        PrintWriter out = spec.commandLine().getOut();
        if (dump != null) {
            build.dump(dump).forEach(out::println);
        } else {
            build.compile(cache == null ? CacheFolder.path() : cache, module -> {
                out.println(module.file() + ": " + module.name() + (module.compiled() ? ", compiled" : ", up to date"));
                out.flush();
            });
        }
        return 0;
    }

    private Gpt2Config config() throws IOException {
        if (shape == null) {
            return model.open().config();
        }
        if (model.isNamed()) {
            throw new IllegalArgumentException("shape must not be given together with --model");
        }
        try {
            return Gpt2Config.shape(shape);
        } catch (IllegalArgumentException e) {
            String rule = String.valueOf(e.getMessage()).substring("name".length());
            throw new IllegalArgumentException("shape" + rule, e);
        }
    }
}
