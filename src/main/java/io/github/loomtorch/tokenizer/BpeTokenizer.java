package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;

/**
 * GPT-2's byte-level byte-pair encoding. Immutable and thread-safe.
 *
 * <pre>{@code
 * BpeTokenizer tokenizer = BpeTokenizer.load(Path.of("tokenizer"));
 * tokenizer.encode("Hello, 世界");    // [15496, 11, 220, 10310, 244, 45911, 234]
 * tokenizer.decode(new int[] {15496}); // "Hello"
 * }</pre>
 *
 * <p>Encoding takes time and memory linear in the text (times the logarithm of its longest piece), whatever the text
 * is.
 */
public final class BpeTokenizer implements Tokenizer {

    /** GPT-2's only special token. */
    static final String END_OF_TEXT = "<|endoftext|>";

    private final byte[][] tokens;
    private final MergeTable merges;
    private final BytePairs bytePairs;

    /** The tokens that merging their bytes leads to. */
    private final TokenTable words;

    /** Longest first, so that the longest of those that begin at one place is found. */
    private final String[] specialTokens;

    private final int[] specialIds;
    private final int endOfTextId;

    BpeTokenizer(BpeModel model) {
        tokens = model.tokens();
        merges = model.merges();
        bytePairs = new BytePairs(model);
        words = mergeableTokens(model);
        specialTokens = model.specialTokens().keySet().stream()
                .sorted(Comparator.comparingInt(String::length).reversed())
                .toArray(String[]::new);
        specialIds = Arrays.stream(specialTokens)
                .mapToInt(model.specialTokens()::get)
                .toArray();
        endOfTextId = model.specialTokens().getOrDefault(END_OF_TEXT, -1);
    }

    /** A vocabulary may hold tokens that their own bytes do not merge to: a look-up must not find these. */
    private TokenTable mergeableTokens(BpeModel model) {
        TokenTable mergeable = new TokenTable(tokens);
        BpeEncoder encoder = new BpeEncoder(mergeable, merges, bytePairs, 256);
        for (int id = 0; id < tokens.length; id++) {
            byte[] token = tokens[id];
            if (model.vocabulary().get(token, 0, token.length) == id) {
                encoder.merge(token, 0, token.length);
                int[] merged = encoder.takeIds();
                if (merged.length == 1 && merged[0] == id) {
                    mergeable.add(id);
                }
            }
        }
        return mergeable;
    }

    /**
     * Reads a tokenizer.
     *
     * @param path a directory with {@code tokenizer.json}, or {@code vocab.json} and {@code merges.txt}, or
     *     {@code encoder.json} and {@code vocab.bpe} (the first of these that is there is read); or a file in the
     *     format of {@code tokenizer.json}
     * @return a new tokenizer
     * @throws IOException if a file is missing, malformed, or describes another kind of tokenizer; the message says
     *     where
     */
    public static BpeTokenizer load(Path path) throws IOException {
        return new BpeTokenizer(BpeFiles.read(path));
    }

    /**
     * Reads a tokenizer from its two files.
     *
     * @param vocabulary JSON object of tokens, in byte symbols, and their ids ({@code vocab.json})
     * @param merges a line for each pair of symbols to merge, first things first ({@code merges.txt})
     * @return a new tokenizer
     * @throws IOException if a file is missing or malformed; the message says where
     */
    public static BpeTokenizer load(Path vocabulary, Path merges) throws IOException {
        return new BpeTokenizer(BpeFiles.read(vocabulary, merges));
    }

    @Override
    public int[] encode(String text) {
        byte[] utf8 = text.getBytes(UTF_8);
        BpeEncoder encoder = encoder(utf8.length);
        encoder.encode(utf8);
        return encoder.takeIds();
    }

    @Override
    public int[] encodeWithSpecialTokens(String text) {
        BpeEncoder encoder = encoder(text.length());
        int[] nextAt = new int[specialTokens.length]; // where each occurs next, found anew only when passed
        Arrays.fill(nextAt, -1);
        for (int start = 0; start < text.length(); ) {
            int at = text.length();
            int which = -1;
            for (int i = 0; i < specialTokens.length; i++) {
                if (nextAt[i] < start) {
                    int found = text.indexOf(specialTokens[i], start);
                    nextAt[i] = found < 0 ? text.length() : found;
                }
                if (nextAt[i] < at) {
                    at = nextAt[i];
                    which = i;
                }
            }
            encoder.encode(text.substring(start, at).getBytes(UTF_8));
            if (which < 0) {
                break;
            }
            encoder.add(specialIds[which]);
            start = at + specialTokens[which].length();
        }
        return encoder.takeIds();
    }

    private BpeEncoder encoder(int textBytes) {
        return new BpeEncoder(
                words, merges, bytePairs, textBytes / 3 + 8); // most text has fewer than one token in three bytes
    }

    @Override
    public String decode(int[] ids) {
        long length = 0;
        for (int id : ids) {
            length += tokenBytes(id).length;
        }
        byte[] utf8 = new byte[(int) Math.min(length, Integer.MAX_VALUE)]; // if it is more: OutOfMemoryError
        int end = 0;
        for (int id : ids) {
            byte[] token = tokens[id];
            System.arraycopy(token, 0, utf8, end, token.length);
            end += token.length;
        }
        return Utf8.decode(utf8, 0, end);
    }

    @Override
    public byte[] tokenBytes(int id) {
        if (id < 0 || id >= tokens.length) {
            throw new IllegalArgumentException("token id must be in [0, " + tokens.length + "), got " + id);
        }
        return tokens[id];
    }

    @Override
    public int vocabSize() {
        return tokens.length;
    }

    @Override
    public int endOfTextId() {
        return endOfTextId;
    }
}
