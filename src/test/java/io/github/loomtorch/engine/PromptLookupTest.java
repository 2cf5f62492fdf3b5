package io.github.loomtorch.engine;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.request.Speculation;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Which candidates are proposed, and when that pauses. */
@Timeout(10)
class PromptLookupTest {
    private static int[] candidates(int ngram, int most, int room, int... text) {
        int[] tokens = Arrays.copyOf(text, text.length + 10);
        int count = new PromptLookup(new Speculation(ngram, most)).propose(tokens, text.length, room);
        return Arrays.copyOfRange(tokens, text.length, text.length + count);
    }

    @Test
    void proposesWhatFollowedTheLastTokensWhereTheyStoodLast() {
        assertArrayEquals(new int[] {6, 1, 2}, candidates(2, 3, 9, 1, 2, 5, 1, 2, 6, 1, 2));
        assertArrayEquals(new int[] {6, 1}, candidates(2, 2, 9, 1, 2, 5, 1, 2, 6, 1, 2));
        assertArrayEquals(new int[] {6}, candidates(2, 3, 1, 1, 2, 5, 1, 2, 6, 1, 2));
        assertArrayEquals(new int[] {7}, candidates(1, 3, 9, 7, 7));
        assertArrayEquals(new int[0], candidates(2, 3, 9, 1, 2, 3, 2));
        assertArrayEquals(new int[0], candidates(2, 3, 0, 1, 2, 5, 1, 2));
        assertArrayEquals(new int[0], candidates(2, 3, 9, 1));
    }

    @Test
    void pausesWithoutAcceptanceTwiceAsLongEachTime() {
        PromptLookup lookup = new PromptLookup(new Speculation(2, 4));
        int length = 10;
        int steps = 0;
        for (int pause = 64; pause <= 256; pause *= 2) {
            while (lookup.isOn(length)) {
                lookup.verified(0, ++length);
                steps++;
            }
            assertTrue(steps <= 24, "paused after " + steps + " steps");
            assertFalse(lookup.isOn(length + pause - 1));
            assertTrue(lookup.isOn(length + pause));
            length += pause;
        }
    }

    @Test
    void goesOnWhereItPays() {
        PromptLookup lookup = new PromptLookup(new Speculation(2, 4));
        for (int length = 10; length < 1000; length++) {
            lookup.verified(length % 3 == 0 ? 1 : 0, length); // a third of the steps yields two tokens
            assertTrue(lookup.isOn(length));
        }
        assertEquals(0, lookup.propose(new int[12], 1, 9));
    }
}
