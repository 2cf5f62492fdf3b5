package io.github.loomtorch.options;

import java.time.Duration;
import java.util.Objects;

/** Which scheduler forms the batches. Immutable. */
public sealed interface SchedulerOptions {

    /**
     * Static batching on the caller's thread: a batch runs when it is full or flushed.
     *
     * @param batchSize requests in a batch, in [1, maxBatchSize of the model]
     */
    record Naive(int batchSize) implements SchedulerOptions {
        /**
         * Validates.
         *
         * @throws IllegalArgumentException if the batch size is less than 1
         */
        public Naive {
            requireBatchSize(batchSize);
        }
    }

    /**
     * Static batching on a thread of its own: a batch runs when it is full, or when its first request has waited for
     * the timeout.
     *
     * @param batchSize requests in a batch, in [1, maxBatchSize of the model]
     * @param timeout longest that a request waits for its batch to fill, &gt;= 0
     */
    record AsyncNaive(int batchSize, Duration timeout) implements SchedulerOptions {
        /**
         * Validates.
         *
         * @throws IllegalArgumentException if the batch size is less than 1 or the timeout is negative
         */
        public AsyncNaive {
            requireBatchSize(batchSize);
            if (timeout.isNegative()) {
                throw new IllegalArgumentException("timeout must be >= 0, got " + timeout);
            }
        }
    }

    /**
     * Continuous batching on a thread of its own: a request joins the running batch as soon as there is room.
     *
     * @param queue limits and order of the requests that wait, for each device
     */
    record Continuous(QueueOptions queue) implements SchedulerOptions {
        /** Validates. */
        public Continuous {
            Objects.requireNonNull(queue, "queue");
        }
    }

    private static void requireBatchSize(int batchSize) {
        if (batchSize < 1) {
            throw new IllegalArgumentException("batchSize must be >= 1, got " + batchSize);
        }
    }

    /**
     * Static batching on the caller's thread.
     *
     * @param batchSize requests in a batch, in [1, maxBatchSize of the model]
     * @return the options
     * @throws IllegalArgumentException if the batch size is less than 1
     */
    static SchedulerOptions naive(int batchSize) {
        return new Naive(batchSize);
    }

    /**
     * Static batching on a thread of its own.
     *
     * @param batchSize requests in a batch, in [1, maxBatchSize of the model]
     * @param timeout longest that a request waits for its batch to fill, &gt;= 0
     * @return the options
     * @throws IllegalArgumentException if the batch size is less than 1 or the timeout is negative
     */
    static SchedulerOptions asyncNaive(int batchSize, Duration timeout) {
        return new AsyncNaive(batchSize, timeout);
    }

    /**
     * Continuous batching on a thread of its own: the default.
     *
     * @param queue limits and order of the requests that wait, for each device
     * @return the options
     */
    static SchedulerOptions continuous(QueueOptions queue) {
        return new Continuous(queue);
    }
}
