package io.github.loomtorch.options;

import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.LongSupplier;

/**
 * How an engine forms its steps. Immutable.
 *
 * @param maxPrefillTokensPerStep prompt tokens computed in one step, of all sequences together, &gt;= 1. Longer prompts
 *     are spread over several steps
 * @param maxPrefillTokensBesideDecode the same for steps in which a sequence decodes, &gt;= 1, so that a long prompt
 *     does not stall sequences that are past theirs
 * @param prefixCaching whether sequences with a common prefix share pages of the KV cache; sequences of a deterministic
 *     model never do
 * @param stepTimeout how long a step may take, &gt; 0. A step that takes longer is given up with its engine, see
 *     {@link io.github.loomtorch.request.StepTimeoutException}; the first steps may take ten times as long
 * @param limits what one request may ask for
 * @param seeds draws the seed of a request that has none; thread-safe
 * @param listener called after each step, away from the engine's thread
 * @param daemonThreads whether the process may end while the engine is open, as for a generator that lives as long as
 *     the process. Otherwise the process ends when all are closed
 */
public record EngineOptions(
        int maxPrefillTokensPerStep,
        int maxPrefillTokensBesideDecode,
        boolean prefixCaching,
        Duration stepTimeout,
        RequestLimits limits,
        LongSupplier seeds,
        EngineListener listener,
        boolean daemonThreads) {

    /**
     * Validates.
     *
     * @throws IllegalArgumentException naming the first option that is out of its range
     */
    public EngineOptions {
        Objects.requireNonNull(stepTimeout, "stepTimeout");
        Objects.requireNonNull(limits, "limits");
        Objects.requireNonNull(seeds, "seeds");
        Objects.requireNonNull(listener, "listener");
        if (maxPrefillTokensPerStep < 1) {
            throw new IllegalArgumentException("maxPrefillTokensPerStep must be >= 1, got " + maxPrefillTokensPerStep);
        }
        if (maxPrefillTokensBesideDecode < 1) {
            throw new IllegalArgumentException(
                    "maxPrefillTokensBesideDecode must be >= 1, got " + maxPrefillTokensBesideDecode);
        }
        if (!stepTimeout.isPositive()) {
            throw new IllegalArgumentException("stepTimeout must be > 0, got " + stepTimeout);
        }
    }

    /**
     * The default options.
     *
     * @return 2048 prefill tokens a step, 256 beside decodes, prefix caching, 60 s for a step, default limits, random
     *     seeds, no listener, threads that keep the process alive
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

    /** Collects options; {@link #build()} checks the ranges. Not thread-safe. */
    public static final class Builder {
        private int maxPrefillTokensPerStep = 2048;
        private int maxPrefillTokensBesideDecode = 256;
        private boolean prefixCaching = true;
        private Duration stepTimeout = Duration.ofSeconds(60);
        private RequestLimits limits = RequestLimits.defaults();
        private LongSupplier seeds = () -> ThreadLocalRandom.current().nextLong();
        private EngineListener listener = EngineListener.NONE;
        private boolean daemonThreads;

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
         * @param prefixCaching whether sequences with a common prefix share pages
         * @return this
         */
        public Builder prefixCaching(boolean prefixCaching) {
            this.prefixCaching = prefixCaching;
            return this;
        }

        /**
         * Sets {@link EngineOptions#stepTimeout()}.
         *
         * @param stepTimeout how long a step may take, &gt; 0. A step that takes longer is given up with its engine,
         *     see {@link io.github.loomtorch.request.StepTimeoutException}; the first steps may take ten times as long
         * @return this
         */
        public Builder stepTimeout(Duration stepTimeout) {
            this.stepTimeout = stepTimeout;
            return this;
        }

        /**
         * Sets {@link EngineOptions#limits()}.
         *
         * @param limits what one request may ask for
         * @return this
         */
        public Builder limits(RequestLimits limits) {
            this.limits = limits;
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
         * @param listener called after each step, away from the engine's thread
         * @return this
         */
        public Builder listener(EngineListener listener) {
            this.listener = listener;
            return this;
        }

        /**
         * Sets {@link EngineOptions#daemonThreads()}.
         *
         * @param daemonThreads whether the process may end while the engine is open
         * @return this
         */
        public Builder daemonThreads(boolean daemonThreads) {
            this.daemonThreads = daemonThreads;
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
                    stepTimeout,
                    limits,
                    seeds,
                    listener,
                    daemonThreads);
        }
    }
}
