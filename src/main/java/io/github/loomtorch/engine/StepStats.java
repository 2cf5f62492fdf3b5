package io.github.loomtorch.engine;

/**
 * What one step did. Immutable.
 *
 * @param sequences how many had tokens computed
 * @param computedTokens prompt and output tokens whose keys and values were computed
 * @param sampledTokens tokens that were sampled
 * @param runningSequences in the batch after the step
 * @param preemptedSequences lost their pages before the step, to be computed again later
 * @param availablePages of the KV cache after the step: free, or cached and in nobody's use
 * @param durationNanos from launch to the last result on the host
 * @param deviceNanos from the device's first operation to its last, 0 if not known
 * @param failed whether the step failed as a whole
 */
public record StepStats(
        int sequences,
        int computedTokens,
        int sampledTokens,
        int runningSequences,
        int preemptedSequences,
        int availablePages,
        long durationNanos,
        long deviceNanos,
        boolean failed) {}
