package io.github.loomtorch.tokenizer;

/** What is known of any two bytes that stand side by side: the tables that merging starts from. Immutable. */
final class BytePairs {

    private final int[] ids = new int[256];
    private final long[] merges = new long[256 * 256];
    private final boolean[] inToken = new boolean[256 * 256];

    BytePairs(BpeModel model) {
        for (int b = 0; b < ids.length; b++) {
            ids[b] = model.vocabulary().get(new byte[] {(byte) b}, 0, 1);
        }
        for (byte[] token : model.tokens()) {
            for (int i = 1; i < token.length; i++) {
                inToken[pair(token[i - 1], token[i])] = true;
            }
        }
        for (int pair = 0; pair < merges.length; pair++) {
            merges[pair] = inToken[pair] ? model.merges().get(ids[pair >> 8], ids[pair & 0xFF]) : MergeTable.NONE;
        }
    }

    private static int pair(byte first, byte second) {
        return (first & 0xFF) << 8 | second & 0xFF;
    }

    /** The id of one byte. */
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
