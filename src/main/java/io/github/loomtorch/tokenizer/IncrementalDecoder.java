package io.github.loomtorch.tokenizer;

import java.util.Arrays;

/**
 * Decodes a stream of ids, one at a time, never emitting half a character: what {@link #append} and a last
 * {@link #flush} return, put together, is what {@link Tokenizer#decode} returns for all the ids. Confined to one thread
 * at a time.
 *
 * <pre>{@code
 * IncrementalDecoder decoder = new IncrementalDecoder(tokenizer);
 * decoder.append(12520); // " ": a space, and the first two bytes of 🌍
 * decoder.append(234);   // ""
 * decoder.append(235);   // "🌍"
 * }</pre>
 */
public final class IncrementalDecoder {

    private final Tokenizer tokenizer;

    /** Begins with the bytes of a character that is not complete yet. */
    private byte[] buffer = new byte[16];

    private int pending;

    /**
     * A decoder at the start of a stream.
     *
     * @param tokenizer of the ids
     */
    public IncrementalDecoder(Tokenizer tokenizer) {
        this.tokenizer = tokenizer;
    }

    /**
     * Decodes one more id.
     *
     * @param id in {@code [0, vocabSize)}
     * @return the text that is complete with it; maybe empty
     * @throws IllegalArgumentException if the id is out of range
     */
    public String append(int id) {
        byte[] bytes = tokenizer.tokenBytes(id);
        int length = bytes.length;
        if (pending > 0) {
            length += pending;
            if (length > buffer.length) {
                buffer = Arrays.copyOf(buffer, length);
            }
            System.arraycopy(bytes, 0, buffer, pending, bytes.length);
            bytes = buffer;
        }
        int complete = Utf8.completeEnd(bytes, 0, length);
        String text = Utf8.decode(bytes, 0, complete);
        pending = length - complete;
        System.arraycopy(bytes, complete, buffer, 0, pending);
        return text;
    }

    /**
     * Ends the stream; the next {@link #append} starts a new one.
     *
     * @return U+FFFD if the stream ended within a character, otherwise empty
     */
    public String flush() {
        String text = Utf8.decode(buffer, 0, pending);
        pending = 0;
        return text;
    }
}
