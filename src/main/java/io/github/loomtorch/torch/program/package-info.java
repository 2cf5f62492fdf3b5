/**
 * GPT-2 as a TorchScript program, on any device that libtorch knows. The legend of the shapes is in the documentation
 * of the package {@code torch}.
 *
 * <p>{@code TorchScriptSource} writes the program, {@code TorchScriptExporter} saves it with its weights as
 * {@code model.ts}, {@code TorchScriptProgram} calls it. Its parameters stack the layers, in one dtype, matrices
 * {@code [out, in]}: {@code wte [VP, C]}, {@code wpe [P, C]}, {@code ln1_w, ln1_b [L, C]}, {@code qkv_w [L, 3C, C]},
 * {@code qkv_b [L, 3C]}, {@code proj_w [L, C, C]}, {@code proj_b [L, C]}, {@code ln2_w, ln2_b [L, C]}, {@code fc_w [L,
 * F, C]}, {@code fc_b [L, F]}, {@code out_w [L, C, F]}, {@code out_b [L, C]}, {@code lnf_w, lnf_b [C]}, and
 * {@code lm_head [VP, C]} unless it is tied to {@code wte}.
 *
 * <p>Tensors are on the model's device; ids and positions are int64, the rest has the model's dtype. The methods:
 *
 * <ul>
 *   <li>{@code decode(input_ids [B], positions [B], write_rows [B], read_rows [B, S], cache) -> logits [B, VP]}: one
 *       token per sequence. {@code write_rows} is where its key and value go. {@code read_rows} are the rows of the
 *       sequence's tokens, the new one included; a shorter sequence is padded with a row of zeros.
 *   <li>{@code prefill(input_ids [N], positions [N], write_rows [N], read_rows [sum S], lengths [B, 2], wanted [M],
 *       cache, flash) -> hidden [M, C]}: several tokens per sequence, one sequence after the other. {@code lengths}, on
 *       the host, has each sequence's new tokens and tokens read. Without {@code read_rows} all tokens read are new.
 *       {@code wanted} are the tokens, in [0, N), whose logits are wanted; {@code head} computes these from the hidden
 *       states, block by block if there are many. {@code flash} selects ATen's flash attention.
 *   <li>{@code attend(qkv [N, 3C], read_rows [sum S] int32, new_ends [B + 1] int32, read_ends [B + 1] int32,
 *       longest_new, longest_read, cache, layer) -> [N, C]}: the attention of a prefill by ATen's flash attention, CUDA
 *       only. The ends are cumulative counts of new tokens and of tokens read, starting with 0. Without
 *       {@code read_rows} all tokens read are new.
 *   <li>{@code inner(normed [N, C], layer) -> [N, F]}: the inner product of a layer with its activation.
 *   <li>{@code qkv(x [N, C], layer) -> [N, 3C]}, {@code finish(x [N, C], attended [N, C], layer) -> [N, C]} and
 *       {@code head(x [N, C]) -> [N, VP]}: the parts of a layer around its attention, for kernels that compute the
 *       attention between them.
 * </ul>
 *
 * <p>The cache is {@code [L, 2, R, C]}, keys then values, and is updated in place. The logits of ids &gt;= V are
 * meaningless.
 */
@NullMarked
package io.github.loomtorch.torch.program;

import org.jspecify.annotations.NullMarked;
