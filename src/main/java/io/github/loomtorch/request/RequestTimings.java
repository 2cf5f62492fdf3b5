package io.github.loomtorch.request;

import java.util.List;

/**
 * When things happened to one request, in nanoseconds of the scheduler's monotonic clock. Definitions are those of
 * vLLM's benchmarks. Immutable.
 *
 * @param submittedNanos the scheduler accepted the request
 * @param startedNanos it was admitted to a batch; {@code finishedNanos} if it never was
 * @param firstTokenNanos its first output token was on the host; {@code finishedNanos} if there was none
 * @param finishedNanos its last output token was on the host, or it ended otherwise
 * @param preemptions when it did not run between its start and its end, in order; usually none
 */
public record RequestTimings(
        long submittedNanos,
        long startedNanos,
        long firstTokenNanos,
        long finishedNanos,
        List<Preemption> preemptions) {

    /**
     * A time in which a request did not run, as others took its place. Immutable.
     *
     * @param preemptedNanos it lost its place in the batch
     * @param resumedNanos it was admitted to a batch again, or ended
     */
    public record Preemption(long preemptedNanos, long resumedNanos) {}

    /** Copies the list. */
    public RequestTimings {
        preemptions = List.copyOf(preemptions);
    }

    /**
     * Time to first token: submit to the first token on the host, queueing included.
     *
     * @return nanoseconds, &gt;= 0
     */
    public long ttftNanos() {
        return firstTokenNanos - submittedNanos;
    }

    /**
     * End-to-end latency: submit to completion.
     *
     * @return nanoseconds, &gt;= 0
     */
    public long e2elNanos() {
        return finishedNanos - submittedNanos;
    }

    /**
     * Time per output token after the first: (E2EL - TTFT) / (n - 1).
     *
     * @param outputTokens n, &gt;= 0
     * @return nanoseconds; 0 for fewer than two tokens
     */
    public double tpotNanos(int outputTokens) {
        return outputTokens < 2 ? 0 : (double) (e2elNanos() - ttftNanos()) / (outputTokens - 1);
    }
}
