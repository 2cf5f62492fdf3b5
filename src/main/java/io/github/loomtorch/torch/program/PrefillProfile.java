package io.github.loomtorch.torch.program;

/**
 * The speed of a prefill.
 *
 * @param prompts computed in one step
 * @param promptLength tokens of each
 * @param micros time of the step, from its launch on the host to its end on the device
 * @param operations floating-point operations of its matrix products
 * @param matmulOperationsPerSecond of a large square matrix product by cuBLAS in the same dtype, measured along with it
 */
public record PrefillProfile(
        int prompts, int promptLength, double micros, double operations, double matmulOperationsPerSecond) {

    /**
     * How near it is to a large matrix product's speed.
     *
     * @return its operations a second, as a share of {@link #matmulOperationsPerSecond()}
     */
    public double matmulShare() {
        return operations / (micros * 1e-6) / matmulOperationsPerSecond;
    }
}
