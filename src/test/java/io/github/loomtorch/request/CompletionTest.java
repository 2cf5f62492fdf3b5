package io.github.loomtorch.request;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class CompletionTest {
    private static Completion completion(int... output) {
        return new Completion(
                new int[] {1, 2},
                output,
                "ab",
                FinishReason.STOP,
                7,
                List.of(new TokenLogprobs(-1, List.of())),
                List.of(),
                0,
                new RequestTimings(1, 2, 3, 4, List.of()),
                5);
    }

    @Test
    void comparesAndPrintsByContent() {
        assertEquals(completion(3, 4), completion(3, 4));
        assertEquals(completion(3, 4).hashCode(), completion(3, 4).hashCode());
        assertNotEquals(completion(3, 4), completion(3, 5));
        assertNotEquals(completion(3, 4), completion(3, 4).withBatchNumber(6));
        assertTrue(completion(3, 4).toString().contains("outputTokenIds=[3, 4], text=ab"));
    }

    @Test
    void copiesItsArrays() {
        int[] output = {3, 4};
        Completion completion = completion(output);
        output[0] = 9;
        completion.outputTokenIds()[1] = 9;
        completion.promptTokenIds()[1] = 9;
        assertArrayEquals(new int[] {3, 4}, completion.outputTokenIds());
        assertArrayEquals(new int[] {1, 2}, completion.promptTokenIds());
    }
}
