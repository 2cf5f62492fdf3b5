package io.github.loomtorch.request;

import java.time.Duration;

/**
 * One prompt and what is wanted of it. Immutable.
 *
 * @param promptTokenIds at least one id
 * @param sampling how to continue it
 * @param priority higher runs first; 0 is the usual one
 * @param timeout from submit to the end, after which it finishes with {@link FinishReason#DEADLINE}; &gt; 0,
 *     {@link #NO_TIMEOUT} for none
 */
public record GenerationRequest(int[] promptTokenIds, SamplingParams sampling, int priority, Duration timeout) {

    /** No deadline: longer than any process lives. */
    public static final Duration NO_TIMEOUT = Duration.ofNanos(Long.MAX_VALUE);

    /**
     * Validates and copies.
     *
     * @throws IllegalArgumentException if the prompt is empty, an id is negative or the timeout is not positive
     */
    public GenerationRequest {
        if (promptTokenIds.length == 0) {
            throw new IllegalArgumentException("promptTokenIds must hold at least one token, got none");
        }
        for (int i = 0; i < promptTokenIds.length; i++) {
            if (promptTokenIds[i] < 0) {
                throw new IllegalArgumentException("promptTokenIds[" + i + "] must be >= 0, got " + promptTokenIds[i]);
            }
        }
        if (!timeout.isPositive()) {
            throw new IllegalArgumentException("timeout must be > 0, got " + timeout);
        }
        if (timeout.compareTo(NO_TIMEOUT) > 0) {
            timeout = NO_TIMEOUT;
        }
        promptTokenIds = promptTokenIds.clone();
    }

    /**
     * A request of usual priority without a deadline.
     *
     * @param promptTokenIds at least one id
     * @param sampling how to continue it
     * @throws IllegalArgumentException if the prompt is empty or an id is negative
     */
    public GenerationRequest(int[] promptTokenIds, SamplingParams sampling) {
        this(promptTokenIds, sampling, 0, NO_TIMEOUT);
    }

    /**
     * The same request with another priority.
     *
     * @param priority higher runs first
     * @return a new request
     */
    public GenerationRequest withPriority(int priority) {
        return new GenerationRequest(promptTokenIds, sampling, priority, timeout);
    }

    /**
     * The same request with a deadline.
     *
     * @param timeout from submit to the end, &gt; 0
     * @return a new request
     * @throws IllegalArgumentException if the timeout is not positive
     */
    public GenerationRequest withTimeout(Duration timeout) {
        return new GenerationRequest(promptTokenIds, sampling, priority, timeout);
    }
}
