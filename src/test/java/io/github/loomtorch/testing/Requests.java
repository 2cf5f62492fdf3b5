package io.github.loomtorch.testing;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;

/** Requests for a {@link FakeCausalLm}, and what must come of them. */
public final class Requests {
    private Requests() {}

    public static int[] prompt(int length) {
        return IntStream.range(0, length).map(i -> (i * 7 + length) % 90).toArray();
    }

    /** Ends with LENGTH. */
    public static GenerationRequest request(int promptLength, int maxNewTokens) {
        return new GenerationRequest(
                prompt(promptLength),
                SamplingParams.builder()
                        .maxNewTokens(maxNewTokens)
                        .ignoreEos(true)
                        .build());
    }

    /** Any parameters, prompts that often begin alike, at most 64 tokens in all. */
    public static GenerationRequest random(Random random) {
        int[] prompt = random.ints(1 + random.nextInt(40), 0, 90).toArray();
        Arrays.fill(prompt, 0, random.nextInt(prompt.length + 1), 5);
        SamplingParams sampling = SamplingParams.builder()
                .maxNewTokens(1 + random.nextInt(24))
                .temperature(random.nextInt(2))
                .ignoreEos(random.nextBoolean())
                .build();
        return new GenerationRequest(prompt, sampling).withPriority(random.nextInt(3));
    }

    /**
     * Asserts that a request yielded what it yields alone, all of it, or the beginning of it where it was ended early.
     */
    public static void assertYield(GenerationRequest request, Completion completion) {
        int[] expected = FakeCausalLm.expected(request, completion.seed());
        int[] output = completion.outputTokenIds();
        FinishReason reason = completion.finishReason();
        if (reason == FinishReason.CANCELLED || reason == FinishReason.DEADLINE) {
            expected = Arrays.copyOf(expected, output.length);
        } else {
            boolean isWhole = output.length == request.sampling().maxNewTokens();
            assertEquals(isWhole && reason != FinishReason.STOP ? FinishReason.LENGTH : FinishReason.STOP, reason);
        }
        assertArrayEquals(expected, output);
    }
}
