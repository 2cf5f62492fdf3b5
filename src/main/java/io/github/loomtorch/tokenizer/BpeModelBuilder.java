package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.IntFunction;

/** Collects the vocabulary and the merges of the files, and checks them. */
final class BpeModelBuilder {

    /** Largest number of tokens in a vocabulary. */
    static final int MAX_TOKENS = 1 << 18;

    /** Ids are less than this. */
    static final int MAX_ID = 1 << 20;

    static final int MAX_MERGES = 1 << 20;

    /** Largest number of characters of all added tokens together: each may be normalized by several normalizers. */
    static final int MAX_ADDED_CHARACTERS = 1 << 20;

    private static final byte[] NO_TOKEN = {};

    /** The file that holds the vocabulary; errors begin with it. */
    private final JsonFile file;

    private Map<String, Integer> vocabulary = Map.of();

    /** Left id, right id and merged id of the merges by turns. */
    private int[] merges = new int[3 << 10];

    private int mergeCount;

    private String unknownToken = "";
    private boolean fusesUnknown;
    private boolean ignoresMerges;
    private boolean fallsBackToBytes;

    BpeModelBuilder(JsonFile file) {
        this.file = file;
    }

    /** Reads the object of tokens and ids that the parser is at. */
    void readVocabulary(JsonParser json, String place) throws IOException {
        file.expect(json, JsonToken.START_OBJECT, place, "an object of tokens and ids");
        vocabulary = new LinkedHashMap<>(1 << 17);
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            String name = json.currentName();
            json.nextToken();
            if (json.currentToken() != JsonToken.VALUE_NUMBER_INT
                    || json.getNumberType() != JsonParser.NumberType.INT) {
                throw file.error(place, "an integer id of " + JsonFile.quote(name), JsonFile.got(json));
            }
            int id = json.getIntValue();
            if (id < 0 || id >= MAX_ID) {
                throw file.error(
                        place, "an id in [0, " + MAX_ID + ") of " + JsonFile.quote(name), Integer.toString(id));
            }
            vocabulary.put(name, id);
            if (vocabulary.size() > MAX_TOKENS) {
                throw file.error(place, "at most " + MAX_TOKENS + " tokens", "more");
            }
        }
    }

    Map<String, Integer> vocabulary() {
        return vocabulary;
    }

    void clearMerges() {
        mergeCount = 0;
    }

    /**
     * Adds {@code "a b"}.
     *
     * @param place of the merge at an index, for an error
     */
    void addMerge(String line, IntFunction<String> place, int index) throws IOException {
        int space = line.indexOf(' ');
        if (space <= 0 || space == line.length() - 1 || line.indexOf(' ', space + 1) >= 0) {
            throw new IOException(place.apply(index) + ": expected two symbols, got " + JsonFile.quote(line));
        }
        addMerge(line.substring(0, space), line.substring(space + 1), place, index);
    }

    void addMerge(String left, String right, IntFunction<String> place, int index) throws IOException {
        if (mergeCount == MAX_MERGES) {
            throw new IOException(place.apply(index) + ": expected at most " + MAX_MERGES + " merges, got more");
        }
        int at = 3 * mergeCount++;
        if (at == merges.length) {
            merges = Arrays.copyOf(merges, 2 * at);
        }
        merges[at] = id(left, place, index);
        merges[at + 1] = id(right, place, index);
        merges[at + 2] = id(left.concat(right), place, index);
    }

    private int id(String name, IntFunction<String> place, int index) throws IOException {
        Integer id = vocabulary.get(name);
        if (id == null) {
            throw new IOException(place.apply(index) + ": expected parts and product that are in the vocabulary, got "
                    + JsonFile.quote(name));
        }
        return id;
    }

    /** Sets the token of a byte that the vocabulary lacks. */
    void unknownToken(String name, boolean fuses) {
        unknownToken = name;
        fusesUnknown = fuses;
    }

    void ignoresMerges(boolean ignores) {
        ignoresMerges = ignores;
    }

    void fallsBackToBytes(boolean fallsBack) {
        fallsBackToBytes = fallsBack;
    }

    /**
     * Builds the model.
     *
     * @param normalizer makes the text of normalized added tokens
     * @param mergesName what an error about the merges begins with
     */
    BpeModel build(Collection<AddedToken> addedTokens, Normalizer normalizer, String mergesName) throws IOException {
        long addedCharacters = addedTokens.stream()
                .mapToLong(token -> token.content().length())
                .sum();
        if (addedCharacters > MAX_ADDED_CHARACTERS) {
            throw file.error(
                    "",
                    "added tokens of at most " + MAX_ADDED_CHARACTERS + " characters together",
                    Long.toString(addedCharacters));
        }
        requireMerges(addedTokens, mergesName);
        int size = 1;
        for (int id : vocabulary.values()) {
            size = Math.max(size, id + 1);
        }
        for (AddedToken token : addedTokens) {
            size = Math.max(size, token.id() + 1);
        }
        byte[][] tokens = new byte[size][];
        TokenTable symbols = new TokenTable(tokens, vocabulary.size());
        for (Map.Entry<String, Integer> entry : vocabulary.entrySet()) {
            String name = entry.getKey();
            boolean isSymbols = ByteSymbols.areSymbols(name);
            put(tokens, entry.getValue(), isSymbols ? ByteSymbols.toBytes(name) : name.getBytes(UTF_8), name);
            if (isSymbols && !name.isEmpty()) {
                symbols.add(entry.getValue());
            }
        }
        for (AddedToken token : addedTokens) {
            if (!vocabulary.containsKey(token.content())) {
                put(tokens, token.id(), text(token, normalizer).getBytes(UTF_8), token.content());
            }
        }
        for (int id = 0; id < size; id++) {
            tokens[id] = tokens[id] == null ? NO_TOKEN : tokens[id];
        }
        int unknownId = -1;
        int missing = missingByte(symbols);
        if (missing >= 0) {
            unknownId = unknownId(missing);
        }
        MergeTable table = new MergeTable(mergeCount);
        for (int rank = 0; rank < mergeCount; rank++) {
            table.put(merges[3 * rank], merges[3 * rank + 1], rank, merges[3 * rank + 2]);
        }
        return new BpeModel(tokens, symbols, table, unknownId, fusesUnknown, ignoresMerges);
    }

    /**
     * Refuses merges that were cut off: a token of several symbols that no merge makes is legal, most of them are not.
     */
    private void requireMerges(Collection<AddedToken> addedTokens, String mergesName) throws IOException {
        if (ignoresMerges) {
            return;
        }
        BitSet made = new BitSet();
        for (int rank = 0; rank < mergeCount; rank++) {
            made.set(merges[3 * rank + 2]);
        }
        addedTokens.forEach(token -> made.set(token.id()));
        long without = vocabulary.entrySet().stream()
                .filter(entry -> !made.get(entry.getValue()))
                .filter(entry -> entry.getKey().length() > 1 && ByteSymbols.areSymbols(entry.getKey()))
                .count();
        if (2 * without > vocabulary.size()) {
            throw new IOException(mergesName + ": expected a merge for most tokens of several bytes, got none for "
                    + without + " of the vocabulary's " + vocabulary.size()
                    + " tokens; the merges seem to be cut off, copy the file again");
        }
    }

    private String text(AddedToken token, Normalizer normalizer) throws IOException {
        if (!token.normalized()) {
            return token.content();
        }
        try {
            return normalizer.apply(token.content());
        } catch (IllegalArgumentException e) {
            throw new IOException(file + ": added token " + JsonFile.quote(token.content()) + ": " + e.getMessage(), e);
        }
    }

    private void put(byte[][] tokens, int id, byte[] token, String name) throws IOException {
        if (tokens[id] != null) {
            throw file.error("", "one token for each id", "a second one, " + JsonFile.quote(name) + ", for " + id);
        }
        tokens[id] = token;
    }

    /** The first byte of UTF-8 without a token, -1 if there is none. */
    private static int missingByte(TokenTable symbols) {
        for (int b = 0; b < 256; b++) {
            if (BytePairs.isInUtf8(b) && symbols.get(new byte[] {(byte) b}, 0, 1) < 0) {
                return b;
            }
        }
        return -1;
    }

    private int unknownId(int missing) throws IOException {
        String why = "for byte 0x%02X, which the vocabulary lacks".formatted(missing);
        if (fallsBackToBytes) {
            throw file.error("model.byte_fallback", "false " + why, "true");
        }
        if (unknownToken.isEmpty()) {
            return -1;
        }
        Integer id = vocabulary.get(unknownToken);
        if (id == null) {
            throw file.error("model.unk_token", "a token of the vocabulary " + why, JsonFile.quote(unknownToken));
        }
        return id;
    }
}
