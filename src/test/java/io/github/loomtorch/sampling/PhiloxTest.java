package io.github.loomtorch.sampling;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class PhiloxTest {

    @Test
    void blocksAreThoseOfTheRandom123KnownAnswers() {
        assertArrayEquals(new int[] {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, Philox.block(0, 0, 0, 0, 0, 0));
        assertArrayEquals(
                new int[] {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}, Philox.block(-1, -1, -1, -1, -1, -1));
        assertArrayEquals(
                new int[] {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
                Philox.block(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0));
    }

    @Test
    void uniformIsTheUpper24BitsOfTheFirstWord() {
        assertEquals(0x6627e8 / 16777216f, Philox.uniform(0, 0));
        int word = Philox.block(7, 0, 0, 0, 0x89abcdef, 0x01234567)[0];
        assertEquals((word >>> 8) / 16777216f, Philox.uniform(0x0123456789abcdefL, 7));
    }

    @Test
    void uniformStaysInItsRangeWithMeanOneHalf() {
        double sum = 0;
        for (int index = 0; index < 100_000; index++) {
            float u = Philox.uniform(3, index);
            assertTrue(u >= 0 && u < 1, () -> "got " + u);
            sum += u;
        }
        assertEquals(0.5, sum / 100_000, 4 / Math.sqrt(12 * 100_000)); // four standard errors
    }
}
