/**
 * GPT-2 on a GPU: kernels, CUDA graphs and sampling on the device. The legend of the shapes is in the documentation of
 * the package {@code torch}.
 *
 * <p>{@code CudaLayers} puts a step together from {@code CudaLinear}, the norms and matrix products ({@code linear.cu},
 * {@code wide.cu}, cuBLAS), {@code CudaAttention} ({@code decode.cu}) and, in a large prefill, the program's flash
 * attention; {@code DeviceSampler} ends it with {@code sample.cu}; {@code CudaGpt2} records it as a CUDA graph for each
 * number of rows and kind of attention ({@code AttentionChoice}, and {@code AttentionPlan} for many rows), and the
 * layers of a large prefill for some numbers of tokens, and launches the next step before one has ended.
 * {@code CudaLinear} folds each norm's weight and bias into the matrix that follows it, in the program's own
 * parameters. {@code StepInput} is the layout that Java and the kernels share. Without a kernel, the program runs
 * operator by operator, as it does on a CPU.
 */
package io.github.loomtorch.torch.cuda;
