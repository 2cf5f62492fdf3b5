package io.github.loomtorch.request;

import java.util.List;

/**
 * The result of one request. Immutable; its arrays are shared, do not modify them.
 *
 * @param promptTokenIds the prompt, as it was given
 * @param outputTokenIds the new tokens only. A stop token or end-of-text token that ended the generation is the last of
 *     them; with a stop string, all tokens up to the one that completed it
 * @param text the output tokens' text, without the stop string and without special tokens; empty where the scheduler
 *     has no tokenizer
 * @param finishReason why it ended
 * @param seed of the random numbers; given in a new request with the same prompt, parameters and model, it yields the
 *     same tokens
 * @param logprobs one per output token, empty if {@link SamplingParams#topLogprobs()} is negative
 * @param timings when it was submitted, started and finished
 * @param batchNumber of the batch that ran it, counted by its scheduler from 1; 0 where there are no batches
 */
public record Completion(
        int[] promptTokenIds,
        int[] outputTokenIds,
        String text,
        FinishReason finishReason,
        long seed,
        List<TokenLogprobs> logprobs,
        RequestTimings timings,
        int batchNumber) {

    /** Copies the list. */
    public Completion {
        logprobs = List.copyOf(logprobs);
    }

    /**
     * The same completion with another batch number.
     *
     * @param batchNumber of the batch that ran it, from 1; 0 for none
     * @return a completion
     */
    public Completion withBatchNumber(int batchNumber) {
        return new Completion(promptTokenIds, outputTokenIds, text, finishReason, seed, logprobs, timings, batchNumber);
    }
}
