package io.github.loomtorch.request;

import java.io.Serializable;

/**
 * Which tokens of a prompt get a {@link PositionScore}, and what it holds: vLLM's {@code prompt_logprobs}. All tokens
 * from the first one to the end of the prompt are scored. Immutable, serializable.
 *
 * @param firstToken position of the first token that is scored, &gt;= 1: the token at position 0 has no token before it
 *     that the model could predict it from
 * @param top how many of the most probable tokens to report at each position, in [0, 20]
 * @param statistics whether to report rank, entropy and variance, see {@link PositionScore.Statistics}
 * @param wordStarts whether to report the probability that a word begins at each position, see
 *     {@link PositionScore#wordStartLogprob()}
 */
public record PromptScoring(int firstToken, int top, boolean statistics, boolean wordStarts) implements Serializable {

    /**
     * Validates.
     *
     * @throws IllegalArgumentException if {@code firstToken} or {@code top} is out of its range
     */
    public PromptScoring {
        if (firstToken < 1) {
            throw new IllegalArgumentException("firstToken must be >= 1, got " + firstToken);
        }
        if (top < 0 || top > SamplingParams.MAX_TOP_LOGPROBS) {
            throw new IllegalArgumentException(
                    "top must be in [0, " + SamplingParams.MAX_TOP_LOGPROBS + "], got " + top);
        }
    }

    /**
     * The log-probabilities alone.
     *
     * @param firstToken position of the first token that is scored, &gt;= 1
     * @return without alternatives, statistics and word starts
     * @throws IllegalArgumentException if it is out of its range
     */
    public static PromptScoring from(int firstToken) {
        return new PromptScoring(firstToken, 0, false, false);
    }
}
