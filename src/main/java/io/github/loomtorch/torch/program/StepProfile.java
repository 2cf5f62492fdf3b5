package io.github.loomtorch.torch.program;

import java.util.List;

/**
 * Where the time of a decode step goes.
 *
 * @param batchSize sequences
 * @param contextLength tokens of each, its new one included
 * @param stepMicros time of a whole step on the device
 * @param copyBytesPerSecond of a large copy within the device's memory, bytes read and bytes written, measured along
 *     with it
 * @param parts of the step, in order; their times add up to about the step's
 */
public record StepProfile(
        int batchSize, int contextLength, double stepMicros, double copyBytesPerSecond, List<Part> parts) {

    /** Copies the list. */
    public StepProfile {
        parts = List.copyOf(parts);
    }

    /**
     * One kind of work.
     *
     * @param name such as {@code attention}
     * @param launches how often it is in a step
     * @param micros how much longer a step is with all of them
     * @param bytes the fewest that they must move
     */
    public record Part(String name, int launches, double micros, long bytes) {}

    /**
     * How near a part is to a copy's speed.
     *
     * @param part of this profile
     * @return the part's bytes a second, as a share of {@link #copyBytesPerSecond()}; more than 1 for what the caches
     *     held
     */
    public double copyShare(Part part) {
        return part.bytes() / (part.micros() * 1e-6) / copyBytesPerSecond;
    }
}
