package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.CheckpointTensor;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.TorchScriptArchive;
import io.github.loomtorch.torch.natives.TensorScope;
import java.io.IOException;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * The parameters of the program, as the package documentation lists them, and where they come from. Each holds one kind
 * of weight of all layers. Elements are copied once, from the mapped file to where they stay.
 */
final class Parameters {
    /** The name in a checkpoint of a parameter; {@code %d} is the layer. */
    private static final Map<String, String> CHECKPOINT_NAMES = Map.ofEntries(
            Map.entry("wte", "wte.weight"),
            Map.entry("wpe", "wpe.weight"),
            Map.entry("ln1_w", "h.%d.ln_1.weight"),
            Map.entry("ln1_b", "h.%d.ln_1.bias"),
            Map.entry("qkv_w", "h.%d.attn.c_attn.weight"),
            Map.entry("qkv_b", "h.%d.attn.c_attn.bias"),
            Map.entry("proj_w", "h.%d.attn.c_proj.weight"),
            Map.entry("proj_b", "h.%d.attn.c_proj.bias"),
            Map.entry("ln2_w", "h.%d.ln_2.weight"),
            Map.entry("ln2_b", "h.%d.ln_2.bias"),
            Map.entry("fc_w", "h.%d.mlp.c_fc.weight"),
            Map.entry("fc_b", "h.%d.mlp.c_fc.bias"),
            Map.entry("out_w", "h.%d.mlp.c_proj.weight"),
            Map.entry("out_b", "h.%d.mlp.c_proj.bias"),
            Map.entry("lnf_w", "ln_f.weight"),
            Map.entry("lnf_b", "ln_f.bias"),
            Map.entry("lm_head", "lm_head.weight"));

    private static final Map<DType, ScalarType> DTYPES = new EnumMap<>(Map.of(
            DType.F32, ScalarType.Float,
            DType.F16, ScalarType.Half,
            DType.BF16, ScalarType.BFloat16,
            DType.F64, ScalarType.Double));

    private static final long PIECE_ELEMENTS = 1 << 22;

    private Parameters() {}

    /** Makes the elements of parameters. */
    interface Source {
        /**
         * Allocates one parameter, for {@link #fill} to fill.
         *
         * @param copies what fills it is added to these
         * @return [shape] dtype, on the CPU, owned by the caller's scope
         * @throws IOException if the file cannot be read
         */
        Tensor allocate(String name, long[] shape, ScalarType dtype, List<Runnable> copies) throws IOException;
    }

    /** Names and shapes, in the order of the program. */
    static Map<String, long[]> shapes(Gpt2Config config) {
        long v = config.paddedVocabSize();
        long l = config.layerCount();
        long c = config.hiddenSize();
        long f = config.innerSize();
        Map<String, long[]> shapes = new LinkedHashMap<>();
        shapes.put("wte", new long[] {v, c});
        shapes.put("wpe", new long[] {config.contextLength(), c});
        shapes.put("ln1_w", new long[] {l, c});
        shapes.put("ln1_b", new long[] {l, c});
        shapes.put("qkv_w", new long[] {l, 3 * c, c});
        shapes.put("qkv_b", new long[] {l, 3 * c});
        shapes.put("proj_w", new long[] {l, c, c});
        shapes.put("proj_b", new long[] {l, c});
        shapes.put("ln2_w", new long[] {l, c});
        shapes.put("ln2_b", new long[] {l, c});
        shapes.put("fc_w", new long[] {l, f, c});
        shapes.put("fc_b", new long[] {l, f});
        shapes.put("out_w", new long[] {l, c, f});
        shapes.put("out_b", new long[] {l, c});
        shapes.put("lnf_w", new long[] {c});
        shapes.put("lnf_b", new long[] {c});
        if (!config.tieWordEmbeddings()) {
            shapes.put("lm_head", new long[] {v, c});
        }
        return shapes;
    }

    /** Parameters from a checkpoint, whose matrices are {@code [in, out]}: those of the layers are transposed. */
    static Source of(Gpt2Weights weights) {
        return (name, shape, dtype, copies) -> {
            String checkpointName = Objects.requireNonNull(CHECKPOINT_NAMES.get(name));
            Tensor parameter = torch.empty(shape, new TensorOptions(dtype), null);
            if (checkpointName.contains("%d")) {
                for (int layer = 0; layer < shape[0]; layer++) {
                    Mapped stored = Mapped.of(weights.get(checkpointName.formatted(layer)));
                    Tensor target = parameter.select(0, layer);
                    copies.add(() -> stored.copy(stored.tensor, shape.length == 3, target));
                }
            } else {
                Mapped stored = Mapped.of(weights.get(checkpointName));
                long rows = stored.tensor.size(0);
                addCopies(copies, stored, parameter.narrow(0, 0, rows));
                parameter.narrow(0, rows, shape[0] - rows).zero_(); // the padding of the vocabulary
            }
            return parameter;
        };
    }

    /**
     * Parameters from an archive.
     *
     * @throws IOException if one is missing, or has another shape or type than the program's
     */
    static Source of(TorchScriptArchive archive, Gpt2Config config) throws IOException {
        for (Map.Entry<String, long[]> expected : shapes(config).entrySet()) {
            String name = expected.getKey();
            CheckpointTensor tensor = archive.tensors().get(name);
            long @Nullable [] shape = tensor == null ? null : tensor.shape();
            if (tensor == null || !Arrays.equals(shape, expected.getValue())) {
                throw unfit(archive.path(), name, expected.getValue(), shape);
            }
            if (!DTYPES.containsKey(tensor.dtype())) {
                throw new IOException(archive.path() + ": parameter " + name + ": dtype must be one of "
                        + DTYPES.keySet() + ", got " + tensor.dtype());
            }
        }
        return (name, shape, dtype, copies) -> {
            Tensor parameter = torch.empty(shape, new TensorOptions(dtype), null);
            addCopies(copies, Mapped.of(Objects.requireNonNull(archive.tensors().get(name))), parameter);
            return parameter;
        };
    }

    /** Random parameters, initialised as GPT-2 is: normal, standard deviation 0.02, less in residual projections. */
    static Source random(Gpt2Config config, long seed) {
        Generator generator = torch.make_generator_cpu(seed);
        return (name, shape, dtype, copies) -> {
            Tensor value = torch.zeros(shape, new TensorOptions(ScalarType.Float));
            if (name.startsWith("ln") && name.endsWith("_w")) {
                value.fill_(new Scalar(1.0f));
            } else if (!name.endsWith("_b")) {
                boolean residual = name.equals("proj_w") || name.equals("out_w");
                double deviation = 0.02 / (residual ? Math.sqrt(2.0 * config.layerCount()) : 1);
                value.normal_(0, deviation, new GeneratorOptional(generator));
            }
            return value.to(dtype);
        };
    }

    /** Runs the copies of as many parameters as possible at once, on all processors. */
    static void fill(List<Runnable> copies) {
        copies.parallelStream().forEach(Runnable::run);
    }

    /** Adds copies of pieces of rows, which can run at once. */
    private static void addCopies(List<Runnable> copies, Mapped stored, Tensor target) {
        long rows = stored.tensor.size(0);
        long step = Math.max(1, PIECE_ELEMENTS * rows / Math.max(1, stored.tensor.numel()));
        for (long row = 0; row < rows; row += step) {
            long count = Math.min(step, rows - row);
            Tensor from = stored.tensor.narrow(0, row, count);
            Tensor to = target.narrow(0, row, count);
            copies.add(() -> stored.copy(from, false, to));
        }
    }

    /**
     * The elements of a stored tensor in memory. The tensor does not keep the buffer, and the memory is unmapped when
     * the buffer is garbage collected: so whatever reads the tensor holds both.
     *
     * @param tensor owned by the caller's scope
     */
    private record Mapped(ByteBuffer buffer, Tensor tensor) {
        static Mapped of(CheckpointTensor stored) throws IOException {
            ByteBuffer buffer = stored.data();
            TensorOptions options = new TensorOptions(scalarType(stored.dtype()));
            return new Mapped(buffer, torch.from_blob(new BytePointer(buffer), stored.shape(), options));
        }

        /** Copies a part of the tensor. */
        void copy(Tensor part, boolean transposed, Tensor target) {
            torch.set_num_threads(1); // the copies themselves are parallel
            try (TensorScope scope = new TensorScope()) {
                // Converted first: libtorch transposes fast only between equal types.
                Tensor converted = part.to(target.dtype().toScalarType());
                target.copy_(transposed ? converted.t() : converted);
            } finally {
                Reference.reachabilityFence(buffer);
            }
        }
    }

    static ScalarType scalarType(DType dtype) {
        return Objects.requireNonNull(DTYPES.get(dtype));
    }

    /** That a parameter in a file has another shape than the program's, or, with null, that there is none. */
    static IOException unfit(Path file, String name, long[] expected, long @Nullable [] shape) {
        return new IOException(file + ": expected parameter " + name + " of shape " + Arrays.toString(expected)
                + " from config.json, got " + (shape == null ? "none of that name" : Arrays.toString(shape)));
    }
}
