package io.github.loomtorch.options;

/**
 * What one step did. Immutable.
 *
 * @param sequences sequences of which the step computed tokens
 * @param computedTokens prompt and output tokens whose keys and values it computed, those in vain because their
 *     sequence had ended included
 * @param reusedTokens tokens that those admitted since the step before found in the prefix cache instead; also what a
 *     preempted sequence finds of its own when it goes on
 * @param sampledTokens tokens that were sampled
 * @param runningSequences sequences in the batch after the step
 * @param preemptedSequences sequences that have lost their pages since the step before, to others or for want of pages,
 *     to go on later
 * @param availablePages pages of the KV cache that are free, or cached and in nobody's use, after the step
 * @param pageCount pages of the KV cache, always the same
 * @param durationNanos nanoseconds from launch to the last result on the host; if the model runs ahead, the device
 *     still works on the step before at first
 * @param deviceNanos nanoseconds from the device's first operation to its last, 0 if not known
 * @param failed whether the step failed as a whole: what ran has failed, and what was computed is lost
 */
public record StepStats(
        int sequences,
        int computedTokens,
        int reusedTokens,
        int sampledTokens,
        int runningSequences,
        int preemptedSequences,
        int availablePages,
        int pageCount,
        long durationNanos,
        long deviceNanos,
        boolean failed) {}
