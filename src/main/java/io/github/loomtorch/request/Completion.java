package io.github.loomtorch.request;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * The result of one request. Immutable: arrays are copied on the way in and out, and compared by content.
 *
 * @param promptTokenIds the prompt of the request
 * @param outputTokenIds the new tokens only. If a stop token or end-of-text token ended the generation, it is the last
 *     of them; with a stop string, the last token is the one that completed it
 * @param text the output tokens' text, without special tokens, and without the stop string or stop token that ended it
 *     unless {@link SamplingParams#includeStop()}; empty if the scheduler has no tokenizer
 * @param finishReason why the generation ended
 * @param seed of the random numbers; a request with this seed and the same prompt, parameters and model yields the same
 *     tokens
 * @param logprobs one per output token, empty if {@link SamplingParams#topLogprobs()} is
 * @param promptScores one per scored token of the prompt, from {@link PromptScoring#firstToken()} on; fewer if the
 *     generation was cancelled or its deadline passed, empty if {@link SamplingParams#promptScoring()} is
 * @param cachedPromptTokens tokens of the prompt that were taken from the prefix cache when it first ran
 * @param timings when it was submitted, started and finished
 * @param batchNumber the batch that ran it, counted by its scheduler from 1; 0 if the scheduler has no batches
 */
public record Completion(
        int[] promptTokenIds,
        int[] outputTokenIds,
        String text,
        FinishReason finishReason,
        long seed,
        List<TokenLogprobs> logprobs,
        List<PositionScore> promptScores,
        int cachedPromptTokens,
        RequestTimings timings,
        int batchNumber) {

    /** Copies the arrays and the lists. */
    public Completion {
        promptTokenIds = promptTokenIds.clone();
        outputTokenIds = outputTokenIds.clone();
        logprobs = List.copyOf(logprobs);
        promptScores = List.copyOf(promptScores);
    }

    /**
     * The prompt of the request.
     *
     * @return a copy
     */
    @Override
    public int[] promptTokenIds() {
        return promptTokenIds.clone();
    }

    /**
     * The new tokens.
     *
     * @return a copy
     */
    @Override
    public int[] outputTokenIds() {
        return outputTokenIds.clone();
    }

    /**
     * The same completion with another batch number.
     *
     * @param batchNumber the batch that ran it, from 1; 0 for none
     * @return a completion
     */
    public Completion withBatchNumber(int batchNumber) {
        return new Completion(
                promptTokenIds,
                outputTokenIds,
                text,
                finishReason,
                seed,
                logprobs,
                promptScores,
                cachedPromptTokens,
                timings,
                batchNumber);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Completion that
                && Arrays.equals(promptTokenIds, that.promptTokenIds)
                && Arrays.equals(outputTokenIds, that.outputTokenIds)
                && text.equals(that.text)
                && finishReason == that.finishReason
                && seed == that.seed
                && logprobs.equals(that.logprobs)
                && promptScores.equals(that.promptScores)
                && cachedPromptTokens == that.cachedPromptTokens
                && timings.equals(that.timings)
                && batchNumber == that.batchNumber;
    }

    @Override
    public int hashCode() {
        return Objects.hash(
                Arrays.hashCode(promptTokenIds),
                Arrays.hashCode(outputTokenIds),
                text,
                finishReason,
                seed,
                logprobs,
                promptScores,
                cachedPromptTokens,
                timings,
                batchNumber);
    }

    @Override
    public String toString() {
        return "Completion[promptTokenIds=" + Arrays.toString(promptTokenIds) + ", outputTokenIds="
                + Arrays.toString(outputTokenIds) + ", text=" + text + ", finishReason=" + finishReason + ", seed="
                + seed + ", logprobs=" + logprobs + ", promptScores=" + promptScores + ", cachedPromptTokens="
                + cachedPromptTokens + ", timings=" + timings
                + ", batchNumber=" + batchNumber + "]";
    }
}
