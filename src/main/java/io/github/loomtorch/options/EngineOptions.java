package io.github.loomtorch.options;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.LongSupplier;

/**
 * How an {@link Engine} runs. Immutable.
 *
 * @param maxPrefillTokensPerStep &gt;= 1; prompt tokens computed in one step, of all sequences together. Longer prompts
 *     are spread over several steps
 * @param maxPrefillTokensBesideDecode &gt;= 1; the same for steps in which a sequence is decoding, so that a long
 *     prompt does not stall those that are past theirs
 * @param prefixCaching whether sequences that begin with the same tokens share pages of the KV cache; those of a
 *     {@linkplain CausalLm#deterministic() deterministic} model never do
 * @param ageingInterval &gt; 0; how long a sequence waits to gain one level of priority, see {@link Sequence#compareTo}
 * @param clock of all times and waiting
 * @param seeds draws the seed of a request that has none; thread-safe
 * @param listener told of each step
 */
public record EngineOptions(
        int maxPrefillTokensPerStep,
        int maxPrefillTokensBesideDecode,
        boolean prefixCaching,
        Duration ageingInterval,
        Clock clock,
        LongSupplier seeds,
        EngineListener listener) {

    /**
     * Validates.
     *
     * @throws IllegalArgumentException naming the first option that is out of its range
     */
    public EngineOptions {
        if (maxPrefillTokensPerStep < 1) {
            throw new IllegalArgumentException("maxPrefillTokensPerStep must be >= 1, got " + maxPrefillTokensPerStep);
        }
        if (maxPrefillTokensBesideDecode < 1) {
            throw new IllegalArgumentException(
                    "maxPrefillTokensBesideDecode must be >= 1, got " + maxPrefillTokensBesideDecode);
        }
        if (!ageingInterval.isPositive()) {
            throw new IllegalArgumentException("ageingInterval must be > 0, got " + ageingInterval);
        }
    }

    /**
     * What fits most uses.
     *
     * @return 2048 prefill tokens a step, 256 beside decodes, prefix caching, 10 s ageing, the system's clock, random
     *     seeds
     */
    public static EngineOptions defaults() {
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

    /** Collects options; the ranges are checked by {@link #build()}. Not thread-safe. */
    public static final class Builder {
        private int maxPrefillTokensPerStep = 2048;
        private int maxPrefillTokensBesideDecode = 256;
        private boolean prefixCaching = true;
        private Duration ageingInterval = Duration.ofSeconds(10);
        private Clock clock = Clock.system();
        private LongSupplier seeds = () -> ThreadLocalRandom.current().nextLong();
        private EngineListener listener = stats -> {};

        private Builder() {}

        /**
         * Sets {@link EngineOptions#maxPrefillTokensPerStep()}.
         *
         * @param maxPrefillTokensPerStep &gt;= 1
         * @return this
         */
        public Builder maxPrefillTokensPerStep(int maxPrefillTokensPerStep) {
            this.maxPrefillTokensPerStep = maxPrefillTokensPerStep;
            return this;
        }

        /**
         * Sets {@link EngineOptions#maxPrefillTokensBesideDecode()}.
         *
         * @param maxPrefillTokensBesideDecode &gt;= 1
         * @return this
         */
        public Builder maxPrefillTokensBesideDecode(int maxPrefillTokensBesideDecode) {
            this.maxPrefillTokensBesideDecode = maxPrefillTokensBesideDecode;
            return this;
        }

        /**
         * Sets {@link EngineOptions#prefixCaching()}.
         *
         * @param prefixCaching whether equal beginnings share pages
         * @return this
         */
        public Builder prefixCaching(boolean prefixCaching) {
            this.prefixCaching = prefixCaching;
            return this;
        }

        /**
         * Sets {@link EngineOptions#ageingInterval()}.
         *
         * @param ageingInterval &gt; 0
         * @return this
         */
        public Builder ageingInterval(Duration ageingInterval) {
            this.ageingInterval = ageingInterval;
            return this;
        }

        /**
         * Sets {@link EngineOptions#clock()}.
         *
         * @param clock of all times and waiting
         * @return this
         */
        public Builder clock(Clock clock) {
            this.clock = clock;
            return this;
        }

        /**
         * Sets {@link EngineOptions#seeds()}.
         *
         * @param seeds thread-safe
         * @return this
         */
        public Builder seeds(LongSupplier seeds) {
            this.seeds = seeds;
            return this;
        }

        /**
         * Sets {@link EngineOptions#listener()}.
         *
         * @param listener told of each step
         * @return this
         */
        public Builder listener(EngineListener listener) {
            this.listener = listener;
            return this;
        }

        /**
         * The options.
         *
         * @return a new instance
         * @throws IllegalArgumentException naming the first option that is out of its range
         */
        public EngineOptions build() {
            return new EngineOptions(
                    maxPrefillTokensPerStep,
                    maxPrefillTokensBesideDecode,
                    prefixCaching,
                    ageingInterval,
                    clock,
                    seeds,
                    listener);
        }
    }
}
