package io.github.loomtorch.tokenizer;

/**
 * GPT-2's pattern, which splits text into the pieces that are merged on their own:
 *
 * <pre>{@code 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+}</pre>
 *
 * <p>It reads well-formed UTF-8 but sees code points. {@code \s} is Unicode's White_Space, as in Python's
 * {@code regex}: U+0085 and the no-break spaces belong to it, U+001C to U+001F do not, unlike
 * {@link Character#isWhitespace(int)}.
 */
final class Gpt2Pattern {

    private static final byte OTHER = 0;
    private static final byte LETTER = 1;
    private static final byte NUMBER = 2;
    private static final byte SPACE = 3;

    /** Kinds of the code points below U+10000. */
    private static final byte[] KINDS = new byte[0x10000];

    static {
        for (int c = 0; c < KINDS.length; c++) {
            KINDS[c] = computeKind(c);
        }
    }

    private Gpt2Pattern() {}

    private static byte computeKind(int codePoint) {
        return switch (Character.getType(codePoint)) {
            case Character.UPPERCASE_LETTER,
                    Character.LOWERCASE_LETTER,
                    Character.TITLECASE_LETTER,
                    Character.MODIFIER_LETTER,
                    Character.OTHER_LETTER -> LETTER;
            case Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER -> NUMBER;
            case Character.SPACE_SEPARATOR, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> SPACE;
            case Character.CONTROL -> codePoint >= '\t' && codePoint <= '\r' || codePoint == 0x85 ? SPACE : OTHER;
            default -> OTHER;
        };
    }

    /** Whether a character has Unicode's property White_Space; all that have it are below U+10000. */
    static boolean isWhiteSpace(char c) {
        return KINDS[c] == SPACE;
    }

    /** The end of the piece that starts at {@code start}, which must be less than {@code utf8.length}. */
    static int pieceEnd(byte[] utf8, int start) {
        byte first = utf8[start];
        if (first == ' ') {
            int next = start + 1;
            if (next == utf8.length) {
                return next;
            }
            int kind = kindAt(utf8, next);
            return kind == SPACE ? whitespaceEnd(utf8, start) : runEnd(utf8, next, kind);
        }
        if (first == '\'') {
            int length = contractionLength(utf8, start);
            if (length > 0) {
                return start + length;
            }
        }
        int kind = kindAt(utf8, start);
        return kind == SPACE ? whitespaceEnd(utf8, start) : runEnd(utf8, start, kind);
    }

    private static int runEnd(byte[] utf8, int start, int kind) {
        int i = start;
        while (i < utf8.length) {
            byte b = utf8[i];
            if ((b >= 0 ? KINDS[b] : kindAt(utf8, i)) != kind) {
                break;
            }
            i += length(b);
        }
        return i;
    }

    /** {@code \s+(?!\S)|\s+}: before other text, the last of several spaces is left to the next piece. */
    private static int whitespaceEnd(byte[] utf8, int start) {
        int i = start;
        int last = start;
        while (i < utf8.length && kindAt(utf8, i) == SPACE) {
            last = i;
            i += length(utf8[i]);
        }
        return i == utf8.length || last == start ? i : last;
    }

    private static int contractionLength(byte[] utf8, int start) {
        int left = utf8.length - start;
        if (left < 2) {
            return 0;
        }
        byte third = left > 2 ? utf8[start + 2] : 0;
        return switch (utf8[start + 1]) {
            case 's', 't', 'm', 'd' -> 2;
            case 'r', 'v' -> third == 'e' ? 3 : 0;
            case 'l' -> third == 'l' ? 3 : 0;
            default -> 0;
        };
    }

    private static int kindAt(byte[] utf8, int i) {
        byte b = utf8[i];
        if (b >= 0) {
            return KINDS[b];
        }
        int second = utf8[i + 1] & 0x3F;
        if (b < (byte) 0xE0) {
            return KINDS[(b & 0x1F) << 6 | second];
        }
        int third = utf8[i + 2] & 0x3F;
        if (b < (byte) 0xF0) {
            return KINDS[(b & 0x0F) << 12 | second << 6 | third];
        }
        return computeKind((b & 0x07) << 18 | second << 12 | third << 6 | utf8[i + 3] & 0x3F);
    }

    private static int length(byte lead) {
        return lead >= 0 ? 1 : lead < (byte) 0xE0 ? 2 : lead < (byte) 0xF0 ? 3 : 4;
    }
}
