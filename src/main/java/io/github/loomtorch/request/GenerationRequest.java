package io.github.loomtorch.request;

import java.time.Duration;
import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;

/**
 * One prompt and how to continue it. Immutable: arrays are copied on the way in and out, and compared by content.
 *
 * @param promptTokenIds at least one id
 * @param sampling how to continue the prompt
 * @param priority higher runs first; 0 is the usual one
 * @param timeout from submit to the end, &gt; 0, after which the generation completes with
 *     {@link FinishReason#DEADLINE}; empty for no deadline
 */
public record GenerationRequest(
        int[] promptTokenIds, SamplingParams sampling, int priority, Optional<Duration> timeout) {

    /**
     * Validates and copies.
     *
     * @throws IllegalArgumentException if the prompt is empty or ends before the first token that is to be scored, an
     *     id is negative, or the timeout is not positive
     */
    public GenerationRequest {
        Objects.requireNonNull(promptTokenIds, "promptTokenIds");
        Objects.requireNonNull(sampling, "sampling");
        if (promptTokenIds.length == 0) {
            throw new IllegalArgumentException("promptTokenIds must hold at least one token, got none");
        }
        for (int i = 0; i < promptTokenIds.length; i++) {
            if (promptTokenIds[i] < 0) {
                throw new IllegalArgumentException("promptTokenIds[" + i + "] must be >= 0, got " + promptTokenIds[i]);
            }
        }
        int tokens = promptTokenIds.length;
        sampling.promptScoring().ifPresent(scoring -> checkScoring(scoring, tokens));
        if (timeout.isPresent() && !timeout.get().isPositive()) {
            throw new IllegalArgumentException("timeout must be > 0, got " + timeout.get());
        }
        promptTokenIds = promptTokenIds.clone();
    }

    private static void checkScoring(PromptScoring scoring, int tokens) {
        if (scoring.firstToken() >= tokens) {
            throw new IllegalArgumentException("promptTokenIds must hold more than firstToken (" + scoring.firstToken()
                    + ") tokens to be scored, got " + tokens);
        }
    }

    /**
     * A request of priority 0 without a deadline.
     *
     * @param promptTokenIds at least one id
     * @param sampling how to continue the prompt
     * @throws IllegalArgumentException if the prompt is empty or ends before the first token that is to be scored, or
     *     an id is negative
     */
    public GenerationRequest(int[] promptTokenIds, SamplingParams sampling) {
        this(promptTokenIds, sampling, 0, Optional.empty());
    }

    /**
     * The prompt.
     *
     * @return a copy
     */
    @Override
    public int[] promptTokenIds() {
        return promptTokenIds.clone();
    }

    /**
     * The same request with other sampling parameters.
     *
     * @param sampling how to continue the prompt
     * @return a new request
     * @throws IllegalArgumentException if the prompt ends before the first token that is to be scored
     */
    public GenerationRequest withSampling(SamplingParams sampling) {
        return new GenerationRequest(promptTokenIds, sampling, priority, timeout);
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
        return new GenerationRequest(promptTokenIds, sampling, priority, Optional.of(timeout));
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof GenerationRequest that
                && Arrays.equals(promptTokenIds, that.promptTokenIds)
                && sampling.equals(that.sampling)
                && priority == that.priority
                && timeout.equals(that.timeout);
    }

    @Override
    public int hashCode() {
        return 31 * Objects.hash(sampling, priority, timeout) + Arrays.hashCode(promptTokenIds);
    }

    @Override
    public String toString() {
        return "GenerationRequest[promptTokenIds=" + Arrays.toString(promptTokenIds) + ", sampling=" + sampling
                + ", priority=" + priority + ", timeout=" + timeout + "]";
    }
}
