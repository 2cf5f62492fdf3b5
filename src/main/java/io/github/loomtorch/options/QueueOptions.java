package io.github.loomtorch.options;

/**
 * How much may wait. A request counts from submit until it runs; its tokens are those of the prompt and
 * {@code maxNewTokens}. Immutable.
 *
 * @param maxQueuedRequests &gt;= 1; most requests that wait
 * @param maxQueuedTokens &gt;= 1; most tokens of all that wait, though a request always fits an empty queue
 * @param whenFull what becomes of a request that does not fit
 */
public record QueueOptions(int maxQueuedRequests, long maxQueuedTokens, WhenFull whenFull) {

    /** What becomes of a request that finds the queue full. */
    public enum WhenFull {
        /** {@code submit} throws {@link java.util.concurrent.RejectedExecutionException}, which names the limit. */
        REJECT,
        /**
         * {@code submit} waits for room; the time counts for the request's deadline. If interrupted it throws
         * {@link java.util.concurrent.CancellationException}, the request is not taken, and the interrupt flag stays
         * set.
         */
        BLOCK
    }

    /**
     * Validates.
     *
     * @throws IllegalArgumentException if a limit is less than 1
     */
    public QueueOptions {
        if (maxQueuedRequests < 1) {
            throw new IllegalArgumentException("maxQueuedRequests must be >= 1, got " + maxQueuedRequests);
        }
        if (maxQueuedTokens < 1) {
            throw new IllegalArgumentException("maxQueuedTokens must be >= 1, got " + maxQueuedTokens);
        }
    }

    /**
     * What fits most uses.
     *
     * @return at most 1024 requests of any length; more are rejected
     */
    public static QueueOptions defaults() {
        return new QueueOptions(1024, Long.MAX_VALUE, WhenFull.REJECT);
    }

    /**
     * A queue that never is full.
     *
     * @return no limits
     */
    public static QueueOptions unbounded() {
        return new QueueOptions(Integer.MAX_VALUE, Long.MAX_VALUE, WhenFull.REJECT);
    }
}
