package io.github.loomtorch.bench;

import java.util.List;
import java.util.Optional;

/**
 * What came of one workload. Immutable.
 *
 * @param requests in order of arrival
 * @param startNanos when it started, on the clock of the requests
 * @param durationNanos from the start to the last end
 * @param steps of the engines, in order of their ends; empty if they are in another process
 * @param maxBatchSize most sequences that run at once, on all replicas; 0 if not known
 * @param replicas of the model; 0 if not known
 * @param gpu what the GPUs did, if there are any and NVML is there
 */
public record Measurement(
        List<RequestTrace> requests,
        long startNanos,
        long durationNanos,
        List<StepTrace> steps,
        int maxBatchSize,
        int replicas,
        Optional<GpuUse> gpu) {

    /**
     * What the client saw.
     *
     * @param requests in order of arrival
     * @param startNanos when it started
     * @param durationNanos from the start to the last end
     * @return a measurement without steps and GPUs
     */
    public static Measurement of(List<RequestTrace> requests, long startNanos, long durationNanos) {
        return new Measurement(requests, startNanos, durationNanos, List.of(), 0, 0, Optional.empty());
    }

    /**
     * The same with what the engines of this process did.
     *
     * @param steps of the engines, in order of their ends
     * @param maxBatchSize most sequences that run at once, on all replicas
     * @param replicas of the model
     * @param gpu what the GPUs did
     * @return a measurement
     */
    public Measurement with(List<StepTrace> steps, int maxBatchSize, int replicas, Optional<GpuUse> gpu) {
        return new Measurement(requests, startNanos, durationNanos, steps, maxBatchSize, replicas, gpu);
    }
}
