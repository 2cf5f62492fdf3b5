/**
 * GPT-2 on libtorch and CUDA: the only package that calls native code. {@link io.github.loomtorch.torch.Gpt2} is its
 * way in.
 *
 * <p>The shapes below use one legend: B sequences, N tokens of this call, M sequences that sample, S tokens read, R
 * rows of the cache, L layers, H heads, D head size, C = H D hidden size, F inner size, V vocabulary, VP = V rounded up
 * to a multiple of 64.
 *
 * <h2>The program in model.ts</h2>
 *
 * {@code TorchScriptSource} writes it, {@code TorchScriptExporter} saves it with its weights,
 * {@code TorchScriptProgram} calls it. Its parameters stack the layers, in one dtype, matrices {@code [out, in]}:
 * {@code wte [VP, C]}, {@code wpe [P, C]} (P positions), {@code ln1_w, ln1_b [L, C]}, {@code qkv_w [L, 3C, C]},
 * {@code qkv_b [L, 3C]}, {@code proj_w [L, C, C]}, {@code proj_b [L, C]}, {@code ln2_w, ln2_b [L, C]}, {@code fc_w [L,
 * F, C]}, {@code fc_b [L, F]}, {@code out_w [L, C, F]}, {@code out_b [L, C]}, {@code lnf_w, lnf_b [C]}, and
 * {@code lm_head [VP, C]} unless it is tied to {@code wte}.
 *
 * <p>Tensors are on the model's device, ids and positions int64, the rest in the model's dtype. Its methods:
 *
 * <ul>
 *   <li>{@code decode(input_ids [B], positions [B], write_rows [B], read_rows [B, S], cache) -> logits [B, VP]}: one
 *       token a sequence. {@code write_rows} is where its key and value go; {@code read_rows} are the rows of the
 *       sequence's tokens, its own included, and rows of zeros behind the end of a shorter one.
 *   <li>{@code prefill(input_ids [N], positions [N], write_rows [N], read_rows [sum S], lengths [B, 2], last [M],
 *       cache, flash) -> logits [M, VP]}: several tokens a sequence, one sequence after the other. {@code lengths}, on
 *       the host, has each one's tokens in this call and tokens read; {@code last} the tokens, in [0, N), whose logits
 *       are wanted; {@code flash} whether ATen's flash attention is used.
 *   <li>{@code attend(qkv [N, 3C], read_rows [sum S] int32, new_ends [B + 1] int32, read_ends [B + 1] int32,
 *       longest_new, longest_read, cache, layer) -> [N, C]}: the attention of a prefill by ATen's flash attention, CUDA
 *       only; the ends are where each sequence's new tokens, and the tokens it reads, end, after a 0; without
 *       {@code read_rows} all tokens read are new.
 *   <li>{@code inner(normed [N, C], layer) -> [N, F]}: the inner product of a layer with its activation.
 *   <li>{@code qkv(x [N, C], layer) -> [N, 3C]}, {@code finish(x [N, C], attended [N, C], layer) -> [N, C]} and
 *       {@code head(x [N, C]) -> [N, VP]}: the parts of a layer around its attention, for kernels of our own between
 *       them.
 * </ul>
 *
 * The cache is {@code [L, 2, R, C]}, keys then values, and is updated in place. The logits of the ids from V on mean
 * nothing.
 *
 * <h2>On a GPU</h2>
 *
 * {@code CudaLayers} puts a step together from {@code CudaLinear}, the norms and matrix products ({@code linear.cu},
 * {@code wide.cu}, cuBLAS), {@code CudaAttention} ({@code decode.cu}) and, in a large prefill, the program's flash
 * attention; {@code DeviceSampler} ends it with {@code sample.cu}; {@code CudaGpt2} records it as a CUDA graph for each
 * number of rows and kind of attention ({@code AttentionChoice}, and {@code AttentionPlan} for many rows), and the
 * layers of a large prefill for some numbers of tokens, and launches the next step before one has ended.
 * {@code CudaLinear} has the weights that follow a norm take its factors and offsets over, in the program's own
 * parameters. {@code StepInput} is the layout that Java and the kernels share, {@code PrefillShape} what a prefill is
 * told. Without a kernel, {@code TorchScriptGpt2} runs the program operator by operator, as it does on a CPU.
 *
 * <p>Native objects belong to a {@code TensorScope}, or are retained by the class that owns them.
 */
package io.github.loomtorch.torch;
