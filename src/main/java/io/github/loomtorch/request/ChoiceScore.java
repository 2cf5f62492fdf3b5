package io.github.loomtorch.request;

import java.util.OptionalDouble;

/**
 * How probable a model finds one of several continuations of a prompt, in the ways in which choices are compared. The
 * largest is the best in each. Immutable.
 *
 * @param choice the continuation
 * @param score of its tokens after the prompt
 * @param unconditionalSum log-probability of its tokens after the end-of-text token instead of the prompt; empty if the
 *     tokenizer has none
 */
public record ChoiceScore(String choice, TextScore score, OptionalDouble unconditionalSum) {

    /**
     * The log-probability of the choice, which favours short ones.
     *
     * @return &lt;= 0
     */
    public double sum() {
        return score.sum();
    }

    /**
     * The mean log-probability of the choice's tokens.
     *
     * @return sum / tokens
     */
    public double perToken() {
        return score.mean();
    }

    /**
     * The log-probability for each byte, which does not depend on how the choice is cut into tokens.
     *
     * @return sum / bytes
     */
    public double perByte() {
        return score.sum() / score.bytes();
    }

    /**
     * How much more probable the prompt makes the choice, which does not favour choices that are frequent anyway.
     *
     * @return sum - unconditionalSum; empty if that is
     */
    public OptionalDouble normalised() {
        return unconditionalSum.isPresent()
                ? OptionalDouble.of(sum() - unconditionalSum.getAsDouble())
                : OptionalDouble.empty();
    }
}
