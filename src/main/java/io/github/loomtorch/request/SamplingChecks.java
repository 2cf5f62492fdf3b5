package io.github.loomtorch.request;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/** Rules of {@link SamplingParams}. */
final class SamplingChecks {
    private SamplingChecks() {}

    static void require(boolean holds, String rule, Object got) {
        if (!holds) {
            throw new IllegalArgumentException(rule + ", got " + got);
        }
    }

    static void lengths(int least, int minNewTokens, int maxNewTokens) {
        require(maxNewTokens >= least, "maxNewTokens must be >= " + least, maxNewTokens);
        require(
                minNewTokens >= 0 && minNewTokens <= maxNewTokens,
                "minNewTokens must be in [0, maxNewTokens (" + maxNewTokens + ")]",
                minNewTokens);
    }

    static void distribution(float temperature, int topK, float topP, float minP) {
        require(temperature >= 0 && Float.isFinite(temperature), "temperature must be >= 0 and finite", temperature);
        require(topK >= 0, "topK must be >= 0", topK);
        require(topP > 0 && topP <= 1, "topP must be in (0, 1]", topP);
        require(minP >= 0 && minP <= 1, "minP must be in [0, 1]", minP);
    }

    static void topLogprobs(OptionalInt top) {
        int max = SamplingParams.MAX_TOP_LOGPROBS;
        require(top.orElse(0) >= 0 && top.orElse(0) <= max, "topLogprobs must be in [0, " + max + "]", top.orElse(0));
    }

    static void penalties(float repetition, float presence, float frequency) {
        require(repetition > 0 && Float.isFinite(repetition), "repetitionPenalty must be > 0 and finite", repetition);
        require(Float.isFinite(presence), "presencePenalty must be finite", presence);
        require(Float.isFinite(frequency), "frequencyPenalty must be finite", frequency);
    }

    static void stops(Collection<Integer> tokenIds, Collection<String> strings) {
        atLeastZero(tokenIds, "stopTokenIds");
        for (String string : strings) {
            require(!string.isEmpty(), "stopStrings must not be empty", "\"\"");
        }
    }

    static void bias(Map<Integer, Float> biases) {
        atLeastZero(biases.keySet(), "logitBias ids");
        for (float bias : biases.values()) {
            require(
                    Float.isFinite(bias) || bias == Float.NEGATIVE_INFINITY,
                    "logitBias values must be finite or negative infinity",
                    bias);
        }
    }

    static void masks(Collection<Integer> allowedTokenIds, Collection<List<Integer>> badWordIds) {
        atLeastZero(allowedTokenIds, "allowedTokenIds");
        for (List<Integer> word : badWordIds) {
            require(!word.isEmpty(), "badWordIds must not be empty", "[]");
            atLeastZero(word, "badWordIds");
        }
    }

    private static void atLeastZero(Collection<Integer> ids, String name) {
        for (int id : ids) {
            require(id >= 0, name + " must be >= 0", id);
        }
    }

    /** Checks that a vocabulary of that size has these ids. */
    static void below(int vocabSize, Collection<Integer> ids, String name) {
        for (int id : ids) {
            require(id < vocabSize, name + " must be in [0, " + vocabSize + ")", id);
        }
    }
}
