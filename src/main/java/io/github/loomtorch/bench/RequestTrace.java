package io.github.loomtorch.bench;

import io.github.loomtorch.request.RequestTimings;
import java.util.Optional;

/**
 * What a client saw of one request, in nanoseconds of one clock. The array is shared, do not modify it.
 *
 * @param status how the request ended
 * @param failure why it did not complete; empty if it did
 * @param arrivalNanos when it was to be sent; all latencies count from here, so a client that is late hides nothing
 * @param sentNanos when it was sent
 * @param timings of the scheduler, on the same clock; empty if not known, as over HTTP
 * @param endNanos when it ended
 * @param inputTokens of the prompt
 * @param outputTokens that were generated
 * @param tokenNanos when output tokens arrived; over HTTP one time for each event, which may have several tokens
 */
public record RequestTrace(
        Status status,
        String failure,
        long arrivalNanos,
        long sentNanos,
        Optional<RequestTimings> timings,
        long endNanos,
        int inputTokens,
        int outputTokens,
        long[] tokenNanos) {

    /** How a request ended. */
    public enum Status {
        /** All its tokens came. */
        COMPLETED,
        /** It was refused because the queue was full. */
        REJECTED,
        /** It was cancelled, or its deadline passed. */
        CANCELLED,
        /** Anything else. */
        FAILED
    }

    /**
     * Whether all its tokens came.
     *
     * @return false if it was rejected or cancelled, or failed
     */
    public boolean isCompleted() {
        return status == Status.COMPLETED;
    }

    /**
     * Time to first token, of a completed request.
     *
     * @return nanoseconds
     */
    public long ttftNanos() {
        return tokenNanos[0] - arrivalNanos;
    }

    /**
     * End-to-end latency, of a completed request.
     *
     * @return nanoseconds
     */
    public long e2elNanos() {
        return tokenNanos[tokenNanos.length - 1] - arrivalNanos;
    }

    /**
     * Time per output token after the first, of a completed request.
     *
     * @return nanoseconds; 0 for a single token
     */
    public double tpotNanos() {
        return outputTokens < 2 ? 0 : (double) (e2elNanos() - ttftNanos()) / (outputTokens - 1);
    }
}
