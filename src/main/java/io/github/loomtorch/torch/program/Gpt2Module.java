package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.model.TorchScriptArchive;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Failures;
import io.github.loomtorch.torch.natives.Libtorch;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.QualifiedName;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A model's program and parameters, before they are on a device. The program is always that of
 * {@link TorchScriptSource}, unless a {@code model.ts} with another one is trusted. Immutable.
 */
public final class Gpt2Module {
    private static final Logger LOG = LoggerFactory.getLogger(Gpt2Module.class);

    private interface Loader {
        JitModule load(Device device, ScalarType dtype, boolean int8) throws IOException;
    }

    private final Gpt2Config config;
    private final Loader loader;

    private Gpt2Module(Gpt2Config config, Loader loader) {
        this.config = config;
        this.loader = loader;
    }

    /**
     * The model of a directory: its weights where it has some, otherwise its {@code model.ts}.
     *
     * @param trustModelTs whether a program in {@code model.ts} that is not this version's is executed
     * @throws IOException if a file is missing, malformed or does not fit {@code config.json}
     */
    public static Gpt2Module open(ModelDirectory directory, boolean trustModelTs) throws IOException {
        if (directory.hasWeights()) {
            Gpt2Weights weights = directory.weights();
            return new Gpt2Module(weights.config(), Parameters.of(weights));
        }
        TorchScriptArchive archive = directory.openTorchScript();
        boolean tied =
                directory.config().tieWordEmbeddings() && !archive.tensors().containsKey("lm_head");
        Gpt2Config config = directory.config().withTieWordEmbeddings(tied);
        if (!archive.program().equals(TorchScriptSource.archived(config))) {
            if (trustModelTs) {
                return new Gpt2Module(
                        config, (device, dtype, int8) -> execute(archive.path(), config, device, dtype, int8));
            }
            LOG.warn(
                    "{}: its program is not that of this version for config.json and is ignored; its weights are used",
                    archive.path());
        }
        return new Gpt2Module(config, Parameters.of(archive, config));
    }

    /** A model with random weights. */
    public static Gpt2Module random(Gpt2Config config, long seed) {
        return new Gpt2Module(
                config, (device, dtype, int8) -> define(config, Parameters.random(config, seed), device, dtype, int8));
    }

    private Gpt2Module(Gpt2Config config, Parameters.Source parameters) {
        this(config, (device, dtype, int8) -> define(config, parameters, device, dtype, int8));
    }

    /** The configuration that fits the parameters. */
    public Gpt2Config config() {
        return config;
    }

    /**
     * Makes the module, on a device and in a dtype.
     *
     * @param int8 whether the weights of the linear layers are quantized to 8 bits; on a CPU, in float32
     * @return owned by the caller's scope
     * @throws IOException if a file cannot be read
     */
    JitModule load(Device device, ScalarType dtype, boolean int8) throws IOException {
        return loader.load(device, dtype, int8);
    }

    private static JitModule define(
            Gpt2Config config, Parameters.Source parameters, Device device, ScalarType dtype, boolean int8)
            throws IOException {
        JitModule module = new JitModule(new QualifiedName("Gpt2"));
        Map<String, long[]> shapes = Parameters.shapes(config);
        OneDnnLinear linear = null;
        if (!device.is_cuda() && (int8 || OneDnnLinear.supports(dtype))) {
            linear = OneDnnLinear.load(config.activation(), int8);
            linear.register(module);
        }
        // To a GPU, or to be reordered, one after the other, so that only one is in host memory.
        List<List<String>> groups = device.is_cuda() || linear != null
                ? shapes.keySet().stream().map(List::of).toList()
                : List.of(List.copyOf(shapes.keySet()));
        String head = config.tieWordEmbeddings() ? "wte" : "lm_head";
        for (List<String> group : groups) {
            try (PointerScope scope = new PointerScope()) {
                List<Runnable> copies = new ArrayList<>();
                Map<String, Tensor> values = new LinkedHashMap<>();
                for (String name : group) {
                    values.put(
                            name, parameters.allocate(name, Objects.requireNonNull(shapes.get(name)), dtype, copies));
                }
                Parameters.fill(copies);
                for (Map.Entry<String, Tensor> entry : values.entrySet()) {
                    String name = entry.getKey();
                    Tensor value = entry.getValue();
                    if (linear != null && name.equals(head)) {
                        linear.register(module, "head_w", value.unsqueeze(0));
                    }
                    if (linear != null && OneDnnLinear.LAYER_WEIGHTS.contains(name)) {
                        linear.register(module, name, value);
                    } else if (linear == null || !name.equals("lm_head")) {
                        module.register_parameter(name, value.to(device, dtype), false);
                    }
                }
            }
        }
        module.define(linear != null ? TorchScriptSource.ofOneDnn(config) : TorchScriptSource.of(config));
        return module;
    }

    /** Loads an archive with its program, which can do whatever TorchScript can, such as write files. */
    private static JitModule execute(Path file, Gpt2Config config, Device device, ScalarType dtype, boolean int8)
            throws IOException {
        if (int8) {
            throw new TorchException("int8Weights on a CPU needs this version's program, got that of " + file
                    + "; set trustModelTs=false, or set int8Weights=false");
        }
        JitModule module;
        try {
            module = torch.load(file.toString(), new DeviceOptional(device), false);
        } catch (RuntimeException e) {
            if (Failures.isOutOfMemory(e)) {
                throw Failures.explain("loading " + file, e);
            }
            throw new IOException(file + ": expected a TorchScript archive, got: " + Libtorch.firstLine(e), e);
        }
        for (Map.Entry<String, long[]> parameter : Parameters.shapes(config).entrySet()) {
            String name = parameter.getKey();
            long @Nullable [] shape =
                    module.hasattr(name) ? module.attr(name).toTensor().shape() : null;
            if (!Arrays.equals(shape, parameter.getValue())) {
                throw Parameters.unfit(file, name, parameter.getValue(), shape);
            }
        }
        module.to(dtype, false);
        return module;
    }
}
