package io.github.loomtorch.engine;

import io.github.loomtorch.options.RequestLimits;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** Whether a model can serve a request, within the limits. */
final class RequestChecks {
    private RequestChecks() {}

    /**
     * Checks a request.
     *
     * @throws IllegalArgumentException if the model cannot serve it, or a limit is exceeded
     */
    static void check(
            GenerationRequest request, int vocabSize, int contextLength, boolean hasTokenizer, RequestLimits limits) {
        SamplingParams sampling = request.sampling();
        int[] prompt = request.promptTokenIds();
        for (int i = 0; i < prompt.length; i++) {
            if (prompt[i] >= vocabSize) {
                throw new IllegalArgumentException(
                        "promptTokenIds[" + i + "] must be in [0, " + vocabSize + "), got " + prompt[i]);
            }
        }
        sampling.checkTokenIds(vocabSize);
        checkLimits(sampling, limits);
        checkLength(prompt.length, sampling.maxNewTokens(), contextLength);
        if (!hasTokenizer
                && sampling.promptScoring().filter(PromptScoring::wordStarts).isPresent()) {
            throw new IllegalArgumentException("wordStarts must be false where there is no tokenizer, got true");
        }
        if (!hasTokenizer && !sampling.stopStrings().isEmpty()) {
            throw new IllegalArgumentException(
                    "stopStrings must be empty where there is no tokenizer, got " + sampling.stopStrings());
        }
    }

    /** A prompt that is scored without being continued may have one token more: its last is only scored. */
    private static void checkLength(int promptLength, int maxNewTokens, int contextLength) {
        long total = (long) promptLength + maxNewTokens;
        if (maxNewTokens > 0 && total > contextLength) {
            throw new IllegalArgumentException("promptTokenIds (" + promptLength + ") + maxNewTokens (" + maxNewTokens
                    + ") must be <= contextLength (" + contextLength + "), got " + total);
        }
        if (maxNewTokens == 0 && total > contextLength + 1L) {
            throw new IllegalArgumentException("promptTokenIds must hold at most contextLength + 1 ("
                    + (contextLength + 1L) + ") tokens to be scored, got " + total);
        }
    }

    private static void checkLimits(SamplingParams sampling, RequestLimits limits) {
        int stopStrings = sampling.stopStrings().size();
        if (stopStrings > limits.maxStopStrings()) {
            throw new IllegalArgumentException(
                    "stopStrings must hold at most " + limits.maxStopStrings() + " texts, got " + stopStrings);
        }
        for (String stopString : sampling.stopStrings()) {
            int bytes = stopString.getBytes(StandardCharsets.UTF_8).length;
            if (bytes > limits.maxStopStringBytes()) {
                throw new IllegalArgumentException(
                        "stopStrings must have at most " + limits.maxStopStringBytes() + " bytes each, got " + bytes);
            }
        }
        int biases = sampling.logitBias().size();
        if (biases > limits.maxLogitBiases()) {
            throw new IllegalArgumentException(
                    "logitBias must hold at most " + limits.maxLogitBiases() + " token ids, got " + biases);
        }
        int badIds = sampling.badWordIds().stream().mapToInt(List::size).sum();
        if (badIds > limits.maxLogitBiases()) {
            throw new IllegalArgumentException(
                    "badWordIds must hold at most " + limits.maxLogitBiases() + " token ids, got " + badIds);
        }
    }
}
