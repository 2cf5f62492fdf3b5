package io.github.loomtorch.request;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class GenerationRequestTest {
    private static final SamplingParams GREEDY = SamplingParams.greedy(1);

    @Test
    void hasUsualPriorityAndNoDeadlineUnlessAsked() {
        GenerationRequest request = new GenerationRequest(new int[] {1}, GREEDY);
        assertEquals(0, request.priority());
        assertEquals(Optional.empty(), request.timeout());
        assertEquals(-3, request.withPriority(-3).priority());
        assertEquals(
                Optional.of(Duration.ofMillis(5)),
                request.withPriority(2).withTimeout(Duration.ofMillis(5)).timeout());
        assertEquals(
                2, request.withPriority(2).withTimeout(Duration.ofMillis(5)).priority());
    }

    @Test
    void copiesThePrompt() {
        int[] prompt = {1, 2};
        GenerationRequest request = new GenerationRequest(prompt, GREEDY);
        prompt[0] = 9;
        request.promptTokenIds()[1] = 9;
        assertArrayEquals(new int[] {1, 2}, request.promptTokenIds());
    }

    @Test
    void comparesAndPrintsByContent() {
        GenerationRequest request = new GenerationRequest(new int[] {1, 2}, GREEDY);
        GenerationRequest same = new GenerationRequest(new int[] {1, 2}, SamplingParams.greedy(1));
        assertEquals(request, same);
        assertEquals(request.hashCode(), same.hashCode());
        assertNotEquals(request, new GenerationRequest(new int[] {1, 3}, GREEDY));
        assertNotEquals(request, request.withPriority(1));
        assertNotEquals(request, request.withTimeout(Duration.ofMillis(1)));
        assertNotEquals(request, request.withSampling(SamplingParams.greedy(2)));
        assertTrue(request.toString().startsWith("GenerationRequest[promptTokenIds=[1, 2], "), request.toString());
    }

    @Test
    void refusesNull() {
        assertEquals(
                "sampling",
                assertThrows(NullPointerException.class, () -> new GenerationRequest(new int[] {1}, null))
                        .getMessage());
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
