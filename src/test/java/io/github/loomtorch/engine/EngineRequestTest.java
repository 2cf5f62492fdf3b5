package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.prompt;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.RequestLimits;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Which requests, models and options an engine refuses. */
class EngineRequestTest extends EngineFixture {
    private void assertRefused(String message, int[] prompt, SamplingParams sampling) {
        GenerationRequest request = new GenerationRequest(prompt, sampling);
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, () -> sequence(request))
                        .getMessage());
    }

    @Test
    void refusesWhatTheModelCannotServe() {
        SamplingParams greedy = SamplingParams.greedy(1);
        assertRefused("promptTokenIds[1] must be in [0, 100), got 100", new int[] {99, 100}, greedy);
        assertRefused(
                "promptTokenIds (60) + maxNewTokens (5) must be <= contextLength (64), got 65",
                prompt(60),
                SamplingParams.greedy(5));
        assertRefused(
                "promptTokenIds (1) + maxNewTokens (2147483647) must be <= contextLength (64), got 2147483648",
                prompt(1),
                SamplingParams.greedy(Integer.MAX_VALUE));
        assertRefused(
                "stopTokenIds must be in [0, 100), got 100",
                prompt(1),
                SamplingParams.builder().stopTokenIds(Set.of(100)).build());
        assertRefused(
                "logitBias ids must be in [0, 100), got 1000",
                prompt(1),
                SamplingParams.builder().logitBias(Map.of(1000, 1f)).build());
    }

    @Test
    void refusesWhatIsBeyondTheLimits() {
        config.limits(RequestLimits.builder()
                .maxStopStrings(2)
                .maxStopStringBytes(4)
                .maxLogitBiases(1)
                .build());
        engine = engine();
        SamplingParams.Builder sampling = SamplingParams.builder().maxNewTokens(1);
        sequence(new GenerationRequest(
                prompt(1),
                sampling.stopStrings(List.of("abcd", "é"))
                        .logitBias(Map.of(1, 1f))
                        .build()));
        assertRefused(
                "stopStrings must hold at most 2 texts, got 3",
                prompt(1),
                sampling.stopStrings(List.of("a", "b", "c")).build());
        assertRefused(
                "stopStrings must have at most 4 bytes each, got 5",
                prompt(1),
                sampling.stopStrings(List.of("é你")).build());
        assertRefused(
                "logitBias must hold at most 1 token ids, got 2",
                prompt(1),
                sampling.stopStrings(List.of()).logitBias(Map.of(1, 1f, 2, 1f)).build());
        assertRefused(
                "badWordIds must hold at most 1 token ids, got 3",
                prompt(1),
                sampling.logitBias(Map.of())
                        .badWordIds(List.of(List.of(1), List.of(2, 3)))
                        .build());
    }

    @Test
    void defaultLimitsAreDocumented() {
        assertEquals(new RequestLimits(64, 1024, 1024, 128, 128), RequestLimits.defaults());
        assertEquals(
                "maxCopies must be >= 1, got 0",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> RequestLimits.builder().maxCopies(0).build())
                        .getMessage());
    }

    @Test
    void aRequestThatWaitsCostsNoMemoryForItsOutput() {
        FakeCausalLm large = new FakeCausalLm(1, 16, 65_536, 1 << 20);
        use(large);
        List<Run> waiting = new ArrayList<>();
        for (int i = 0; i < 10_000; i++) { // 80 GB if each had room for its output
            waiting.add(sequence(request(3, (1 << 20) - 3)));
        }
        assertEquals(1 << 20, waiting.getLast().sequence.maxLength());
    }

    @Test
    void refusesNullOptions() {
        assertEquals(
                "listener",
                assertThrows(
                                NullPointerException.class,
                                () -> EngineOptions.builder().listener(null).build())
                        .getMessage());
        assertEquals(
                "seeds",
                assertThrows(
                                NullPointerException.class,
                                () -> EngineOptions.builder().seeds(null).build())
                        .getMessage());
        assertEquals(
                "options",
                assertThrows(NullPointerException.class, () -> new Engine(lm, null))
                        .getMessage());
    }

    @Test
    void servesIdsOnlyWithoutTokenizer() {
        engine = new Engine(lm, config.build(), clock, Runnable::run);
        assertRefused(
                "stopStrings must be empty where there is no tokenizer, got [x]",
                prompt(1),
                SamplingParams.builder().stopStrings(List.of("x")).build());
        Run run = admitted(request(3, 5));
        runToEnd();
        assertArrayEquals(output(request(3, 5)), run.listener.completion().outputTokenIds());
        assertEquals("", run.listener.completion().text());
    }

    @Test
    void refusesModelThatCannotHoldItsLongestSequence() {
        CausalLm small = new FakeCausalLm(2, 4, 15, 64);
        assertEquals(
                "pageCount must be >= 16 to hold one sequence of contextLength (64), got 15",
                assertThrows(IllegalArgumentException.class, () -> new Engine(small, config.build()))
                        .getMessage());
    }
}
