package io.github.loomtorch.torch.cuda;

import java.nio.IntBuffer;

/**
 * How the blocks of {@link AttentionChoice.Kind#PERSISTENT} divide a step's decode rows: into items, each a row's
 * tokens or a part of them (split-KV), longest first. The blocks take items in snake order, so that each gets about the
 * same number of tokens. A row that has clearly more than a block's fair share, and more than 256 tokens, is in several
 * items, neighbours of one another.
 *
 * <p>An item is four ints: the number of its row, -1 if there are no more items; its number among the row's items in
 * the lower 16 bits, how many these are in the upper; its first token; the token after its last. A row's own token, the
 * last, is in no item. Padding has an item without tokens.
 *
 * @param unitsPerItem units, each some of the heads, into which the kernel divides an item for its blocks
 * @param blocks that run at once
 * @param stageTokens tokens of a stage of the kernel's pipeline: an item begins at a multiple of it
 * @param divides whether rows may be in several items, which depends on the other rows
 */
record AttentionPlan(int unitsPerItem, int blocks, int stageTokens, boolean divides) {
    /** Ints of an item. */
    static final int ITEM = 4;

    private static final int WHOLE_TOKENS = 256; // up to which a row is one item
    private static final double FAIR = 1.2; // shares of a block up to which a row is one item; less made steps slower

    /**
     * The most items of so many rows. A row of n stages is divided only if n exceeds a block's fair share m, and then
     * into fewer than 1 + n / m items; the sum of n over all rows is at most m blocks / unitsPerItem.
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
            int stages = stages(input, row * rowSize);
            total += Math.max(stages, 0);
            longest = Math.max(longest, stages);
        }
        int fair = (int) (FAIR * total * unitsPerItem / blocks); // stages of a block
        int max = divides ? Math.max(WHOLE_TOKENS / stageTokens, fair) : Math.max(longest, 1);
        int[] places = new int[longest + 1]; // by stages of an item: how many items, then where the next one goes
        for (int row = 0; row < rows; row++) {
            int stages = stages(input, row * rowSize);
            if (stages >= 0) {
                int parts = parts(stages, max);
                places[Math.ceilDiv(stages, parts)] += parts;
            }
        }
        int count = 0;
        for (int stages = longest; stages >= 0; stages--) {
            int ofThem = places[stages];
            places[stages] = count;
            count += ofThem;
        }
        for (int row = 0; row < rows; row++) {
            int stages = stages(input, row * rowSize);
            if (stages >= 0) {
                int parts = parts(stages, max);
                int tokens = tokens(input, row * rowSize);
                for (int part = 0; part < parts; part++) {
                    int at = ITEM * places[Math.ceilDiv(stages, parts)]++;
                    items.put(at, row);
                    items.put(at + 1, part | parts << 16);
                    items.put(at + 2, stages * part / parts * stageTokens);
                    items.put(at + 3, Math.min(tokens, stages * (part + 1) / parts * stageTokens));
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

    /** Stages of a row's tokens; -1 if it is not a decode row. */
    private int stages(IntBuffer input, int row) {
        return input.get(row + StepInput.CHUNK_TOKENS) > 1 ? -1 : Math.ceilDiv(tokens(input, row), stageTokens);
    }

    private static int parts(int stages, int max) {
        return Math.max(Math.ceilDiv(stages, max), 1);
    }
}
