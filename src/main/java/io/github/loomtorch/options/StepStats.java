package io.github.loomtorch.options;

/**
 * What one step did. Immutable.
 *
 * @param sequences sequences with tokens in the step
 * @param computedTokens prompt and output tokens whose keys and values the step computed, wasted rows of sequences that
 *     had already ended included
 * @param reusedTokens prompt tokens found in the prefix cache instead of being computed, by sequences admitted since
 *     the previous step; includes pages of its own that a resumed sequence finds again
 * @param sampledTokens tokens that were sampled and kept
 * @param candidateTokens candidates that were verified, see {@link io.github.loomtorch.request.Speculation}
 * @param acceptedTokens candidates that were accepted; they count as sampled too
 * @param runningSequences sequences in the batch after the step
 * @param preemptedSequences sequences preempted since the previous step, for a more urgent one or because pages ran
 *     out; they go on later
 * @param availablePages pages of the KV cache that are free, or cached and unused, after the step
 * @param pageCount pages of the KV cache, always the same
 * @param durationNanos nanoseconds from launch to the last result on the host; if the model runs ahead, this includes
 *     the time in which the device still works on the previous step
 * @param deviceNanos nanoseconds from the device's first operation to its last, 0 if not known
 * @param failed whether the step failed as a whole; what it computed is lost
 * @param droppedReports reports dropped since the previous call because the listener was too slow
 */
public record StepStats(
        int sequences,
        int computedTokens,
        int reusedTokens,
        int sampledTokens,
        int candidateTokens,
        int acceptedTokens,
        int runningSequences,
        int preemptedSequences,
        int availablePages,
        int pageCount,
        long durationNanos,
        long deviceNanos,
        boolean failed,
        int droppedReports) {

    /**
     * The same report with the number of those dropped before it.
     *
     * @param droppedReports &gt;= 0
     * @return a report
     */
    public StepStats withDroppedReports(int droppedReports) {
        return new StepStats(
                sequences,
                computedTokens,
                reusedTokens,
                sampledTokens,
                candidateTokens,
                acceptedTokens,
                runningSequences,
                preemptedSequences,
                availablePages,
                pageCount,
                durationNanos,
                deviceNanos,
                failed,
                droppedReports);
    }
}
