package io.github.loomtorch.torch.cuda;

/**
 * What the choice of kernels depends on in a GPU.
 *
 * @param architecture such as {@code sm_90}
 * @param smCount SMs
 */
public record GpuModel(String architecture, int smCount) {

    /**
     * Validates.
     *
     * @throws IllegalArgumentException if an argument is out of its range
     */
    public GpuModel {
        if (!architecture.matches("sm_\\d{2,3}")) {
            throw new IllegalArgumentException(
                    "arch must be sm_ and a compute capability, such as sm_90, got " + architecture);
        }
        if (smCount < 1 || smCount > 1024) {
            throw new IllegalArgumentException("smCount must be in [1, 1024], got " + smCount);
        }
    }

    /** Ten times the compute capability, such as 90. */
    int capability() {
        return Integer.parseInt(architecture.substring(3));
    }

    /** Whether kernels can overlap (programmatic dependent launch), and use clusters and TMA. */
    boolean isAtLeast90() {
        return capability() >= 90;
    }

    /** Whether the GPU has wgmma, which only Hopper has. */
    boolean isHopper() {
        return capability() == 90;
    }
}
