package io.github.loomtorch.sampling;

import io.github.loomtorch.request.SamplingParams;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/** What is added to a row of logits before the penalties: the request's bias, and negative infinity to ban an id. */
public final class LogitBias {
    private LogitBias() {}

    /**
     * Ids that must not be chosen at one place of the output, because they would end it too early or complete a bad
     * word.
     *
     * @param params of the request
     * @param endingIds ids that end the request's output
     * @param tokens prompt, then output
     * @param promptLength how many of the tokens are the prompt's
     * @param length how many tokens there are before the one to be chosen. Only their number counts unless
     *     {@link #dependsOnTokens}
     * @return ids, in no order
     */
    public static int[] bannedIds(SamplingParams params, int[] endingIds, int[] tokens, int promptLength, int length) {
        int outputLength = length - promptLength;
        IntStream ending = outputLength < params.minNewTokens() ? Arrays.stream(endingIds) : IntStream.empty();
        if (params.badWordIds().isEmpty()) {
            return ending.toArray();
        }
        IntStream words = params.badWordIds().stream()
                .filter(word -> endsWithAllButLast(tokens, length, outputLength, word))
                .mapToInt(List::getLast);
        return IntStream.concat(ending, words).toArray();
    }

    private static boolean endsWithAllButLast(int[] tokens, int length, int outputLength, List<Integer> word) {
        int before = word.size() - 1;
        if (before > outputLength) {
            return false;
        }
        for (int i = 0; i < before; i++) {
            if (tokens[length - before + i] != word.get(i)) {
                return false;
            }
        }
        return true;
    }

    /**
     * Whether {@link #bannedIds} depends on the tokens themselves, beside their number.
     *
     * @param params of the request
     * @return true if a bad word has several ids
     */
    public static boolean dependsOnTokens(SamplingParams params) {
        return params.badWordIds().stream().anyMatch(word -> word.size() > 1);
    }

    /**
     * Whether {@link #add} changes anything.
     *
     * @param params of the request
     * @param bannedIds ids that must not be chosen here
     * @return false if there is neither a bias nor a ban
     */
    public static boolean applies(SamplingParams params, int... bannedIds) {
        return !params.logitBias().isEmpty() || !params.allowedTokenIds().isEmpty() || bannedIds.length > 0;
    }

    /**
     * Adds the bias, and makes the logits of banned ids negative infinity.
     *
     * @param row [V] float32, changed
     * @param params whose {@code logitBias} and {@code allowedTokenIds} apply
     * @param bannedIds ids that must not be chosen here
     */
    public static void add(float[] row, SamplingParams params, int... bannedIds) {
        params.logitBias().forEach((id, bias) -> row[id] += bias);
        if (!params.allowedTokenIds().isEmpty()) {
            int[] allowed = params.allowedTokenIds().stream()
                    .mapToInt(Integer::intValue)
                    .toArray();
            float[] kept = new float[allowed.length];
            for (int i = 0; i < allowed.length; i++) {
                kept[i] = row[allowed[i]];
            }
            Arrays.fill(row, Float.NEGATIVE_INFINITY);
            for (int i = 0; i < allowed.length; i++) {
                row[allowed[i]] = kept[i];
            }
        }
        for (int id : bannedIds) {
            row[id] = Float.NEGATIVE_INFINITY;
        }
    }
}
