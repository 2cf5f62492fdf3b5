package io.github.loomtorch.tokenizer;

/** Turns text into token ids and back. Implementations are immutable and thread-safe. */
public interface Tokenizer {

    /**
     * Encodes text. Strings that look like special tokens are plain text here, so user text cannot inject one. The
     * tokens that the tokenizer adds to every text are added, such as a beginning-of-text token.
     *
     * @param text any text; lone surrogates become {@code ?}, as Java's own UTF-8 encoder makes them
     * @return the ids; empty for empty text if the tokenizer adds none
     * @throws IllegalArgumentException if the tokenizer normalizes text, and this text has more than 1,000 combining
     *     marks in a row or becomes more than 64 times as long
     */
    int[] encode(String text);

    /**
     * Encodes text as {@link #encode} does, but special-token strings such as {@code <|endoftext|>} stand for the
     * tokens themselves.
     *
     * @param text trusted text
     * @return the ids; empty for empty text if the tokenizer adds none
     * @throws IllegalArgumentException as {@link #encode}
     */
    int[] encodeWithSpecialTokens(String text);

    /**
     * Decodes ids. Special tokens appear as their strings, bytes that are not valid UTF-8 as U+FFFD.
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
     * @return UTF-8 bytes, maybe a part of a character only, and none for an id without a token; shared, do not modify
     * @throws IllegalArgumentException if the id is out of range
     */
    byte[] tokenBytes(int id);

    /**
     * Whether a token is a control token: generated text leaves it out. A token that is declared special but that plain
     * text is encoded to as well, such as a padding token {@code !}, is none.
     *
     * @param id in {@code [0, vocabSize)}
     * @return true for a control token
     * @throws IllegalArgumentException if the id is out of range
     */
    boolean isSpecial(int id);

    /**
     * Whether decoding restores every text: {@code decode(encode(text))} is {@code text} for all well-formed text,
     * between the tokens that are added to every text. Otherwise a normalizer or an added space changes some texts, or
     * the vocabulary lacks a byte.
     *
     * @return true if no text is changed
     */
    boolean isLossless();

    /**
     * The number of ids: the largest id plus one. Not every id must have a token.
     *
     * @return V, &gt;= 1
     */
    int vocabSize();

    /**
     * The id of the token that ends a text: {@code eos_token} of the tokenizer's files, or {@code <|endoftext|>}.
     *
     * @return in {@code [0, vocabSize)}, or -1 if there is none
     */
    int endOfTextId();
}
