/**
 * GPT-2 on CPUs and GPUs. {@link io.github.loomtorch.torch.Gpt2Loader} is the way in; only this package and those below
 * it call native code. Imports go down:
 *
 * <ul>
 *   <li>{@code torch} loads a model and chooses its implementation;
 *   <li>{@code torch.cuda} runs it on a GPU: our kernels and CUDA graphs;
 *   <li>{@code torch.cpu} runs it on a CPU by our C library, without libtorch;
 *   <li>{@code torch.program} runs it on any device, as a TorchScript program, and exports it;
 *   <li>{@code torch.gpt2} has what these have in common;
 *   <li>{@code torch.natives} loads libtorch and frees native memory.
 * </ul>
 *
 * <p>The shapes in these packages use one legend: B sequences, N tokens of this call, M sequences that sample, S tokens
 * read, R rows of the cache, P positions, L layers, H heads, D head size, C = H D hidden size, F inner size, V
 * vocabulary, VP = V rounded up to a multiple of 64.
 */
@NullMarked
package io.github.loomtorch.torch;

import org.jspecify.annotations.NullMarked;
