package io.github.loomtorch;

import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;

/** Where the tokens of a text stand in it, in bytes and in characters (UTF-16 units). Immutable. */
final class TokenSpans {
    private final byte[] bytes;
    private final int[] ends; // of each token, in bytes
    private final int[] chars; // by byte: characters that begin before it

    TokenSpans(Tokenizer tokenizer, int[] ids) {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        ends = new int[ids.length];
        for (int i = 0; i < ids.length; i++) {
            text.writeBytes(tokenizer.tokenBytes(ids[i]));
            ends[i] = text.size();
        }
        bytes = text.toByteArray();
        chars = new int[bytes.length + 1];
        for (int i = 0; i < bytes.length; i++) {
            chars[i + 1] = chars[i] + unitsBegunBy(bytes[i]);
        }
    }

    /** Characters beyond the basic plane have two units and four bytes. */
    private static int unitsBegunBy(byte b) {
        return isInsideCharacter(b) ? 0 : (b & 0xff) >= 0xf0 ? 2 : 1;
    }

    private static boolean isInsideCharacter(byte b) {
        return (b & 0xc0) == 0x80;
    }

    int length() {
        return bytes.length;
    }

    int byteStart(int token) {
        return token == 0 ? 0 : ends[token - 1];
    }

    int byteEnd(int token) {
        return ends[token];
    }

    int charStart(int token) {
        int start = byteStart(token);
        while (start > 0 && start < bytes.length && isInsideCharacter(bytes[start])) {
            start--;
        }
        return chars[start];
    }

    int charEnd(int token) {
        return chars[ends[token]];
    }

    /** Of the tokens {@code [from, to)}, without white space around it. */
    String text(int from, int to) {
        int start = byteStart(from);
        return new String(bytes, start, ends[to - 1] - start, StandardCharsets.UTF_8).strip();
    }
}
