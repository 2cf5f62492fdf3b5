package io.github.loomtorch.engine;

import io.github.loomtorch.request.SamplingParams;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * The ids that a request must not draw at one place of its output, because they would end it too early or complete a
 * bad word.
 */
final class TokenBans {
    private TokenBans() {}

    /**
     * The banned ids, in no order.
     *
     * @param endingIds ids that end the request's output
     * @param tokens prompt, then output
     * @param promptLength how many of the tokens are the prompt's
     * @param length how many tokens there are before the one to be drawn. Only their number counts unless
     *     {@link #dependOnTokens}
     */
    static int[] at(SamplingParams sampling, int[] endingIds, int[] tokens, int promptLength, int length) {
        int outputLength = length - promptLength;
        IntStream ending = outputLength < sampling.minNewTokens() ? Arrays.stream(endingIds) : IntStream.empty();
        if (sampling.badWordIds().isEmpty()) {
            return ending.toArray();
        }
        IntStream words = sampling.badWordIds().stream()
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

    /** Whether the bans depend on the tokens themselves, beside their number: a bad word has several ids. */
    static boolean dependOnTokens(SamplingParams sampling) {
        return sampling.badWordIds().stream().anyMatch(word -> word.size() > 1);
    }
}
