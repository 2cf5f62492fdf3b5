package io.github.loomtorch.tokenizer;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * Finds tokens by their bytes: an open-addressing hash map that compares up to 16 bytes as two longs. Filled once, then
 * only read.
 */
final class TokenTable {

    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    /**
     * Longs per slot: the first 8 bytes, the last 8 (0 if there are no more than 8 in all), and {@code length << 32 |
     * id}.
     */
    private static final int SLOT = 3;

    /** Bytes of the tokens by id. */
    private final byte[][] tokens;

    private final long[] slots;
    private final int mask;
    private final int shift;
    private int longest;
    private int size;

    /** An empty table for at most {@code count} of {@code tokens}. */
    TokenTable(byte[][] tokens, int count) {
        this.tokens = tokens;
        int capacity = Integer.highestOneBit(Math.max(count, 1)) << 2; // at most half full
        slots = new long[SLOT * capacity];
        mask = capacity - 1;
        shift = Long.numberOfLeadingZeros(mask);
    }

    /** Adds token {@code id}, of at least one byte and with other bytes than those added before. */
    void add(int id) {
        byte[] token = tokens[id];
        long head = head(token, 0, token.length);
        long tail = tail(token, 0, token.length);
        int slot = slot(token, 0, token.length, head, tail);
        slots[slot] = head;
        slots[slot + 1] = tail;
        slots[slot + 2] = (long) token.length << 32 | id;
        longest = Math.max(longest, token.length);
        size++;
    }

    /** The number of tokens in it. */
    int size() {
        return size;
    }

    /** The id of the token that is {@code bytes[from, to)}, -1 if there is none. */
    int get(byte[] bytes, int from, int to) {
        int length = to - from;
        if (length > longest) {
            return -1;
        }
        long entry = slots[slot(bytes, from, length, head(bytes, from, length), tail(bytes, from, length)) + 2];
        return entry == 0 ? -1 : (int) entry;
    }

    /** Where the bytes are, or belong. */
    private int slot(byte[] bytes, int from, int length, long head, long tail) {
        long hash = (head ^ tail * 0xC2B2AE3D27D4EB4FL ^ length) * 0x9E3779B97F4A7C15L;
        for (int i = (int) ((hash ^ hash << 32) >>> shift); ; i = i + 1 & mask) {
            int slot = SLOT * i;
            long entry = slots[slot + 2];
            if (entry == 0) {
                return slot;
            }
            if (slots[slot] == head
                    && slots[slot + 1] == tail
                    && entry >>> 32 == length
                    && (length <= 16 || Arrays.equals(bytes, from, from + length, tokens[(int) entry], 0, length))) {
                return slot;
            }
        }
    }

    private static long head(byte[] bytes, int from, int length) {
        if (from + Long.BYTES <= bytes.length) {
            long head = (long) LONG.get(bytes, from);
            return length >= Long.BYTES ? head : head & (1L << 8 * length) - 1;
        }
        long head = 0;
        for (int i = length - 1; i >= 0; i--) {
            head = head << 8 | bytes[from + i] & 0xFF;
        }
        return head;
    }

    private static long tail(byte[] bytes, int from, int length) {
        return length <= Long.BYTES ? 0 : (long) LONG.get(bytes, from + length - Long.BYTES);
    }
}
