package io.github.loomtorch.tokenizer;

/** Turns text into token ids and back. Implementations are immutable and thread-safe. */
public interface Tokenizer {

    /**
     * Encodes text; strings that look like special tokens are plain text here, so user text cannot inject one.
     *
     * @param text any text; lone surrogates become {@code ?}, as Java's own UTF-8 encoder makes them
     * @return the ids; empty for empty text
     */
    int[] encode(String text);

    /**
     * Encodes text in which special-token strings such as {@code <|endoftext|>} stand for the tokens themselves.
     *
     * @param text trusted text
     * @return the ids; empty for empty text
     */
    int[] encodeWithSpecialTokens(String text);

    /**
     * Decodes ids; special tokens appear as their strings, bytes that are not valid UTF-8 as U+FFFD.
     *
     * @param ids each in {@code [0, vocabSize)}
     * @return the text
     * @throws IllegalArgumentException if an id is out of range
     */
    String decode(int[] ids);

    /**
     * The bytes that one token stands for.
     *
     * @param id in {@code [0, vocabSize)}
     * @return UTF-8 bytes, maybe a part of a character only; shared, do not modify
     * @throws IllegalArgumentException if the id is out of range
     */
    byte[] tokenBytes(int id);

    /**
     * The number of ids.
     *
     * @return V, &gt;= 1
     */
    int vocabSize();

    /**
     * The id of {@code <|endoftext|>}.
     *
     * @return in {@code [0, vocabSize)}, or -1 if there is none
     */
    int endOfTextId();
}
