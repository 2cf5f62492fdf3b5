package io.github.loomtorch.options;

import java.time.Duration;
import java.util.Objects;

/**
 * How many requests may wait, and in which order they run. A request counts as waiting from submit until it runs,
 * unless it finds a free slot of the batch. Its tokens are those of the prompt and {@code maxNewTokens}. Immutable.
 *
 * @param maxQueuedRequests most requests that wait, &gt;= 1
 * @param maxQueuedTokens most tokens of all requests that wait, &gt;= 1; an empty queue takes a request of any length
 * @param whenFull what happens to a request that does not fit
 * @param ageingInterval how long a request waits to gain one level of priority, &gt; 0
 */
public record QueueOptions(int maxQueuedRequests, long maxQueuedTokens, WhenFull whenFull, Duration ageingInterval) {

    /** What happens to a request that finds the queue full. */
    public enum WhenFull {
        /** {@code submit} throws {@link java.util.concurrent.RejectedExecutionException}, which names the limit. */
        REJECT,
        /**
         * {@code submit} waits for room, but not beyond the request's deadline: it then returns a generation that has
         * completed with {@link io.github.loomtorch.request.FinishReason#DEADLINE}. If the thread is interrupted,
         * {@code submit} throws {@link java.util.concurrent.CancellationException}, the request is not taken, and the
         * interrupt flag stays set.
         */
        BLOCK
    }

    /**
     * Validates.
     *
     * @throws IllegalArgumentException naming the first option that is out of its range
     */
    public QueueOptions {
        Objects.requireNonNull(whenFull, "whenFull");
        Objects.requireNonNull(ageingInterval, "ageingInterval");
        if (maxQueuedRequests < 1) {
            throw new IllegalArgumentException("maxQueuedRequests must be >= 1, got " + maxQueuedRequests);
        }
        if (maxQueuedTokens < 1) {
            throw new IllegalArgumentException("maxQueuedTokens must be >= 1, got " + maxQueuedTokens);
        }
        if (!ageingInterval.isPositive()) {
            throw new IllegalArgumentException("ageingInterval must be > 0, got " + ageingInterval);
        }
    }

    /**
     * The default options.
     *
     * @return at most 1024 requests of any length, more are rejected; 10 s ageing
     */
    public static QueueOptions defaults() {
        return builder().build();
    }

    /**
     * A queue without limits.
     *
     * @return the defaults with any number of requests
     */
    public static QueueOptions unbounded() {
        return builder().maxQueuedRequests(Integer.MAX_VALUE).build();
    }

    /**
     * A builder that starts from {@link #defaults()}.
     *
     * @return a new builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Collects options; {@link #build()} checks the ranges. Not thread-safe. */
    public static final class Builder {
        private int maxQueuedRequests = 1024;
        private long maxQueuedTokens = Long.MAX_VALUE;
        private WhenFull whenFull = WhenFull.REJECT;
        private Duration ageingInterval = Duration.ofSeconds(10);

        private Builder() {}

        /**
         * Sets {@link QueueOptions#maxQueuedRequests()}.
         *
         * @param maxQueuedRequests &gt;= 1
         * @return this
         */
        public Builder maxQueuedRequests(int maxQueuedRequests) {
            this.maxQueuedRequests = maxQueuedRequests;
            return this;
        }

        /**
         * Sets {@link QueueOptions#maxQueuedTokens()}.
         *
         * @param maxQueuedTokens &gt;= 1
         * @return this
         */
        public Builder maxQueuedTokens(long maxQueuedTokens) {
            this.maxQueuedTokens = maxQueuedTokens;
            return this;
        }

        /**
         * Sets {@link QueueOptions#whenFull()}.
         *
         * @param whenFull what happens to a request that does not fit
         * @return this
         */
        public Builder whenFull(WhenFull whenFull) {
            this.whenFull = whenFull;
            return this;
        }

        /**
         * Sets {@link QueueOptions#ageingInterval()}.
         *
         * @param ageingInterval &gt; 0
         * @return this
         */
        public Builder ageingInterval(Duration ageingInterval) {
            this.ageingInterval = ageingInterval;
            return this;
        }

        /**
         * The options.
         *
         * @return a new instance
         * @throws IllegalArgumentException naming the first option that is out of its range
         */
        public QueueOptions build() {
            return new QueueOptions(maxQueuedRequests, maxQueuedTokens, whenFull, ageingInterval);
        }
    }
}
