package io.github.loomtorch.engine;

import io.github.loomtorch.tokenizer.Tokenizer;

/** Which token ids begin a word: those whose text begins with white space, and those that end the text. Thread-safe. */
public final class WordStarts {
    private final Tokenizer tokenizer;
    private final int[] endOfTextIds;

    /**
     * The rule for a model.
     *
     * @param tokenizer of the model
     * @param endOfTextIds of the model
     */
    public WordStarts(Tokenizer tokenizer, int[] endOfTextIds) {
        this.tokenizer = tokenizer;
        this.endOfTextIds = endOfTextIds.clone();
    }

    /**
     * Whether a token begins a word or ends the text.
     *
     * @param id in {@code [0, V)}; ids that the tokenizer lacks begin no word
     * @return true if white space stands at its beginning, or it is an end-of-text id
     */
    public boolean begins(int id) {
        if (endsText(id)) {
            return true;
        }
        byte[] bytes = id < tokenizer.vocabSize() ? tokenizer.tokenBytes(id) : new byte[0];
        return bytes.length > 0 && isSpace(bytes[0]);
    }

    /**
     * Whether a token ends the text.
     *
     * @param id in {@code [0, V)}
     * @return true if it is an end-of-text id of the model
     */
    public boolean endsText(int id) {
        for (int end : endOfTextIds) {
            if (id == end) {
                return true;
            }
        }
        return false;
    }

    /** {@code begins} for all ids. */
    boolean[] table(int vocabSize) {
        boolean[] table = new boolean[vocabSize];
        for (int id = 0; id < vocabSize; id++) {
            table[id] = begins(id);
        }
        return table;
    }

    private static boolean isSpace(byte b) {
        return b == ' ' || b >= '\t' && b <= '\r';
    }
}
