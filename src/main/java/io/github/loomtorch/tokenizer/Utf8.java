package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.ByteArrayOutputStream;

/**
 * UTF-8 to text where bytes may be malformed.
 *
 * <p>Each maximal subpart of an ill-formed sequence becomes one U+FFFD (The Unicode Standard, section 3.9, "U+FFFD
 * Substitution of Maximal Subparts"), as in Python and Rust. Java's own decoder mostly agrees, but makes one U+FFFD of
 * an encoded surrogate and lets the number for a byte F5 to F7 depend on how many bytes follow, so its output for a
 * stream would depend on where the stream was cut.
 */
final class Utf8 {

    private static final char REPLACEMENT = '\uFFFD';
    private static final byte[] REPLACEMENT_BYTES = "\uFFFD".getBytes(UTF_8);

    private Utf8() {}

    /** Decodes {@code [from, to)}; an incomplete sequence at the end becomes one U+FFFD. */
    static String decode(byte[] utf8, int from, int to) {
        String text = new String(utf8, from, to - from, UTF_8);
        return text.indexOf(REPLACEMENT) < 0 ? text : decodeMalformed(utf8, from, to);
    }

    private static String decodeMalformed(byte[] utf8, int from, int to) {
        ByteArrayOutputStream repaired = new ByteArrayOutputStream(to - from + 16);
        for (int i = from; i < to; ) {
            int length = sequenceLength(utf8, i, to);
            if (length > 0) {
                repaired.write(utf8, i, length);
                i += length;
            } else {
                repaired.writeBytes(REPLACEMENT_BYTES);
                i = length == 0 ? to : i - length;
            }
        }
        return repaired.toString(UTF_8);
    }

    /**
     * Where the character begins that {@code [from, to)} holds only a part of at its end; {@code to} if there is none.
     */
    static int completeEnd(byte[] utf8, int from, int to) {
        for (int i = to - 1; i >= Math.max(from, to - 3); i--) {
            if ((utf8[i] & 0xC0) != 0x80) { // not a continuation byte
                return sequenceLength(utf8, i, to) == 0 ? i : to;
            }
        }
        return to;
    }

    /**
     * The length of the sequence at {@code i}: positive for a well-formed character, 0 if {@code to} cuts off what may
     * become one, and negated for the maximal subpart of a malformed one (Unicode table 3-7).
     */
    private static int sequenceLength(byte[] utf8, int i, int to) {
        int lead = utf8[i] & 0xFF;
        if (lead < 0x80) {
            return 1;
        }
        if (lead < 0xC2 || lead > 0xF4) {
            return -1;
        }
        int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        int low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        int high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        for (int k = 1; k < length; k++) {
            if (i + k == to) {
                return 0;
            }
            int b = utf8[i + k] & 0xFF;
            if (b < low || b > high) {
                return -k;
            }
            low = 0x80;
            high = 0xBF;
        }
        return length;
    }
}
