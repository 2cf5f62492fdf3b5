package io.github.loomtorch.options;

/**
 * What one request may ask for at most, so that it cannot stall the others. Requests beyond are refused with an
 * {@link IllegalArgumentException} that names the limit. Immutable.
 *
 * @param maxStopStrings stop strings of a request, &gt;= 0
 * @param maxStopStringBytes UTF-8 bytes of a stop string, &gt;= 1
 * @param maxLogitBiases token ids with a bias, and token ids of all bad words together, &gt;= 0
 * @param maxCopies continuations of one prompt that are submitted at once, &gt;= 1
 * @param maxPromptCharactersPerToken characters (UTF-16 units) of a prompt text, for each token of the model's context,
 *     &gt;= 1: a longer text is refused before it is tokenized. GPT-2's longest token has 128 characters
 */
public record RequestLimits(
        int maxStopStrings,
        int maxStopStringBytes,
        int maxLogitBiases,
        int maxCopies,
        int maxPromptCharactersPerToken) {

    /**
     * Validates.
     *
     * @throws IllegalArgumentException naming the first limit that is out of its range
     */
    public RequestLimits {
        requireAtLeast(0, maxStopStrings, "maxStopStrings");
        requireAtLeast(1, maxStopStringBytes, "maxStopStringBytes");
        requireAtLeast(0, maxLogitBiases, "maxLogitBiases");
        requireAtLeast(1, maxCopies, "maxCopies");
        requireAtLeast(1, maxPromptCharactersPerToken, "maxPromptCharactersPerToken");
    }

    private static void requireAtLeast(int least, int value, String name) {
        if (value < least) {
            throw new IllegalArgumentException(name + " must be >= " + least + ", got " + value);
        }
    }

    /**
     * The default limits.
     *
     * @return 64 stop strings of 1024 bytes, 1024 logit biases, 128 copies, 128 characters per token of context
     */
    public static RequestLimits defaults() {
        return builder().build();
    }

    /**
     * A builder that starts from {@link #defaults()}.
     *
     * @return a new builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Collects limits; {@link #build()} checks the ranges. Not thread-safe. */
    public static final class Builder {
        private int maxStopStrings = 64;
        private int maxStopStringBytes = 1024;
        private int maxLogitBiases = 1024;
        private int maxCopies = 128;
        private int maxPromptCharactersPerToken = 128;

        private Builder() {}

        /**
         * Sets {@link RequestLimits#maxStopStrings()}.
         *
         * @param maxStopStrings &gt;= 0
         * @return this
         */
        public Builder maxStopStrings(int maxStopStrings) {
            this.maxStopStrings = maxStopStrings;
            return this;
        }

        /**
         * Sets {@link RequestLimits#maxStopStringBytes()}.
         *
         * @param maxStopStringBytes &gt;= 1
         * @return this
         */
        public Builder maxStopStringBytes(int maxStopStringBytes) {
            this.maxStopStringBytes = maxStopStringBytes;
            return this;
        }

        /**
         * Sets {@link RequestLimits#maxLogitBiases()}.
         *
         * @param maxLogitBiases &gt;= 0
         * @return this
         */
        public Builder maxLogitBiases(int maxLogitBiases) {
            this.maxLogitBiases = maxLogitBiases;
            return this;
        }

        /**
         * Sets {@link RequestLimits#maxCopies()}.
         *
         * @param maxCopies &gt;= 1
         * @return this
         */
        public Builder maxCopies(int maxCopies) {
            this.maxCopies = maxCopies;
            return this;
        }

        /**
         * Sets {@link RequestLimits#maxPromptCharactersPerToken()}.
         *
         * @param maxPromptCharactersPerToken &gt;= 1
         * @return this
         */
        public Builder maxPromptCharactersPerToken(int maxPromptCharactersPerToken) {
            this.maxPromptCharactersPerToken = maxPromptCharactersPerToken;
            return this;
        }

        /**
         * The limits.
         *
         * @return a new instance
         * @throws IllegalArgumentException naming the first limit that is out of its range
         */
        public RequestLimits build() {
            return new RequestLimits(
                    maxStopStrings, maxStopStringBytes, maxLogitBiases, maxCopies, maxPromptCharactersPerToken);
        }
    }
}
