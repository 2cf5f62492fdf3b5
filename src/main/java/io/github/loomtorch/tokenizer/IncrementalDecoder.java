package io.github.loomtorch.tokenizer;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/** Decodes a stream of ids, one at a time, never emitting half a character. Confined to one thread at a time. */
public final class IncrementalDecoder {
    private final Tokenizer tokenizer;
    private byte[] pending = {};

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
     */
    public String append(int id) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        bytes.writeBytes(pending);
        bytes.writeBytes(tokenizer.tokenBytes(id));
        CharsetDecoder decoder = StandardCharsets.UTF_8
                .newDecoder()
                .onMalformedInput(CodingErrorAction.REPLACE)
                .onUnmappableCharacter(CodingErrorAction.REPLACE);
        ByteBuffer in = ByteBuffer.wrap(bytes.toByteArray());
        CharBuffer out = CharBuffer.allocate(in.remaining() + 1);
        decoder.decode(in, out, false);
        pending = new byte[in.remaining()];
        in.get(pending);
        return out.flip().toString();
    }

    /**
     * Ends the stream.
     *
     * @return U+FFFD if the stream ended within a character, otherwise empty
     */
    public String flush() {
        String text = new String(pending, StandardCharsets.UTF_8);
        pending = new byte[0];
        return text;
    }
}
