package io.github.loomtorch.engine;

import io.github.loomtorch.tokenizer.Tokenizer;
import java.util.Arrays;

/** Which token ids begin a word: those whose text begins with white space, and those that end the text. */
public final class WordStarts {
    private WordStarts() {}

    /**
     * The table of a tokenizer.
     *
     * @param tokenizer whose tokens
     * @param endOfTextIds ascending
     * @param vocabSize V; ids that the tokenizer lacks begin no word
     * @return [V]
     */
    public static boolean[] of(Tokenizer tokenizer, int[] endOfTextIds, int vocabSize) {
        boolean[] table = new boolean[vocabSize];
        for (int id = 0; id < Math.min(vocabSize, tokenizer.vocabSize()); id++) {
            byte[] bytes = tokenizer.tokenBytes(id);
            table[id] = bytes.length > 0 && isSpace(bytes[0]) || Arrays.binarySearch(endOfTextIds, id) >= 0;
        }
        return table;
    }

    private static boolean isSpace(byte b) {
        return b == ' ' || b >= '\t' && b <= '\r';
    }
}
