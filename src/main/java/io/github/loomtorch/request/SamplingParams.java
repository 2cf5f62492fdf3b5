package io.github.loomtorch.request;

import io.github.loomtorch.serial.SerialForm;
import java.io.Serializable;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;

/**
 * How one request's tokens are chosen from the model's logits. Immutable, serializable.
 *
 * <p>They apply in this order: logit bias and bans, repetition penalty, frequency and presence penalty, temperature,
 * top-k, top-p, min-p, draw (see {@code io.github.loomtorch.sampling}).
 *
 * @param maxNewTokens &gt;= 1, or 0 if the prompt is scored; prompt and new tokens together must fit the model's
 *     context
 * @param temperature &gt;= 0; 0 is greedy: the highest logit wins, the lowest id among equals
 * @param topK &gt;= 0; keeps every token whose logit is not below the k-th largest; 0 keeps all
 * @param topP in (0, 1]; keeps, in descending order, each token whose preceding cumulative probability is below it; 1
 *     keeps all
 * @param minP in [0, 1]; keeps tokens at least this fraction as probable as the most probable; 0 keeps all
 * @param seed of the request's random numbers; if absent one is drawn and reported in the {@link Completion}
 * @param stopTokenIds ids that end the generation; the end-of-text id does so too unless {@code ignoreEos}
 * @param stopStrings non-empty texts that end the generation, matched across token borders, not part of the returned
 *     text unless {@code includeStop}
 * @param repetitionPenalty &gt; 0; logits of tokens in the prompt or output are divided by it if positive, multiplied
 *     if negative (CTRL, arXiv:1909.05858); 1 is off
 * @param presencePenalty finite; subtracted once from the logit of each token in the output; 0 is off
 * @param frequencyPenalty finite; subtracted once for each occurrence of the token in the output; 0 is off
 * @param logitBias added to the logits of these ids; finite, or negative infinity to ban a token
 * @param topLogprobs how many of the most probable tokens to report for each output token, in [0, 20]; 0 reports the
 *     sampled token's own logprob only, empty (the default) none
 * @param ignoreEos whether end-of-text tokens do not end the generation; their text is then part of the output's text
 *     unless they are special tokens, as of the others
 * @param promptScoring which tokens of the prompt are scored too; none if empty
 * @param speculation how candidates for the next tokens are found, to verify several in one step; none if empty
 * @param minNewTokens in [0, maxNewTokens]; before so many output tokens, no stop token and no end-of-text token is
 *     drawn, and no stop string is looked for
 * @param allowedTokenIds the only ids that may be drawn; all if empty
 * @param badWordIds token sequences that the output must not hold: the last id of each is banned where the output ends
 *     with those before it
 * @param includeStop whether the text keeps the stop string or the stop token that ended it
 */
public record SamplingParams(
        int maxNewTokens,
        float temperature,
        int topK,
        float topP,
        float minP,
        OptionalLong seed,
        Set<Integer> stopTokenIds,
        List<String> stopStrings,
        float repetitionPenalty,
        float presencePenalty,
        float frequencyPenalty,
        Map<Integer, Float> logitBias,
        OptionalInt topLogprobs,
        boolean ignoreEos,
        Optional<PromptScoring> promptScoring,
        Optional<Speculation> speculation,
        int minNewTokens,
        Set<Integer> allowedTokenIds,
        List<List<Integer>> badWordIds,
        boolean includeStop)
        implements Serializable {

    /** The largest {@code topLogprobs}. */
    public static final int MAX_TOP_LOGPROBS = 20;

    /**
     * Validates and copies.
     *
     * @throws IllegalArgumentException naming the first parameter that is out of its range
     */
    public SamplingParams {
        SamplingChecks.lengths(promptScoring.isPresent() ? 0 : 1, minNewTokens, maxNewTokens);
        SamplingChecks.distribution(temperature, topK, topP, minP);
        SamplingChecks.penalties(repetitionPenalty, presencePenalty, frequencyPenalty);
        SamplingChecks.topLogprobs(topLogprobs);
        SamplingChecks.stops(stopTokenIds, stopStrings);
        SamplingChecks.bias(logitBias);
        SamplingChecks.masks(allowedTokenIds, badWordIds);
        stopTokenIds = Set.copyOf(stopTokenIds);
        stopStrings = List.copyOf(stopStrings);
        logitBias = Map.copyOf(logitBias);
        allowedTokenIds = Set.copyOf(allowedTokenIds);
        badWordIds = badWordIds.stream().map(List::copyOf).toList();
    }

    /**
     * Checks the ids that only a model can judge.
     *
     * @param vocabSize V
     * @throws IllegalArgumentException if an id of {@code stopTokenIds}, {@code logitBias}, {@code allowedTokenIds} or
     *     {@code badWordIds} is not below it
     */
    public void checkTokenIds(int vocabSize) {
        SamplingChecks.below(vocabSize, stopTokenIds, "stopTokenIds");
        SamplingChecks.below(vocabSize, logitBias.keySet(), "logitBias ids");
        SamplingChecks.below(vocabSize, allowedTokenIds, "allowedTokenIds");
        badWordIds.forEach(word -> SamplingChecks.below(vocabSize, word, "badWordIds"));
    }

    /**
     * The most probable token each time.
     *
     * @param maxNewTokens &gt;= 1
     * @return greedy parameters
     * @throws IllegalArgumentException if {@code maxNewTokens} is out of range
     */
    public static SamplingParams greedy(int maxNewTokens) {
        return builder().maxNewTokens(maxNewTokens).temperature(0).build();
    }

    /**
     * The usual setting: 50 new tokens, temperature 0.7, top-k 50, top-p 0.95, all else off. Every command starts from
     * it; {@code creative().toBuilder()} does the same here.
     *
     * @return the preset
     */
    public static SamplingParams creative() {
        return builder().temperature(0.7f).topK(50).topP(0.95f).build();
    }

    /** {@return its components, which are written in its place} */
    private Object writeReplace() {
        return new SerialForm(this);
    }

    /**
     * A builder that starts with everything off: 50 new tokens, drawn from the model's own distribution (temperature 1,
     * all tokens).
     *
     * @return a new builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * A builder that starts from these parameters.
     *
     * @return a new builder
     */
    public Builder toBuilder() {
        Builder b = new Builder();
        b.maxNewTokens = maxNewTokens;
        b.temperature = temperature;
        b.topK = topK;
        b.topP = topP;
        b.minP = minP;
        b.seed = seed;
        b.stopTokenIds = stopTokenIds;
        b.stopStrings = stopStrings;
        b.repetitionPenalty = repetitionPenalty;
        b.presencePenalty = presencePenalty;
        b.frequencyPenalty = frequencyPenalty;
        b.logitBias = logitBias;
        b.topLogprobs = topLogprobs;
        b.ignoreEos = ignoreEos;
        b.promptScoring = promptScoring;
        b.speculation = speculation;
        b.minNewTokens = minNewTokens;
        b.allowedTokenIds = allowedTokenIds;
        b.badWordIds = badWordIds;
        b.includeStop = includeStop;
        return b;
    }

    /** Collects parameters; the ranges are checked by {@link #build()}. Not thread-safe. */
    public static final class Builder {
        private int maxNewTokens = 50;
        private float temperature = 1;
        private int topK = 0;
        private float topP = 1;
        private float minP = 0;
        private OptionalLong seed = OptionalLong.empty();
        private Set<Integer> stopTokenIds = Set.of();
        private List<String> stopStrings = List.of();
        private float repetitionPenalty = 1;
        private float presencePenalty = 0;
        private float frequencyPenalty = 0;
        private Map<Integer, Float> logitBias = Map.of();
        private OptionalInt topLogprobs = OptionalInt.empty();
        private boolean ignoreEos = false;
        private Optional<PromptScoring> promptScoring = Optional.empty();
        private Optional<Speculation> speculation = Optional.empty();
        private int minNewTokens = 0;
        private Set<Integer> allowedTokenIds = Set.of();
        private List<List<Integer>> badWordIds = List.of();
        private boolean includeStop = false;

        private Builder() {}

        /**
         * Sets {@link SamplingParams#maxNewTokens()}.
         *
         * @param maxNewTokens &gt;= 1, or 0 if the prompt is scored
         * @return this
         */
        public Builder maxNewTokens(int maxNewTokens) {
            this.maxNewTokens = maxNewTokens;
            return this;
        }

        /**
         * Sets {@link SamplingParams#temperature()}.
         *
         * @param temperature &gt;= 0, 0 is greedy
         * @return this
         */
        public Builder temperature(float temperature) {
            this.temperature = temperature;
            return this;
        }

        /**
         * Sets {@link SamplingParams#topK()}.
         *
         * @param topK &gt;= 0, 0 keeps all
         * @return this
         */
        public Builder topK(int topK) {
            this.topK = topK;
            return this;
        }

        /**
         * Sets {@link SamplingParams#topP()}.
         *
         * @param topP in (0, 1], 1 keeps all
         * @return this
         */
        public Builder topP(float topP) {
            this.topP = topP;
            return this;
        }

        /**
         * Sets {@link SamplingParams#minP()}.
         *
         * @param minP in [0, 1], 0 keeps all
         * @return this
         */
        public Builder minP(float minP) {
            this.minP = minP;
            return this;
        }

        /**
         * Sets {@link SamplingParams#seed()}.
         *
         * @param seed of the random numbers
         * @return this
         */
        public Builder seed(long seed) {
            this.seed = OptionalLong.of(seed);
            return this;
        }

        /**
         * Sets {@link SamplingParams#stopTokenIds()}.
         *
         * @param stopTokenIds ids that end the generation
         * @return this
         */
        public Builder stopTokenIds(Set<Integer> stopTokenIds) {
            this.stopTokenIds = stopTokenIds;
            return this;
        }

        /**
         * Sets {@link SamplingParams#stopStrings()}.
         *
         * @param stopStrings texts that end the generation
         * @return this
         */
        public Builder stopStrings(List<String> stopStrings) {
            this.stopStrings = stopStrings;
            return this;
        }

        /**
         * Sets {@link SamplingParams#repetitionPenalty()}.
         *
         * @param repetitionPenalty &gt; 0, 1 is off
         * @return this
         */
        public Builder repetitionPenalty(float repetitionPenalty) {
            this.repetitionPenalty = repetitionPenalty;
            return this;
        }

        /**
         * Sets {@link SamplingParams#presencePenalty()}.
         *
         * @param presencePenalty 0 is off
         * @return this
         */
        public Builder presencePenalty(float presencePenalty) {
            this.presencePenalty = presencePenalty;
            return this;
        }

        /**
         * Sets {@link SamplingParams#frequencyPenalty()}.
         *
         * @param frequencyPenalty 0 is off
         * @return this
         */
        public Builder frequencyPenalty(float frequencyPenalty) {
            this.frequencyPenalty = frequencyPenalty;
            return this;
        }

        /**
         * Sets {@link SamplingParams#logitBias()}.
         *
         * @param logitBias added to the logits of these ids
         * @return this
         */
        public Builder logitBias(Map<Integer, Float> logitBias) {
            this.logitBias = logitBias;
            return this;
        }

        /**
         * Sets {@link SamplingParams#topLogprobs()}.
         *
         * @param topLogprobs in [0, 20]
         * @return this
         */
        public Builder topLogprobs(int topLogprobs) {
            this.topLogprobs = OptionalInt.of(topLogprobs);
            return this;
        }

        /**
         * Sets {@link SamplingParams#ignoreEos()}.
         *
         * @param ignoreEos whether end-of-text does not end the generation
         * @return this
         */
        public Builder ignoreEos(boolean ignoreEos) {
            this.ignoreEos = ignoreEos;
            return this;
        }

        /**
         * Sets {@link SamplingParams#promptScoring()}.
         *
         * @param promptScoring which tokens of the prompt are scored
         * @return this
         */
        public Builder promptScoring(PromptScoring promptScoring) {
            this.promptScoring = Optional.of(promptScoring);
            return this;
        }

        /**
         * Sets {@link SamplingParams#speculation()}.
         *
         * @param ngram see {@link Speculation#ngram()}, in [1, 16]
         * @param candidates see {@link Speculation#candidates()}, in [1, 32]
         * @return this
         * @throws IllegalArgumentException if a number is out of its range
         */
        public Builder speculation(int ngram, int candidates) {
            this.speculation = Optional.of(new Speculation(ngram, candidates));
            return this;
        }

        /**
         * Sets {@link SamplingParams#minNewTokens()}.
         *
         * @param minNewTokens in [0, maxNewTokens]
         * @return this
         */
        public Builder minNewTokens(int minNewTokens) {
            this.minNewTokens = minNewTokens;
            return this;
        }

        /**
         * Sets {@link SamplingParams#allowedTokenIds()}.
         *
         * @param allowedTokenIds the only ids that may be drawn, all if empty
         * @return this
         */
        public Builder allowedTokenIds(Set<Integer> allowedTokenIds) {
            this.allowedTokenIds = allowedTokenIds;
            return this;
        }

        /**
         * Sets {@link SamplingParams#badWordIds()}.
         *
         * @param badWordIds token sequences that the output must not hold
         * @return this
         */
        public Builder badWordIds(List<List<Integer>> badWordIds) {
            this.badWordIds = badWordIds;
            return this;
        }

        /**
         * Sets {@link SamplingParams#includeStop()}.
         *
         * @param includeStop whether the text keeps what ended it
         * @return this
         */
        public Builder includeStop(boolean includeStop) {
            this.includeStop = includeStop;
            return this;
        }

        /**
         * The parameters.
         *
         * @return a new instance
         * @throws IllegalArgumentException naming the first parameter that is out of its range
         */
        public SamplingParams build() {
            return new SamplingParams(
                    maxNewTokens,
                    temperature,
                    topK,
                    topP,
                    minP,
                    seed,
                    stopTokenIds,
                    stopStrings,
                    repetitionPenalty,
                    presencePenalty,
                    frequencyPenalty,
                    logitBias,
                    topLogprobs,
                    ignoreEos,
                    promptScoring,
                    speculation,
                    minNewTokens,
                    allowedTokenIds,
                    badWordIds,
                    includeStop);
        }
    }
}
