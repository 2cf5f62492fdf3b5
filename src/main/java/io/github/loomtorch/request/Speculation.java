package io.github.loomtorch.request;

import java.io.Serializable;

/**
 * Speculative decoding by prompt look-up: where the last tokens of a text stand earlier in it, the tokens that followed
 * there are candidates for what follows now. One step verifies them all. A candidate is accepted only if it is the
 * token that the request draws anyway, so the text is the same as without speculation, but for near ties of logits that
 * the shape of a step rounds otherwise. Immutable, serializable.
 *
 * @param ngram how many of the last tokens must stand earlier in the text, in [1, 16]
 * @param candidates most tokens to verify in a step beside the one that is certain, in [1, 32]
 */
public record Speculation(int ngram, int candidates) implements Serializable {

    /**
     * Validates.
     *
     * @throws IllegalArgumentException if a number is out of its range
     */
    public Speculation {
        if (ngram < 1 || ngram > 16) {
            throw new IllegalArgumentException("ngram must be in [1, 16], got " + ngram);
        }
        if (candidates < 1 || candidates > 32) {
            throw new IllegalArgumentException("candidates must be in [1, 32], got " + candidates);
        }
    }
}
