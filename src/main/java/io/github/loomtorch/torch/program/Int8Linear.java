package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.TemporaryFile;
import io.github.loomtorch.model.TorchScriptWriter;
import io.github.loomtorch.torch.natives.Libtorch;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.ListType;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.Type;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Linear layers with int8 weights on a CPU, by oneDNN. Weights have one scale per output channel. Activations are
 * quantized to two int8 numbers in each call, with one scale per row, so the rows of a batch do not influence each
 * other: the sums are of integers and exact in any order. Confined to the thread that loads the model.
 */
final class Int8Linear {
    /** The parameters with weights that are quantized, beside the head. */
    static final Set<String> LAYER_WEIGHTS = Set.of("qkv_w", "proj_w", "fc_w", "out_w");

    /** A processor without VNNI adds two products in 16 bits: 2 x 255 x 63 fits there, 2 x 255 x 127 does not. */
    private static final int LIMIT_WITHOUT_VNNI = 63;

    private static final int LIMIT = 127;

    /*
     * JitModule.define does not know torch.ops; an archive's program does. Activations are x = scale * (high + low / 254), high and
     * low in [-127, 127], each a row of the product: 8 bits alone change the perplexity by 0.8%, these 16 hardly at all.
     */
    private static final String PROGRAM = """
            class Gpt2(Module):
              __parameters__ = []
              __buffers__ = []
              def pack(self: __torch__.Gpt2, quantized: Tensor) -> List[Tensor]:
                packed = annotate(List[Tensor], [])
                for matrix in torch.unbind(quantized):
                  _0 = torch.append(packed, ops.onednn.qlinear_prepack(matrix, None))
                return packed
              def linear(self: __torch__.Gpt2, x: Tensor, w: Tensor, scales: Tensor, zero: Tensor) -> Tensor:
                scale = torch.div(torch.clamp_min(torch.amax(torch.abs(x), [1], True), 1e-20), 127)
                r = torch.div(x, scale)
                high = torch.round(r)
                low = torch.round(torch.mul(torch.sub(r, high), 254))
                q = torch.to(torch.add(torch.cat([high, low]), 128), 0)
                y = ops.onednn.qlinear_pointwise(q, 1., 128, w, scales, zero, None, 1., 0, 6, "none", annotate(List[Optional[number]], []), "")
                high_y, low_y = torch.chunk(y, 2)
                return torch.mul(torch.add(high_y, torch.div(low_y, 254)), scale)
            """;

    private final JitModule operators;

    private Int8Linear(JitModule operators) {
        this.operators = operators;
    }

    /**
     * Loads the operators.
     *
     * @return owned by the caller's scope
     * @throws IOException if the folder for temporary files cannot be written
     */
    static Int8Linear load() throws IOException {
        Path folder = Files.createTempDirectory("loomtorch");
        Path file = folder.resolve("int8.ts");
        try {
            TemporaryFile.write(file, output -> new TorchScriptWriter(output).finish(PROGRAM));
            return new Int8Linear(torch.load(file.toString()));
        } finally {
            Files.deleteIfExists(file);
            Files.delete(folder);
        }
    }

    /** Lets the program of a module call the operators. */
    void register(JitModule module) {
        module.register_module("int8", operators);
        module.register_parameter("zero", torch.zeros(new long[] {1}, new TensorOptions(ScalarType.Int)), false);
    }

    /**
     * Quantizes matrices and registers them as the attribute {@code name_q}, a list, with their scales {@code name_s}.
     *
     * @param weights [L, out, in] float32
     */
    void register(JitModule module, String name, Tensor weights) {
        int limit = Libtorch.cpuHasVnni() ? LIMIT : LIMIT_WITHOUT_VNNI;
        Tensor scales = weights.abs()
                .amax(new long[] {2}, true)
                .clamp_min(new Scalar(1e-20))
                .div(new Scalar(limit));
        Tensor quantized = weights.div(scales).round().to(ScalarType.Char);
        IValue packed = operators.get_method("pack").apply(new IValueVector(new IValue(quantized)));
        module.register_attribute(name + "_q", new Type.TypePtr(ListType.ofTensors()), packed);
        module.register_parameter(name + "_s", scales.squeeze(2), false);
    }
}
