package io.github.loomtorch.request;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class SamplingParamsTest {
    private static final float NAN = Float.NaN;
    private static final float INFINITY = Float.POSITIVE_INFINITY;

    static Stream<Arguments> outOfRange() {
        return Stream.of(
                arguments("maxNewTokens must be >= 1, got 0", builder().maxNewTokens(0)),
                arguments(
                        "temperature must be >= 0 and finite, got -0.5",
                        builder().temperature(-0.5f)),
                arguments(
                        "temperature must be >= 0 and finite, got NaN",
                        builder().temperature(NAN)),
                arguments(
                        "temperature must be >= 0 and finite, got Infinity",
                        builder().temperature(INFINITY)),
                arguments("topK must be >= 0, got -1", builder().topK(-1)),
                arguments("topP must be in (0, 1], got 0.0", builder().topP(0)),
                arguments("topP must be in (0, 1], got 1.5", builder().topP(1.5f)),
                arguments("topP must be in (0, 1], got NaN", builder().topP(NAN)),
                arguments("minP must be in [0, 1], got -0.1", builder().minP(-0.1f)),
                arguments("minP must be in [0, 1], got 1.5", builder().minP(1.5f)),
                arguments("minP must be in [0, 1], got NaN", builder().minP(NAN)),
                arguments(
                        "repetitionPenalty must be > 0 and finite, got 0.0",
                        builder().repetitionPenalty(0)),
                arguments(
                        "repetitionPenalty must be > 0 and finite, got NaN",
                        builder().repetitionPenalty(NAN)),
                arguments(
                        "repetitionPenalty must be > 0 and finite, got Infinity",
                        builder().repetitionPenalty(INFINITY)),
                arguments("presencePenalty must be finite, got NaN", builder().presencePenalty(NAN)),
                arguments(
                        "frequencyPenalty must be finite, got -Infinity",
                        builder().frequencyPenalty(-INFINITY)),
                arguments("topLogprobs must be in [0, 20], got -1", builder().topLogprobs(-1)),
                arguments("topLogprobs must be in [0, 20], got 21", builder().topLogprobs(21)),
                arguments("stopTokenIds must be >= 0, got -7", builder().stopTokenIds(Set.of(-7))),
                arguments("stopStrings must not be empty, got \"\"", builder().stopStrings(List.of("a", ""))),
                arguments("logitBias ids must be >= 0, got -3", builder().logitBias(Map.of(-3, 1f))),
                arguments(
                        "logitBias values must be finite or negative infinity, got NaN",
                        builder().logitBias(Map.of(3, NAN))),
                arguments(
                        "logitBias values must be finite or negative infinity, got Infinity",
                        builder().logitBias(Map.of(3, INFINITY))),
                arguments(
                        "minNewTokens must be in [0, maxNewTokens (50)], got 51",
                        builder().minNewTokens(51)),
                arguments(
                        "minNewTokens must be in [0, maxNewTokens (50)], got -1",
                        builder().minNewTokens(-1)),
                arguments("allowedTokenIds must be >= 0, got -1", builder().allowedTokenIds(Set.of(-1))),
                arguments("badWordIds must not be empty, got []", builder().badWordIds(List.of(List.of()))),
                arguments("badWordIds must be >= 0, got -1", builder().badWordIds(List.of(List.of(1, -1)))));
    }

    @ParameterizedTest
    @MethodSource("outOfRange")
    void refusesValuesOutOfRange(String message, SamplingParams.Builder builder) {
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, builder::build).getMessage());
    }

    static Stream<SamplingParams.Builder> atTheEdge() {
        return Stream.of(
                builder().maxNewTokens(1),
                builder().temperature(0),
                builder().temperature(Float.MIN_VALUE),
                builder().topK(0),
                builder().topP(Float.MIN_VALUE),
                builder().topP(1),
                builder().minP(0),
                builder().minP(1),
                builder().repetitionPenalty(Float.MIN_VALUE),
                builder().presencePenalty(-2),
                builder().frequencyPenalty(-2),
                builder().topLogprobs(0),
                builder().topLogprobs(20),
                builder().stopTokenIds(Set.of(0)),
                builder().logitBias(Map.of(0, Float.NEGATIVE_INFINITY)));
    }

    @ParameterizedTest
    @MethodSource("atTheEdge")
    void acceptsTheEndsOfTheRanges(SamplingParams.Builder builder) {
        assertDoesNotThrow(builder::build);
    }

    @Test
    void defaultsDrawFromTheModelsOwnDistribution() {
        assertEquals(
                new SamplingParams(
                        50,
                        1,
                        0,
                        1,
                        0,
                        OptionalLong.empty(),
                        Set.of(),
                        List.of(),
                        1,
                        0,
                        0,
                        Map.of(),
                        OptionalInt.empty(),
                        false,
                        Optional.empty(),
                        Optional.empty(),
                        0,
                        Set.of(),
                        List.of(),
                        false),
                builder().build());
    }

    @Test
    void presetsDifferFromTheDefaultsAsTheySay() {
        assertEquals(builder().maxNewTokens(8).temperature(0).build(), SamplingParams.greedy(8));
        assertEquals(builder().temperature(0.7f).topK(50).topP(0.95f).build(), SamplingParams.creative());
        assertEquals(
                "maxNewTokens must be >= 1, got 0",
                assertThrows(IllegalArgumentException.class, () -> SamplingParams.greedy(0))
                        .getMessage());
    }

    @Test
    void builderSetsEveryParameterAndStartsFromThemAgain() {
        SamplingParams params = builder()
                .maxNewTokens(2)
                .temperature(0.5f)
                .topK(3)
                .topP(0.25f)
                .minP(0.125f)
                .seed(4)
                .stopTokenIds(Set.of(5))
                .stopStrings(List.of("six"))
                .repetitionPenalty(7)
                .presencePenalty(8)
                .frequencyPenalty(9)
                .logitBias(Map.of(10, 11f))
                .topLogprobs(12)
                .ignoreEos(true)
                .promptScoring(new PromptScoring(13, 14, true, false))
                .speculation(15, 16)
                .minNewTokens(1)
                .allowedTokenIds(Set.of(17))
                .badWordIds(List.of(List.of(18, 19)))
                .includeStop(true)
                .build();
        assertEquals(
                new SamplingParams(
                        2,
                        0.5f,
                        3,
                        0.25f,
                        0.125f,
                        OptionalLong.of(4),
                        Set.of(5),
                        List.of("six"),
                        7,
                        8,
                        9,
                        Map.of(10, 11f),
                        OptionalInt.of(12),
                        true,
                        Optional.of(new PromptScoring(13, 14, true, false)),
                        Optional.of(new Speculation(15, 16)),
                        1,
                        Set.of(17),
                        List.of(List.of(18, 19)),
                        true),
                params);
        assertEquals(params, params.toBuilder().build());
    }

    @Test
    void copiesItsCollections() {
        Set<Integer> ids = new HashSet<>(Set.of(1));
        List<String> texts = new ArrayList<>(List.of("a"));
        Map<Integer, Float> bias = new HashMap<>(Map.of(1, 1f));
        SamplingParams params =
                builder().stopTokenIds(ids).stopStrings(texts).logitBias(bias).build();
        ids.add(2);
        texts.add("b");
        bias.put(2, 2f);
        assertEquals(Set.of(1), params.stopTokenIds());
        assertEquals(List.of("a"), params.stopStrings());
        assertEquals(Map.of(1, 1f), params.logitBias());
    }

    @Test
    void checksIdsAgainstTheVocabulary() {
        SamplingParams params =
                builder().stopTokenIds(Set.of(7)).logitBias(Map.of(9, 1f)).build();
        assertDoesNotThrow(() -> params.checkTokenIds(10));
        assertEquals(
                "logitBias ids must be in [0, 9), got 9",
                assertThrows(IllegalArgumentException.class, () -> params.checkTokenIds(9))
                        .getMessage());
        assertEquals(
                "stopTokenIds must be in [0, 7), got 7",
                assertThrows(IllegalArgumentException.class, () -> params.checkTokenIds(7))
                        .getMessage());
    }

    @Test
    void checksTheIdsOfMasksAgainstTheVocabulary() {
        SamplingParams params = builder()
                .allowedTokenIds(Set.of(5))
                .badWordIds(List.of(List.of(1), List.of(2, 7)))
                .build();
        assertDoesNotThrow(() -> params.checkTokenIds(8));
        assertEquals(
                "badWordIds must be in [0, 7), got 7",
                assertThrows(IllegalArgumentException.class, () -> params.checkTokenIds(7))
                        .getMessage());
        assertEquals(
                "allowedTokenIds must be in [0, 5), got 5",
                assertThrows(IllegalArgumentException.class, () -> params.checkTokenIds(5))
                        .getMessage());
    }

    private static SamplingParams.Builder builder() {
        return SamplingParams.builder();
    }
}
