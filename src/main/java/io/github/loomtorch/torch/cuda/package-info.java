/**
 * GPT-2 on a GPU: kernels, CUDA graphs and sampling on the device. The legend of the shapes is in the documentation of
 * the package {@code torch}.
 *
 * <p>A step goes through these classes, from the top:
 *
 * <ul>
 *   <li>{@code CudaGpt2} fills and uploads the step's rows ({@code StepRows}, {@code StepInput}), launches the step and
 *       awaits its results ({@code ResultRow}). {@code StepGraphs} and {@code PrefillGraphs} hold the recorded CUDA
 *       graphs.
 *   <li>{@code CudaLayers} computes logits: embeddings, {@code CudaAttention}, {@code CudaLinear} (norms, matrix
 *       products, head); in a large prefill the program's flash attention.
 *   <li>{@code DeviceSampler} samples.
 * </ul>
 *
 * <p>Which kernels there are for a model on a GPU, and with which sizes, is pure arithmetic, tested without a GPU:
 * {@code KernelSet}, with {@code ProductKernels}, {@code AttentionShape} and {@code LmHeadShape};
 * {@code AttentionChoice} and {@code AttentionPlan} choose by step. The CUDA files are resources of this package
 * ({@code KernelFile}); every number that they share with Java is a {@code KernelConstant}. {@code KernelCompiler}
 * compiles them, {@code KernelCache} keeps the result, {@code CudaKernels} loads it. {@code LinearWeights} folds each
 * LayerNorm into the matrix that follows, in the program's own parameters. Without a kernel, the program runs operator
 * by operator, as on a CPU.
 */
@NullMarked
package io.github.loomtorch.torch.cuda;

import org.jspecify.annotations.NullMarked;
