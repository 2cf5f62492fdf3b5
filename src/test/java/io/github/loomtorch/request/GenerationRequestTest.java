package io.github.loomtorch.request;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.time.Duration;
import org.junit.jupiter.api.Test;

class GenerationRequestTest {
    private static final SamplingParams GREEDY = SamplingParams.greedy(1);

    @Test
    void hasUsualPriorityAndNoDeadlineUnlessAsked() {
        GenerationRequest request = new GenerationRequest(new int[] {1}, GREEDY);
        assertEquals(0, request.priority());
        assertEquals(GenerationRequest.NO_TIMEOUT, request.timeout());
        assertEquals(-3, request.withPriority(-3).priority());
        assertEquals(
                Duration.ofMillis(5),
                request.withPriority(2).withTimeout(Duration.ofMillis(5)).timeout());
        assertEquals(
                2, request.withPriority(2).withTimeout(Duration.ofMillis(5)).priority());
    }

    @Test
    void copiesThePrompt() {
        int[] prompt = {1, 2};
        GenerationRequest request = new GenerationRequest(prompt, GREEDY);
        prompt[0] = 9;
        assertArrayEquals(new int[] {1, 2}, request.promptTokenIds());
    }

    @Test
    void timeoutsBeyondTheClockAreNone() {
        GenerationRequest request =
                new GenerationRequest(new int[] {1}, GREEDY).withTimeout(Duration.ofSeconds(Long.MAX_VALUE));
        assertEquals(GenerationRequest.NO_TIMEOUT, request.timeout());
    }

    @Test
    void refusesValuesOutOfRange() {
        refuses(
                "promptTokenIds must hold at least one token, got none",
                () -> new GenerationRequest(new int[0], GREEDY));
        refuses("promptTokenIds[1] must be >= 0, got -5", () -> new GenerationRequest(new int[] {0, -5}, GREEDY));
        GenerationRequest request = new GenerationRequest(new int[] {1}, GREEDY);
        refuses("timeout must be > 0, got PT0S", () -> request.withTimeout(Duration.ZERO));
        refuses("timeout must be > 0, got PT-1S", () -> request.withTimeout(Duration.ofSeconds(-1)));
    }

    private static void refuses(String message, Runnable action) {
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, action::run).getMessage());
    }
}
