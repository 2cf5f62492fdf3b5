package io.github.loomtorch.torch.cuda;

import java.nio.IntBuffer;

/**
 * How the blocks of {@link AttentionChoice.Kind#RING} divide a step's rows that stand alone: into items, each a row's
 * tokens or a part of them, longest first. The blocks take items by turns, there and back, so that each gets about as
 * many tokens; a row of clearly more than that, and of more than 256, is in several items, neighbours of one another.
 *
 * <p>An item is four ints: its row's number, -1 if there are no more; its number among the row's items in the lower 16
 * bits, how many they are in the upper; its first token; the token after its last. A row's own token, the last, is in
 * none. Padding has an item without tokens.
 *
 * @param unitsPerItem units, each some of the heads, into which the kernel divides an item for its blocks
 * @param blocks that run at once
 * @param pieceTokens what the tokens where an item begins are divisible by
 * @param divides whether rows may be in several items, by what the other rows are
 */
record AttentionPlan(int unitsPerItem, int blocks, int pieceTokens, boolean divides) {
    /** Ints of an item. */
    static final int ITEM = 4;

    private static final int LEAST_TOKENS = 256; // up to which a row is whole
    private static final double FAIR =
            1.2; // times what a block has on average is whole; less made more second turns than it spared

    /**
     * Items of so many rows, at most: a divided row of n pieces has fewer than 1 + n / m, m at least a block's share of
     * all pieces.
     */
    int capacity(int rows) {
        return rows + Math.ceilDiv(blocks, unitsPerItem);
    }

    /**
     * Makes the items of the first rows.
     *
     * @param items [{@link #capacity}, {@link #ITEM}]
     * @param input the rows, as {@link StepInput} says
     * @param rowSize ints of a row
     */
    void put(IntBuffer items, IntBuffer input, int rowSize, int rows) {
        int total = 0;
        int longest = 0;
        for (int row = 0; row < rows; row++) {
            int pieces = pieces(input, row * rowSize);
            total += Math.max(pieces, 0);
            longest = Math.max(longest, pieces);
        }
        int fair = (int) (FAIR * total * unitsPerItem / blocks); // pieces of a block
        int most = divides ? Math.max(LEAST_TOKENS / pieceTokens, fair) : Math.max(longest, 1);
        int[] places = new int[longest + 1]; // by pieces of an item: how many, then where the next one goes
        for (int row = 0; row < rows; row++) {
            int pieces = pieces(input, row * rowSize);
            if (pieces >= 0) {
                int parts = parts(pieces, most);
                places[Math.ceilDiv(pieces, parts)] += parts;
            }
        }
        int count = 0;
        for (int pieces = longest; pieces >= 0; pieces--) {
            int ofThem = places[pieces];
            places[pieces] = count;
            count += ofThem;
        }
        for (int row = 0; row < rows; row++) {
            int pieces = pieces(input, row * rowSize);
            if (pieces >= 0) {
                int parts = parts(pieces, most);
                int tokens = tokens(input, row * rowSize);
                for (int part = 0; part < parts; part++) {
                    int at = ITEM * places[Math.ceilDiv(pieces, parts)]++;
                    items.put(at, row);
                    items.put(at + 1, part | parts << 16);
                    items.put(at + 2, pieces * part / parts * pieceTokens);
                    items.put(at + 3, Math.min(tokens, pieces * (part + 1) / parts * pieceTokens));
                }
            }
        }
        for (int item = count; item < capacity(rows); item++) {
            items.put(ITEM * item, -1);
        }
    }

    private static int tokens(IntBuffer input, int row) {
        return Math.max(input.get(row + StepInput.LENGTH) - 1, 0);
    }

    /** Of a row's tokens; -1 if it does not stand alone. */
    private int pieces(IntBuffer input, int row) {
        return input.get(row + StepInput.CHUNK_TOKENS) > 1 ? -1 : Math.ceilDiv(tokens(input, row), pieceTokens);
    }

    private static int parts(int pieces, int most) {
        return Math.max(Math.ceilDiv(pieces, most), 1);
    }
}
