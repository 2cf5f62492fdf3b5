package io.github.loomtorch.sampling;

/** Random numbers without state: one number for each seed and index, whatever was drawn before. Thread-safe. */
public final class Philox {
    /*
     * Philox4x32-10: ten rounds of two 32-bit multiplications and a swap, keyed by a Weyl sequence [1]. The constants are those of the
     * paper, and of cuRAND and PyTorch.
     *
     * [1] Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11, https://doi.org/10.1145/2063384.2063405
     */
    private static final int ROUNDS = 10;
    private static final long MULTIPLIER_0 = 0xD2511F53L;
    private static final long MULTIPLIER_1 = 0xCD9E8D57L;
    private static final int WEYL_0 = 0x9E3779B9;
    private static final int WEYL_1 = 0xBB67AE85;

    private Philox() {}

    /**
     * The uniform number of one output token: the upper 24 bits of the first word of the block whose key is
     * {@code seed} (low word first) and whose counter is {@code (index, 0, 0, 0)}, times 2<sup>-24</sup>, so it is
     * exact.
     *
     * @param seed of the request
     * @param index of the output token, from 0
     * @return in [0, 1)
     */
    public static float uniform(long seed, int index) {
        return (block(index, 0, 0, 0, (int) seed, (int) (seed >>> 32))[0] >>> 8) * 0x1p-24f;
    }

    static int[] block(int c0, int c1, int c2, int c3, int k0, int k1) {
        for (int round = 0; round < ROUNDS; round++) {
            long product0 = MULTIPLIER_0 * Integer.toUnsignedLong(c0);
            long product1 = MULTIPLIER_1 * Integer.toUnsignedLong(c2);
            c0 = (int) (product1 >>> 32) ^ c1 ^ k0;
            c1 = (int) product1;
            c2 = (int) (product0 >>> 32) ^ c3 ^ k1;
            c3 = (int) product0;
            k0 += WEYL_0;
            k1 += WEYL_1;
        }
        return new int[] {c0, c1, c2, c3};
    }
}
