package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.prompt;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
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
    void servesIdsOnlyWithoutTokenizer() {
        engine = new Engine(lm, config.build());
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
