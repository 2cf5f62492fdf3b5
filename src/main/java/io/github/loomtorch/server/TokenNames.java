package io.github.loomtorch.server;

import io.github.loomtorch.tokenizer.Tokenizer;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/** How a token is written where its text alone does not tell it from others. */
final class TokenNames {
    private TokenNames() {}

    /** The token's text; of one that is no whole text, its bytes in OpenAI's form, {@code bytes:\xe4\xbd}. */
    static String of(Tokenizer tokenizer, int id) {
        if (id >= tokenizer.vocabSize()) {
            return "token_id:" + id;
        }
        byte[] bytes = tokenizer.tokenBytes(id);
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
        } catch (CharacterCodingException e) {
            StringBuilder name = new StringBuilder("bytes:");
            for (byte b : bytes) {
                name.append(String.format("\\x%02x", b));
            }
            return name.toString();
        }
    }
}
