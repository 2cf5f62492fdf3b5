package io.github.loomtorch.tokenizer;

import java.util.Arrays;

/** Finds the merge of two adjacent tokens: an open-addressing hash map of primitives. Filled once, then only read. */
final class MergeTable {

    /** No merge; greater than every merge. */
    static final long NONE = Long.MAX_VALUE;

    private static final int EMPTY = -1;

    /** Pairs of a key, {@code left << 32 | right}, and a value, {@code rank << 32 | merged id}. */
    private final long[] slots;

    private final int mask;
    private final int shift;

    MergeTable(int merges) {
        int capacity = Integer.highestOneBit(Math.max(merges, 1)) << 2; // at most half full
        slots = new long[2 * capacity];
        Arrays.fill(slots, EMPTY);
        mask = capacity - 1;
        shift = Long.numberOfLeadingZeros(mask);
    }

    /** Adds a merge, in place of an earlier one of the same pair. */
    void put(int left, int right, int rank, int merged) {
        int slot = slot(left, right);
        slots[slot] = key(left, right);
        slots[slot + 1] = (long) rank << 32 | merged;
    }

    /**
     * {@code rank << 32 | merged id}, so the merge to do first is the least of these; {@link #NONE} if the two do not
     * merge.
     */
    long get(int left, int right) {
        int slot = slot(left, right);
        return slots[slot] == EMPTY ? NONE : slots[slot + 1];
    }

    /** Where the pair is, or belongs. */
    private int slot(int left, int right) {
        long key = key(left, right);
        int i = (int) (key * 0x9E3779B97F4A7C15L >>> shift);
        while (slots[2 * i] != key && slots[2 * i] != EMPTY) {
            i = i + 1 & mask;
        }
        return 2 * i;
    }

    private static long key(int left, int right) {
        return (long) left << 32 | right;
    }
}
