package io.github.loomtorch.testing;

import io.github.loomtorch.tokenizer.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * One token a byte: ids 0 to 93 are the printable ASCII characters, 94 to 96 the three bytes of 你, 97 and 98 two
 * letters, 99 the end. A space has no token.
 */
public final class FakeTokenizer implements Tokenizer {
    private static final byte[][] BYTES = new byte[FakeCausalLm.VOCAB_SIZE][];

    static {
        for (int id = 0; id < 94; id++) {
            BYTES[id] = new byte[] {(byte) ('!' + id)};
        }
        byte[] ni = "你".getBytes(StandardCharsets.UTF_8);
        for (int i = 0; i < 3; i++) {
            BYTES[94 + i] = new byte[] {ni[i]};
        }
        BYTES[97] = new byte[] {'a', 'b'};
        BYTES[98] = new byte[] {'b', 'c'};
        BYTES[99] = "<|endoftext|>".getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public int[] encode(String text) {
        return text.chars().filter(c -> c != ' ').map(c -> c - '!').toArray();
    }

    @Override
    public int[] encodeWithSpecialTokens(String text) {
        return encode(text);
    }

    @Override
    public String decode(int[] ids) {
        return new String(
                Arrays.stream(ids).mapToObj(this::tokenBytes).reduce(new byte[0], FakeTokenizer::concatenate),
                StandardCharsets.UTF_8);
    }

    private static byte[] concatenate(byte[] a, byte[] b) {
        byte[] both = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, both, a.length, b.length);
        return both;
    }

    @Override
    public byte[] tokenBytes(int id) {
        return BYTES[id];
    }

    @Override
    public boolean isSpecial(int id) {
        return id == FakeCausalLm.END_OF_TEXT;
    }

    @Override
    public boolean isLossless() {
        return false;
    }

    @Override
    public int vocabSize() {
        return BYTES.length;
    }

    @Override
    public int endOfTextId() {
        return FakeCausalLm.END_OF_TEXT;
    }
}
