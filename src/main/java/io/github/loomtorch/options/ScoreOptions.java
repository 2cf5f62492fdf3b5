package io.github.loomtorch.options;

import io.github.loomtorch.serial.SerialForm;
import java.io.Serializable;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * How a text is scored, and what is reported. Immutable, serializable.
 *
 * @param top how many of the most probable tokens to report at each position, in [0, 20]
 * @param statistics whether to report rank, entropy and variance of each token
 * @param words whether to report the log-probability of each word
 * @param endOfTextInFront whether the end-of-text token is put before the text, so that the first token is scored too.
 *     Otherwise it has no score, because the model predicts it from nothing
 * @param stride of the window over a text that is longer than the model's context, in [1, context]: the window is as
 *     long as the context and moves on by so many tokens. A smaller stride gives each token more context and takes
 *     longer; with a stride of the context's length no window overlaps, and the first token of each has no score. Half
 *     of the context if empty
 * @param priority higher runs first; 0 is the usual one
 * @param timeout from submit to the end, &gt; 0, after which the score is reported as far as it is known; empty for no
 *     deadline
 */
public record ScoreOptions(
        int top,
        boolean statistics,
        boolean words,
        boolean endOfTextInFront,
        OptionalInt stride,
        int priority,
        Optional<Duration> timeout)
        implements Serializable {

    /**
     * Validates; a scorer checks the other ranges, which depend on the model.
     *
     * @throws IllegalArgumentException if the stride is less than 1
     */
    public ScoreOptions {
        if (stride.orElse(1) < 1) {
            throw new IllegalArgumentException("stride must be >= 1, got " + stride.getAsInt());
        }
    }

    /**
     * The log-probabilities alone.
     *
     * @return neither alternatives, statistics nor words; no end-of-text in front; priority 0, no deadline
     */
    public static ScoreOptions defaults() {
        return builder().build();
    }

    /** {@return its components, which are written in its place} */
    private Object writeReplace() {
        return new SerialForm(this);
    }

    /**
     * A builder that starts from {@link #defaults()}.
     *
     * @return a new builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Collects options; {@link #build()} checks the ranges. Not thread-safe. */
    public static final class Builder {
        private int top;
        private boolean statistics;
        private boolean words;
        private boolean endOfTextInFront;
        private OptionalInt stride = OptionalInt.empty();
        private int priority;
        private Optional<Duration> timeout = Optional.empty();

        private Builder() {}

        /**
         * Sets {@link ScoreOptions#top()}.
         *
         * @param top in [0, 20]
         * @return this
         */
        public Builder top(int top) {
            this.top = top;
            return this;
        }

        /**
         * Sets {@link ScoreOptions#statistics()}.
         *
         * @param statistics whether to report rank, entropy and variance
         * @return this
         */
        public Builder statistics(boolean statistics) {
            this.statistics = statistics;
            return this;
        }

        /**
         * Sets {@link ScoreOptions#words()}.
         *
         * @param words whether to report words
         * @return this
         */
        public Builder words(boolean words) {
            this.words = words;
            return this;
        }

        /**
         * Sets {@link ScoreOptions#endOfTextInFront()}.
         *
         * @param endOfTextInFront whether the first token is scored too
         * @return this
         */
        public Builder endOfTextInFront(boolean endOfTextInFront) {
            this.endOfTextInFront = endOfTextInFront;
            return this;
        }

        /**
         * Sets {@link ScoreOptions#stride()}.
         *
         * @param stride in [1, context]
         * @return this
         */
        public Builder stride(int stride) {
            this.stride = OptionalInt.of(stride);
            return this;
        }

        /**
         * Sets {@link ScoreOptions#priority()}.
         *
         * @param priority higher runs first
         * @return this
         */
        public Builder priority(int priority) {
            this.priority = priority;
            return this;
        }

        /**
         * Sets {@link ScoreOptions#timeout()}.
         *
         * @param timeout &gt; 0
         * @return this
         */
        public Builder timeout(Duration timeout) {
            this.timeout = Optional.of(timeout);
            return this;
        }

        /**
         * The options.
         *
         * @return a new instance
         * @throws IllegalArgumentException if the stride is less than 1
         */
        public ScoreOptions build() {
            return new ScoreOptions(top, statistics, words, endOfTextInFront, stride, priority, timeout);
        }
    }
}
