package io.github.loomtorch.tokenizer;

/** What is known of any two adjacent bytes: the tables that merging starts from. Immutable. */
final class BytePairs {

    private final int[] ids = new int[256];
    private final long[] merges = new long[256 * 256];
    private final boolean[] inToken = new boolean[256 * 256];
    private final boolean coversUtf8;

    BytePairs(BpeModel model) {
        boolean covers = true;
        for (int b = 0; b < ids.length; b++) {
            ids[b] = model.vocabulary().get(new byte[] {(byte) b}, 0, 1);
            covers &= ids[b] >= 0 || !isInUtf8(b);
        }
        coversUtf8 = covers;
        for (byte[] token : model.tokens()) {
            for (int i = 1; i < token.length; i++) {
                inToken[pair(token[i - 1], token[i])] = true;
            }
        }
        for (int pair = 0; pair < merges.length; pair++) {
            int left = ids[pair >> 8];
            int right = ids[pair & 0xFF];
            merges[pair] =
                    inToken[pair] && left >= 0 && right >= 0 ? model.merges().get(left, right) : MergeTable.NONE;
        }
    }

    /** Whether well-formed UTF-8 may have a byte. */
    static boolean isInUtf8(int b) {
        return b < 0xC0 || b > 0xC1 && b < 0xF5;
    }

    private static int pair(byte first, byte second) {
        return (first & 0xFF) << 8 | second & 0xFF;
    }

    /** Whether every byte that well-formed UTF-8 may have has a token. */
    boolean coversUtf8() {
        return coversUtf8;
    }

    /** The id of one byte, -1 if it has none. */
    int id(byte b) {
        return ids[b & 0xFF];
    }

    /** As {@link MergeTable#get} for the ids of two bytes. */
    long merge(byte first, byte second) {
        return merges[pair(first, second)];
    }

    /** Whether the two are side by side in any token; if not, they never are in one. */
    boolean inToken(byte first, byte second) {
        return inToken[pair(first, second)];
    }
}
