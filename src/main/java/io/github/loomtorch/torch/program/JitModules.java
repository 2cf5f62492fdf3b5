package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.StackedWeights;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Failures;
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

/**
 * Makes libtorch's module of a {@link Gpt2Module}. The program is always that of {@link TorchScriptSource}, unless
 * another one is trusted.
 */
final class JitModules {
    private JitModules() {}

    /**
     * Makes the module, on a device and in a dtype.
     *
     * @param int8 whether the weights of the linear layers are quantized to 8 bits; on a CPU, in float32
     * @return owned by the caller's scope
     * @throws IOException if a file cannot be read
     */
    static JitModule load(Gpt2Module model, Device device, ScalarType dtype, boolean int8) throws IOException {
        return model.weights().isPresent()
                ? define(model.weights().get(), device, dtype, int8)
                : execute(model.trusted().orElseThrow(), model.config(), device, dtype, int8);
    }

    private static JitModule define(Gpt2Weights weights, Device device, ScalarType dtype, boolean int8)
            throws IOException {
        Gpt2Config config = weights.config();
        JitModule module = new JitModule(new QualifiedName("Gpt2"));
        Map<String, long[]> shapes = StackedWeights.shapes(config);
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
                    long[] shape = Objects.requireNonNull(shapes.get(name));
                    values.put(name, Parameters.allocate(weights, name, shape, dtype, copies));
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
            throw new IOException(file + ": expected a TorchScript archive, got: " + Failures.firstLine(e), e);
        }
        for (Map.Entry<String, long[]> parameter : StackedWeights.shapes(config).entrySet()) {
            String name = parameter.getKey();
            long @Nullable [] shape =
                    module.hasattr(name) ? module.attr(name).toTensor().shape() : null;
            if (!Arrays.equals(shape, parameter.getValue())) {
                throw StackedWeights.unfit(file, name, parameter.getValue(), shape);
            }
        }
        module.to(dtype, false);
        return module;
    }
}
