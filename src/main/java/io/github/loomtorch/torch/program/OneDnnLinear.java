package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.Activation;
import io.github.loomtorch.model.TemporaryFile;
import io.github.loomtorch.model.TorchScriptWriter;
import io.github.loomtorch.torch.natives.Processor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.ListType;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.Type;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Linear layers on a CPU by oneDNN, which reads weights in an order of its own: they are reordered once, when the model
 * is loaded, not in each call. A row of a result is computed in the same order, bit for bit, whatever rows are beside
 * it, and however many. Confined to the thread that loads the model.
 */
final class OneDnnLinear {
    /** What a module with these layers has. */
    static final String ATTRIBUTE = "one_dnn";

    /** The parameters whose matrices are reordered, beside the head. */
    static final Set<String> LAYER_WEIGHTS = Set.of("qkv_w", "proj_w", "fc_w", "out_w");

    /*
     * oneDNN compiles a kernel for each number of rows, in milliseconds, and keeps it, in about 250 KB. So there are at most 23 numbers of
     * rows: up to 16 as they are, more are padded to a multiple of 16, and more than 128 are computed 128 at a time. With more rows than
     * these and many threads oneDNN also splits the sums of a product, which would change their bits.
     */
    private static final String LINEAR = """
            class Gpt2(Module):
              __parameters__ = []
              __buffers__ = []
              def activation(self: __torch__.Gpt2, x: Tensor) -> Tensor:
                return $activation
            $product
              def padded(self: __torch__.Gpt2, x: Tensor, first: int, rows: int, padding: int) -> Tensor:
                x = torch.slice(x, 0, first, first + rows, 1)
                if padding > 0:
                  x = torch.constant_pad_nd(x, [0, 0, 0, padding], 0)
                return x
              def linear(self: __torch__.Gpt2, x: Tensor, w: List[Tensor], b: Optional[Tensor], residual: Optional[Tensor],
                         activated: bool) -> Tensor:
                n = torch.size(x, 0)
                if n <= 16:
                  return self.product(x, w, b, residual, activated)
                blocks = annotate(List[Tensor], [])
                for i in range((n + 127) // 128):
                  rows = min(128, n - 128 * i)
                  padding = (16 - rows % 16) % 16
                  r = residual
                  if r is not None:
                    r = self.padded(r, 128 * i, rows, padding)
                  y = self.product(self.padded(x, 128 * i, rows, padding), w, b, r, activated)
                  _0 = torch.append(blocks, torch.slice(y, 0, 0, rows, 1))
                if n <= 128:
                  return blocks[0]
                return torch.cat(blocks, 0)
            """;

    /** In the dtype of the weights, which the file stores or the user asks for. */
    private static final String PRODUCT = """
              def pack(self: __torch__.Gpt2, matrices: Tensor) -> List[List[Tensor]]:
                packed = annotate(List[List[Tensor]], [])
                for matrix in torch.unbind(matrices):
                  _0 = torch.append(packed, [ops.mkldnn._reorder_linear_weight(matrix, 16)])
                return packed
              def product(self: __torch__.Gpt2, x: Tensor, w: List[Tensor], b: Optional[Tensor], residual: Optional[Tensor],
                          activated: bool) -> Tensor:
                if residual is not None:
                  return ops.mkldnn._linear_pointwise(x, residual, w[0], b, "add")
                if activated:
                  return $activated
                return ops.mkldnn._linear_pointwise(x, w[0], b, "none", annotate(List[Optional[number]], []), "")
            """;

    /*
     * Weights are w = scale * q, q in [-127, 127], with a scale per output channel. Activations are x = scale * (256 * high + low), both in
     * [-128, 127], with a scale per row: 8 bits alone change the perplexity by 0.8%, these 16 hardly at all. high and low are each a row of
     * the product, shifted by 128, as its operand is unsigned.
     */
    private static final String INT8_PRODUCT = """
              def pack(self: __torch__.Gpt2, matrices: Tensor) -> List[List[Tensor]]:
                packed = annotate(List[List[Tensor]], [])
                zero = torch.zeros([1], dtype=3)
                offset = torch.add(torch.zeros([1]), 32896.5)
                for matrix in torch.unbind(matrices):
                  scales = torch.div(torch.clamp_min(torch.amax(torch.abs(matrix), [1], True), 1e-20), $limit)
                  quantized = torch.to(torch.round(torch.div(matrix, scales)), 1)
                  row_scales = torch.div(torch.squeeze(scales, 1), 32512)
                  _0 = torch.append(packed, [ops.onednn.qlinear_prepack(quantized, None), row_scales, zero, offset])
                return packed
              def product(self: __torch__.Gpt2, x: Tensor, w: List[Tensor], b: Optional[Tensor], residual: Optional[Tensor],
                          activated: bool) -> Tensor:
                largest = torch.clamp_min(torch.amax(torch.abs(x), [1], True), 1e-20)
                shifted = torch.to(torch.addcdiv(w[3], x, largest, value=32512), 3)
                q = torch.cat([torch.to(torch.bitwise_right_shift(shifted, 8), 0), torch.to(shifted, 0)], 0)
                y = ops.onednn.qlinear_pointwise(q, 1., 128, w[0], w[1], w[2], None, 1., 0, 6, "none", annotate(List[Optional[number]], []), "")
                high, low = torch.chunk(y, 2, 0)
                sums = torch.add(low, high, alpha=256)
                if b is None:
                  return torch.mul(sums, largest)
                y = torch.addcmul(b, sums, largest)
                if residual is not None:
                  return torch.add(y, residual)
                if activated:
                  return self.activation(y)
                return y
            """;

    /** A processor without VNNI adds two products in 16 bits: 2 x 255 x 63 fits there, 2 x 255 x 127 does not. */
    private static final int LIMIT_WITHOUT_VNNI = 63;

    private static final int LIMIT = 127;

    private final JitModule operators;

    private OneDnnLinear(JitModule operators) {
        this.operators = operators;
    }

    /** Whether there are such products in a dtype. */
    static boolean supports(ScalarType dtype) {
        return torch.hasMKLDNN()
                && (dtype == ScalarType.Float || dtype == ScalarType.BFloat16 && Processor.hasBfloat16());
    }

    /**
     * Loads the operators. {@code JitModule.define} does not know them; an archive's program does.
     *
     * @param int8 whether weights are quantized to 8 bits
     * @return owned by the caller's scope
     * @throws IOException if the folder for temporary files cannot be written
     */
    static OneDnnLinear load(Activation activation, boolean int8) throws IOException {
        String fused = switch (activation) {
            case GELU -> pointwise("gelu", "none");
            case GELU_TANH -> pointwise("gelu", "tanh");
            case RELU -> pointwise("relu", "");
            case QUICK_GELU, SILU, TANH -> "self.activation(" + pointwise("none", "") + ")";
        };
        String program = LINEAR.replace("$product\n", int8 ? INT8_PRODUCT : PRODUCT)
                .replace("$activated", fused)
                .replace("$activation", TorchScriptSource.expression(activation))
                .replace("$limit", String.valueOf(Processor.hasVnni() ? LIMIT : LIMIT_WITHOUT_VNNI));
        Path folder = Files.createTempDirectory("loomtorch");
        Path file = folder.resolve("linear.ts");
        try {
            TemporaryFile.write(file, output -> new TorchScriptWriter(output).finish(program));
            return new OneDnnLinear(torch.load(file.toString()));
        } finally {
            Files.deleteIfExists(file);
            Files.delete(folder);
        }
    }

    private static String pointwise(String name, String algorithm) {
        return "ops.mkldnn._linear_pointwise(x, w[0], b, \"" + name + "\", annotate(List[Optional[number]], []), \""
                + algorithm + "\")";
    }

    /** Lets the program of a module call the operators. */
    void register(JitModule module) {
        module.register_module(ATTRIBUTE, operators);
    }

    /**
     * Reorders matrices, after quantizing them if that was asked for, and registers them as an attribute.
     *
     * @param weights [L, out, in]; float32 if they are quantized
     */
    void register(JitModule module, String name, Tensor weights) {
        IValue packed = operators.get_method("pack").apply(new IValueVector(new IValue(weights)));
        module.register_attribute(name, ListType.get("List", new Type.TypePtr(ListType.ofTensors())), packed);
    }
}
