package io.github.loomtorch.tokenizer;

import java.util.Arrays;

/**
 * The 256 printable characters that stand for bytes in GPT-2's files ({@code bytes_to_unicode} in {@code openai/gpt-2},
 * {@code src/encoder.py}): printable Latin-1 characters stand for themselves, the other bytes for U+0100 and up, in
 * order; a space is {@code Ġ}.
 */
final class ByteSymbols {

    private static final char[] SYMBOLS = new char[256];
    private static final short[] BYTES = new short[512];

    static {
        Arrays.fill(BYTES, (short) -1);
        char next = 256;
        for (int b = 0; b < 256; b++) {
            boolean printable = b > ' ' && b < 0x7F || b > 0xA0 && b != 0xAD;
            SYMBOLS[b] = printable ? (char) b : next++;
            BYTES[SYMBOLS[b]] = (short) b;
        }
    }

    private ByteSymbols() {}

    /** The character that stands for {@code b & 0xFF}. */
    static char symbol(int b) {
        return SYMBOLS[b & 0xFF];
    }

    /** Whether {@code text} is written in byte symbols only. */
    static boolean areSymbols(String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c >= BYTES.length || BYTES[c] < 0) {
                return false;
            }
        }
        return true;
    }

    /** The bytes that symbols stand for; {@link #areSymbols} must hold. */
    static byte[] toBytes(String symbols) {
        byte[] bytes = new byte[symbols.length()];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) BYTES[symbols.charAt(i)];
        }
        return bytes;
    }
}
