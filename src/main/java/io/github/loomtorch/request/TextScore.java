package io.github.loomtorch.request;

import java.util.List;

/**
 * How probable a model finds a text, or a continuation of a prompt. Logarithms are natural unless a name says
 * otherwise. Immutable.
 *
 * @param tokens of the text; of a continuation alone without its prompt
 * @param words whose tokens are all scored; empty unless {@link io.github.loomtorch.options.ScoreOptions#words()}
 * @param bytes of the whole text in UTF-8
 * @param finishReason {@link FinishReason#LENGTH} if the text is scored; otherwise tokens at the end have no score
 */
public record TextScore(List<ScoredToken> tokens, List<WordScore> words, long bytes, FinishReason finishReason) {
    private static final double LN_2 = StrictMath.log(2);

    /** Copies the lists. */
    public TextScore {
        tokens = List.copyOf(tokens);
        words = List.copyOf(words);
    }

    /**
     * How many tokens have a score.
     *
     * @return &gt;= 0
     */
    public int scoredTokens() {
        return (int) tokens.stream().filter(token -> token.score().isPresent()).count();
    }

    /**
     * The log-probability of the scored tokens together.
     *
     * @return their sum, &lt;= 0
     */
    public double sum() {
        return tokens.stream()
                .flatMap(token -> token.score().stream())
                .mapToDouble(score -> score.logprobs().logprob())
                .sum();
    }

    /**
     * The mean log-probability of the scored tokens.
     *
     * @return sum / scoredTokens; NaN if no token is scored
     */
    public double mean() {
        return sum() / scoredTokens();
    }

    /**
     * The perplexity of the scored tokens.
     *
     * @return exp(-sum / scoredTokens), &gt;= 1; NaN if no token is scored
     */
    public double perplexity() {
        return Math.exp(-mean());
    }

    /**
     * The bits that the scored tokens take in an ideal code, for each byte of the whole text.
     *
     * @return -sum / (bytes ln 2), &gt;= 0
     */
    public double bitsPerByte() {
        return -sum() / (bytes * LN_2);
    }

    /**
     * Whether greedy decoding would have produced these tokens: none of the scored ones has an id with a larger logit.
     *
     * @return true if all ranks are 1
     * @throws IllegalStateException if the scores have no statistics
     */
    public boolean isGreedy() {
        return tokens.stream()
                .flatMap(token -> token.score().stream())
                .allMatch(score -> score.statistics()
                                .orElseThrow(() ->
                                        new IllegalStateException("statistics must be reported to know the ranks"))
                                .rank()
                        == 1);
    }
}
