package io.github.loomtorch.torch.program;

import io.github.loomtorch.model.Activation;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.StackedWeights;
import java.util.Set;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The TorchScript program of a GPT-2: what {@code model.ts} holds beside the weights. The package documentation states
 * its contract.
 *
 * <p>Written after OpenAI's {@code src/model.py} (github.com/openai/gpt-2).
 */
final class TorchScriptSource {

    private TorchScriptSource() {}

    /** By ATen's operators, which any device has. */
    static String of(Gpt2Config config) {
        return program(config, ATEN_LINEAR)
                .replace("$head", config.tieWordEmbeddings() ? "wte" : "lm_head")
                .replace("$fused", fused(config.activation()));
    }

    /** For weights that {@link OneDnnLinear} registered; the head's have the name {@code head_w}. */
    static String ofOneDnn(Gpt2Config config) {
        return program(config, ONE_DNN_LINEAR);
    }

    private static String program(Gpt2Config config, String linear) {
        int headSize = config.hiddenSize() / config.headCount();
        String scale = String.valueOf(config.scaleAttnWeights() ? 1 / Math.sqrt(headSize) : 1.0);
        if (config.scaleAttnByInverseLayerIdx()) {
            scale += " / float(l + 1)";
        }
        return (linear + PROGRAM)
                .replace("$activation", expression(config.activation()))
                .replace("$scale", scale)
                .replace("$float32", String.valueOf(ScalarType.Float.value))
                .replace("$int32", String.valueOf(ScalarType.Int.value))
                .replace("$eps", String.valueOf(config.layerNormEpsilon()))
                .replace("$C", String.valueOf(config.hiddenSize()))
                .replace("$L", String.valueOf(config.layerCount()))
                .replace("$H", String.valueOf(config.headCount()))
                .replace("$D", String.valueOf(headSize));
    }

    /** An activation of {@code x}. */
    static String expression(Activation activation) {
        return switch (activation) {
            case GELU -> "torch.gelu(x)";
            case RELU -> "torch.relu(x)";
            case GELU_TANH -> "torch.gelu(x, approximate=\"tanh\")";
            case QUICK_GELU -> "x * torch.sigmoid(1.702 * x)";
            case SILU -> "torch.silu(x)";
            case TANH -> "torch.tanh(x)";
        };
    }

    /** The program as an archive has it: a class with its attributes, whose methods name it as the type of self. */
    static String archived(Gpt2Config config) {
        Set<String> names = StackedWeights.shapes(config).keySet();
        StringBuilder text = new StringBuilder("class Gpt2(Module):\n  __parameters__ = [");
        names.forEach(name -> text.append('"').append(name).append("\", "));
        text.append("]\n  __buffers__ = []\n");
        names.forEach(name -> text.append("  ").append(name).append(" : Tensor\n"));
        return text.append(
                        of(config).replace("(self,", "(self: __torch__.Gpt2,").indent(2))
                .toString();
    }

    /** ATen fuses two of the activations with the product. */
    private static String fused(Activation activation) {
        return switch (activation) {
            case GELU_TANH -> "torch._addmm_activation(b, x, w.t(), use_gelu=True)";
            case RELU -> "torch._addmm_activation(b, x, w.t(), use_gelu=False)";
            case GELU, QUICK_GELU, SILU, TANH -> "self.activation(torch.linear(x, w, b))";
        };
    }

    /*
     * OpenBLAS, which computes float32 on a CPU, multiplies a matrix of up to four rows slower than row by row (gemv): the weights are
     * what takes the time, and gemm first copies them into its own order. `linear` and `head` take that way there. No rows at all, the
     * head's input where no chunk of a prefill samples, cannot be stacked.
     */
    private static final String ATEN_LINEAR = """
            def row_by_row(self, x: Tensor) -> bool:
                return x.size(0) > 0 and x.size(0) <= 4 and x.dtype == $float32 and not x.is_cuda

            def linear(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
                if self.row_by_row(x):
                    return torch.stack([torch.addmv(b, w, row) for row in x.unbind(0)])
                return torch.linear(x, w, b)

            def activated(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
                if self.row_by_row(x):
                    return self.activation(self.linear(x, w, b))
                return $fused

            def added(self, x: Tensor, w: Tensor, b: Tensor, residual: Tensor) -> Tensor:
                return residual + self.linear(x, w, b)

            def head(self, x: Tensor) -> Tensor:
                x = self.norm(x, self.lnf_w, self.lnf_b)
                if self.row_by_row(x):
                    return torch.stack([torch.mv(self.$head, row) for row in x.unbind(0)])
                return torch.linear(x, self.$head)

            """;

    private static final String ONE_DNN_LINEAR = """
            def linear(self, x: Tensor, w: List[Tensor], b: Tensor) -> Tensor:
                return self.one_dnn.linear(x, w, b, None, False)

            def activated(self, x: Tensor, w: List[Tensor], b: Tensor) -> Tensor:
                return self.one_dnn.linear(x, w, b, None, True)

            def added(self, x: Tensor, w: List[Tensor], b: Tensor, residual: Tensor) -> Tensor:
                return self.one_dnn.linear(x, w, b, residual, False)

            def head(self, x: Tensor) -> Tensor:
                return self.one_dnn.linear(self.norm(x, self.lnf_w, self.lnf_b), self.head_w[0], None, None, False)

            """;

    /*
     * On a CPU attention is computed in float32: libtorch's build without MKL has no fast 16-bit products of small matrices there.
     */
    private static final String PROGRAM = """
            def norm(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
                return torch.layer_norm(x, [$C], w, b, $eps)

            def activation(self, x: Tensor) -> Tensor:
                return $activation

            def embed(self, input_ids: Tensor, positions: Tensor) -> Tensor:
                return torch.embedding(self.wte, input_ids) + torch.embedding(self.wpe, positions)

            def qkv(self, x: Tensor, l: int) -> Tensor:
                return self.linear(self.norm(x, self.ln1_w[l], self.ln1_b[l]), self.qkv_w[l], self.qkv_b[l])

            def inner(self, normed: Tensor, l: int) -> Tensor:
                return self.activated(normed, self.fc_w[l], self.fc_b[l])

            def finish(self, x: Tensor, attended: Tensor, l: int) -> Tensor:
                x = self.added(attended, self.proj_w[l], self.proj_b[l], x)
                h = self.inner(self.norm(x, self.ln2_w[l], self.ln2_b[l]), l)
                return self.added(h, self.out_w[l], self.out_b[l], x)

            def attend(self, qkv: Tensor, read_rows: Tensor, new_ends: Tensor, read_ends: Tensor, longest_new: int, longest_read: int,
                       cache: Tensor, l: int) -> Tensor:
                q, k, v = qkv.split($C, 1)
                if read_rows.size(0) > 0:
                    k = cache[l, 0].index_select(0, read_rows)
                    v = cache[l, 1].index_select(0, read_rows)
                out, lse, seed, offset, debug = torch._flash_attention_forward(
                    q.view(-1, $H, $D), k.view(-1, $H, $D), v.view(-1, $H, $D), new_ends, read_ends, longest_new, longest_read, 0.0, True,
                    False, scale=$scale)
                return out.view(-1, $C)

            def attention_dtype(self, x: Tensor) -> int:
                if x.is_cuda:
                    return x.dtype
                return $float32

            def decode(self, input_ids: Tensor, positions: Tensor, write_rows: Tensor, read_rows: Tensor, cache: Tensor) -> Tensor:
                B, S = read_rows.size(0), read_rows.size(1)
                rows = read_rows.view(-1)
                x = self.embed(input_ids, positions)
                mask: Optional[Tensor] = None
                if B > 1:
                    hidden = torch.arange(S, device=rows.device) > positions.unsqueeze(1)
                    mask = torch.zeros([B, S], dtype=self.attention_dtype(x), device=rows.device).masked_fill(hidden, float("-inf")).view(B, 1, 1, S)
                for l in range($L):
                    q, k, v = self.qkv(x, l).split($C, 1)
                    keys, values = cache[l, 0], cache[l, 1]  # [R, C]
                    keys.index_copy_(0, write_rows, k)
                    values.index_copy_(0, write_rows, v)
                    k = keys.index_select(0, rows).view(B, S, $H, $D).transpose(1, 2)  # [B, H, S, D]
                    v = values.index_select(0, rows).view(B, S, $H, $D).transpose(1, 2)
                    q = q.reshape(B, 1, $H, $D).transpose(1, 2)  # [B, H, 1, D]
                    dtype = self.attention_dtype(x)
                    attended = torch.scaled_dot_product_attention(q.to(dtype), k.to(dtype), v.to(dtype), mask, 0.0, False, scale=$scale)
                    x = self.finish(x, attended.to(x.dtype).reshape(B, $C), l)
                return self.head(x)

            def prefill(self, input_ids: Tensor, positions: Tensor, write_rows: Tensor, read_rows: Tensor,
                        lengths: Tensor, wanted: Tensor, cache: Tensor, flash: bool) -> Tensor:
                spans: List[List[int]] = lengths.tolist()
                ends = torch.zeros([2, len(spans) + 1], dtype=$int32)
                ends[:, 1:] = torch.cumsum(lengths, 0).t()
                ends = ends.to(positions.device)
                longest: List[int] = lengths.amax(0).tolist()
                masks: List[Optional[Tensor]] = []
                start = 0
                for T, S in spans:
                    mask: Optional[Tensor] = None
                    if T < S and not flash:
                        mask = torch.arange(S, device=positions.device) <= positions[start:start + T].unsqueeze(1)
                    masks.append(mask)
                    start += T
                x = self.embed(input_ids, positions)
                for l in range($L):
                    qkv = self.qkv(x, l)
                    q, k, v = qkv.split($C, 1)
                    keys, values = cache[l, 0], cache[l, 1]  # [R, C]
                    keys.index_copy_(0, write_rows, k)
                    values.index_copy_(0, write_rows, v)
                    if flash:
                        out = self.attend(qkv, read_rows, ends[0], ends[1], longest[0], longest[1], cache, l)
                    else:
                        if read_rows.size(0) > 0:
                            k, v = keys.index_select(0, read_rows), values.index_select(0, read_rows)
                        dtype = self.attention_dtype(x)
                        q, k, v = q.to(dtype).view(-1, $H, $D), k.to(dtype).view(-1, $H, $D), v.to(dtype).view(-1, $H, $D)
                        attended: List[Tensor] = []
                        start, first = 0, 0
                        for i, (T, S) in enumerate(spans):
                            qi = q[start:start + T].transpose(0, 1).unsqueeze(0)  # [1, H, T, D]
                            ki = k[first:first + S].transpose(0, 1).unsqueeze(0)  # [1, H, S, D]
                            vi = v[first:first + S].transpose(0, 1).unsqueeze(0)
                            oi = torch.scaled_dot_product_attention(qi, ki, vi, masks[i], 0.0, T == S, scale=$scale)
                            attended.append(oi[0].transpose(0, 1))
                            start, first = start + T, first + S
                        out = torch.cat(attended).to(x.dtype).reshape(-1, $C)
                    x = self.finish(x, out, l)
                return x.index_select(0, wanted)
            """;
}
