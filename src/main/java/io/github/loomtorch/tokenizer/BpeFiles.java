package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntFunction;
import java.util.function.Predicate;

/** Reads the files of a byte-level BPE tokenizer, and says in one sentence where and how they are wrong. */
final class BpeFiles {

    /** No symbol table of field names: a vocabulary's are all different. */
    private static final JsonFactory JSON = JsonFactory.builder()
            .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
            .build();

    private static final String TOKENIZER = "tokenizer.json";
    private static final String[][] PAIRS = {{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}};

    /** The file that holds the vocabulary; errors begin with it. */
    private final Path file;

    private final List<String> names = new ArrayList<>();
    private int[] ids = new int[1 << 16]; // ids[i] is of names.get(i)
    private final Map<String, Integer> specialTokens = new LinkedHashMap<>();

    /** Left and right symbols of the merges by turns. */
    private final List<String> mergeSymbols = new ArrayList<>();

    /** Where a merge was read, by its number. */
    private IntFunction<String> mergePlace;

    private BpeFiles(Path file) {
        this.file = file;
        mergePlace = i -> file + " model.merges[" + i + "]";
    }

    static BpeModel read(Path path) throws IOException {
        if (Files.isRegularFile(path)) {
            return readTokenizer(path);
        }
        if (!Files.isDirectory(path)) {
            throw new IOException(path + ": expected a directory or a file, got none");
        }
        Path tokenizer = path.resolve(TOKENIZER);
        if (Files.exists(tokenizer)) {
            return readTokenizer(tokenizer);
        }
        List<String> found = new ArrayList<>();
        for (String[] pair : PAIRS) {
            Path vocabulary = path.resolve(pair[0]);
            Path merges = path.resolve(pair[1]);
            if (Files.exists(vocabulary) && Files.exists(merges)) {
                return read(vocabulary, merges);
            }
            Arrays.stream(pair).filter(name -> Files.exists(path.resolve(name))).forEach(found::add);
        }
        throw new IOException(
                path + ": expected " + TOKENIZER + ", or vocab.json and merges.txt, or encoder.json and vocab.bpe, got "
                        + (found.isEmpty() ? "none of them" : String.join(", ", found) + " only"));
    }

    static BpeModel read(Path vocabulary, Path merges) throws IOException {
        BpeFiles files = new BpeFiles(vocabulary);
        files.parse(json -> {
            json.nextToken();
            files.readVocabulary(json, "");
        });
        int endOfText = files.names.indexOf(BpeTokenizer.END_OF_TEXT);
        if (endOfText >= 0) {
            files.specialTokens.put(BpeTokenizer.END_OF_TEXT, files.ids[endOfText]);
        }
        files.readMergeLines(merges);
        return files.build();
    }

    private static BpeModel readTokenizer(Path path) throws IOException {
        BpeFiles files = new BpeFiles(path);
        files.parse(files::readTokenizer);
        return files.build();
    }

    private interface JsonReader {
        void read(JsonParser json) throws IOException;
    }

    private void parse(JsonReader reader) throws IOException {
        requireFile(file);
        try (JsonParser json = JSON.createParser(file.toFile())) {
            reader.read(json);
            if (json.nextToken() != null) {
                throw new IOException(file + ": expected one JSON object, got more after it");
            }
        } catch (JsonProcessingException e) {
            JsonLocation location = e.getLocation();
            throw new IOException(
                    file + " line " + location.getLineNr() + " column " + location.getColumnNr()
                            + ": expected JSON, got: " + e.getOriginalMessage(),
                    e);
        }
    }

    private static void requireFile(Path path) throws IOException {
        if (!Files.isRegularFile(path)) {
            throw new IOException(path + ": expected a file, got " + (Files.exists(path) ? "a directory" : "none"));
        }
    }

    /** Reads the object of tokens and ids that the parser is at. */
    private void readVocabulary(JsonParser json, String place) throws IOException {
        expect(json, JsonToken.START_OBJECT, place, "an object of tokens and ids");
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            String name = json.currentName();
            json.nextToken();
            if (names.size() == ids.length) {
                ids = Arrays.copyOf(ids, 2 * ids.length);
            }
            if (json.currentToken() != JsonToken.VALUE_NUMBER_INT
                    || json.getNumberType() != JsonParser.NumberType.INT) {
                throw new IOException(
                        file + place + ": expected an integer id of " + quote(name) + ", got " + got(json));
            }
            ids[names.size()] = json.getIntValue();
            names.add(name);
        }
    }

    private void readMergeLines(Path path) throws IOException {
        requireFile(path);
        int blank = 0; // number of the first of the blank lines read last
        int number = 1;
        try (BufferedReader reader = Files.newBufferedReader(path, UTF_8)) {
            String line = reader.readLine();
            if (line != null && line.startsWith("#version")) {
                line = reader.readLine();
                number = 2;
            }
            int first = number;
            mergePlace = i -> path + " line " + (first + i);
            for (; line != null; line = reader.readLine(), number++) {
                if (line.isEmpty()) {
                    blank = blank == 0 ? number : blank;
                } else if (blank > 0) {
                    throw new IOException(path + " line " + blank + ": expected two symbols, got \"\"");
                } else {
                    addMerge(line);
                }
            }
        } catch (CharacterCodingException e) {
            throw new IOException(path + ": expected UTF-8, got malformed bytes after line " + (number - 1), e);
        }
    }

    /** Adds {@code "a b"}. */
    private void addMerge(String line) throws IOException {
        int space = line.indexOf(' ');
        if (space <= 0 || space == line.length() - 1 || line.indexOf(' ', space + 1) >= 0) {
            throw new IOException(
                    mergePlace.apply(mergeSymbols.size() / 2) + ": expected two symbols, got " + quote(line));
        }
        mergeSymbols.add(line.substring(0, space));
        mergeSymbols.add(line.substring(space + 1));
    }

    private void readTokenizer(JsonParser json) throws IOException {
        json.nextToken();
        expect(json, JsonToken.START_OBJECT, "", "an object");
        ObjectMapper mapper = new ObjectMapper();
        JsonNode preTokenizer = mapper.missingNode();
        boolean model = false;
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            String field = json.currentName();
            json.nextToken();
            switch (field) {
                case "added_tokens" -> readAddedTokens(mapper.readTree(json));
                case "normalizer" -> require(mapper.readTree(json), " normalizer", "null", JsonNode::isNull);
                case "pre_tokenizer" -> preTokenizer = mapper.readTree(json);
                case "model" -> {
                    readModel(json, mapper);
                    model = true;
                }
                default -> json.skipChildren(); // decides nothing about which ids a text has
            }
        }
        if (!model) {
            throw new IOException(file + " model: expected an object, got none");
        }
        require(
                preTokenizer.path("type"),
                " pre_tokenizer.type",
                "\"ByteLevel\"",
                node -> node.asText().equals("ByteLevel"));
        require(
                preTokenizer.path("add_prefix_space"),
                " pre_tokenizer.add_prefix_space",
                "false",
                node -> !node.asBoolean(true));
        require(preTokenizer.path("use_regex"), " pre_tokenizer.use_regex", "true", node -> node.asBoolean(true));
    }

    private void readAddedTokens(JsonNode tokens) throws IOException {
        require(tokens, " added_tokens", "an array", node -> node.isArray() || node.isNull());
        for (int i = 0; i < tokens.size(); i++) {
            String place = " added_tokens[" + i + "]";
            JsonNode token = tokens.get(i);
            require(token.path("id"), place + ".id", "an integer id", JsonNode::isInt);
            require(
                    token.path("content"),
                    place + ".content",
                    "some text",
                    node -> !node.asText().isEmpty());
            for (String flag : List.of("lstrip", "rstrip", "single_word")) {
                require(token.path(flag), place + "." + flag, "false", node -> !node.asBoolean(false));
            }
            String content = token.get("content").asText();
            if (specialTokens.put(content, token.get("id").asInt()) != null) {
                throw new IOException(file + place + ": expected each token once, got " + quote(content) + " twice");
            }
        }
    }

    private void readModel(JsonParser json, ObjectMapper mapper) throws IOException {
        expect(json, JsonToken.START_OBJECT, " model", "an object");
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            String field = json.currentName();
            String place = " model." + field;
            json.nextToken();
            switch (field) {
                case "vocab" -> readVocabulary(json, place);
                case "merges" -> readMerges(json, place);
                case "type" ->
                    require(
                            mapper.readTree(json),
                            place,
                            "\"BPE\"",
                            node -> node.asText().equals("BPE"));
                case "dropout" -> require(mapper.readTree(json), place, "null", node -> node.asDouble() == 0);
                case "continuing_subword_prefix", "end_of_word_suffix" ->
                    require(
                            mapper.readTree(json),
                            place,
                            "null",
                            node -> node.isNull() || node.asText().isEmpty());
                case "byte_fallback", "ignore_merges" ->
                    require(mapper.readTree(json), place, "false", node -> !node.asBoolean());
                default -> json.skipChildren(); // with all bytes in the vocabulary, no token is ever unknown
            }
        }
    }

    /** Reads an array whose elements are {@code "a b"} or {@code ["a", "b"]}. */
    private void readMerges(JsonParser json, String place) throws IOException {
        expect(json, JsonToken.START_ARRAY, place, "an array of merges");
        for (int i = 0; json.nextToken() != JsonToken.END_ARRAY; i++) {
            if (json.currentToken() == JsonToken.START_ARRAY) {
                int before = mergeSymbols.size();
                while (json.nextToken() != JsonToken.END_ARRAY) {
                    expect(json, JsonToken.VALUE_STRING, place + "[" + i + "]", "two symbols");
                    mergeSymbols.add(json.getText());
                }
                if (mergeSymbols.size() != before + 2) {
                    throw new IOException(mergePlace.apply(i) + ": expected two symbols, got "
                            + mergeSymbols.subList(before, mergeSymbols.size()));
                }
            } else {
                expect(json, JsonToken.VALUE_STRING, place + "[" + i + "]", "two symbols");
                addMerge(json.getText());
            }
        }
    }

    private void expect(JsonParser json, JsonToken token, String place, String expected) throws IOException {
        if (json.currentToken() != token) {
            throw new IOException(file + place + ": expected " + expected + ", got " + got(json));
        }
    }

    private void require(JsonNode node, String place, String expected, Predicate<JsonNode> rule) throws IOException {
        if (!rule.test(node)) {
            String got = node.isMissingNode() ? "none" : node.toString();
            throw new IOException(file + place + ": expected " + expected + ", got " + got);
        }
    }

    private static String got(JsonParser json) throws IOException {
        if (json.currentToken() == null) {
            return "the end of the file";
        }
        return json.currentToken() == JsonToken.VALUE_STRING ? quote(json.getText()) : json.getText();
    }

    private static String quote(String text) {
        return '"' + text + '"';
    }

    private BpeModel build() throws IOException {
        byte[][] tokens = tokensById();
        TokenTable vocabulary = new TokenTable(tokens);
        for (int i = 0; i < names.size(); i++) {
            if (!specialTokens.containsKey(names.get(i)) && !vocabulary.add(ids[i])) {
                throw new IOException(file + ": expected each token once, got " + quote(names.get(i)) + " twice");
            }
        }
        for (int b = 0; b < 256; b++) {
            if (vocabulary.get(new byte[] {(byte) b}, 0, 1) < 0) {
                throw new IOException("%s: expected a token for each byte, got no \"%c\" for byte 0x%02X"
                        .formatted(file, ByteSymbols.symbol(b), b));
            }
        }
        return new BpeModel(tokens, vocabulary, mergeTable(vocabulary), specialTokens);
    }

    private byte[][] tokensById() throws IOException {
        int size = names.size() + specialTokens.size();
        for (int i = 0; i < names.size(); i++) {
            String name = names.get(i);
            if (specialTokens.containsKey(name)) { // a special token may be in the vocabulary too
                size--;
                int id = specialTokens.get(name);
                if (id != ids[i]) {
                    throw new IOException(
                            file + ": expected one id of " + quote(name) + ", got " + ids[i] + " and " + id);
                }
            }
        }
        byte[][] tokens = new byte[size][];
        for (int i = 0; i < names.size(); i++) {
            String name = names.get(i);
            if (!specialTokens.containsKey(name)) {
                if (name.isEmpty() || !ByteSymbols.areSymbols(name)) {
                    throw new IOException(file + ": expected tokens written in byte symbols, got " + quote(name));
                }
                put(tokens, ids[i], ByteSymbols.toBytes(name), name);
            }
        }
        for (Map.Entry<String, Integer> special : specialTokens.entrySet()) {
            put(tokens, special.getValue(), special.getKey().getBytes(UTF_8), special.getKey());
        }
        return tokens;
    }

    private void put(byte[][] tokens, int id, byte[] token, String name) throws IOException {
        if (id < 0 || id >= tokens.length) {
            throw new IOException(file + ": expected ids 0 to " + (tokens.length - 1) + " for " + tokens.length
                    + " tokens, got " + id + " for " + quote(name));
        }
        if (tokens[id] != null) {
            throw new IOException(
                    file + ": expected one token for each id, got a second one, " + quote(name) + ", for " + id);
        }
        tokens[id] = token;
    }

    private MergeTable mergeTable(TokenTable vocabulary) throws IOException {
        int count = mergeSymbols.size() / 2;
        MergeTable merges = new MergeTable(count);
        for (int rank = 0; rank < count; rank++) {
            String leftSymbols = mergeSymbols.get(2 * rank);
            String rightSymbols = mergeSymbols.get(2 * rank + 1);
            int left = id(vocabulary, leftSymbols, rank);
            int right = id(vocabulary, rightSymbols, rank);
            int merged = id(vocabulary, leftSymbols + rightSymbols, rank);
            if (!merges.add(left, right, rank, merged)) {
                throw new IOException(mergePlace.apply(rank) + ": expected each merge once, got "
                        + quote(leftSymbols + " " + rightSymbols) + " again");
            }
        }
        return merges;
    }

    private int id(TokenTable vocabulary, String symbols, int rank) throws IOException {
        if (ByteSymbols.areSymbols(symbols)) {
            byte[] bytes = ByteSymbols.toBytes(symbols);
            int id = vocabulary.get(bytes, 0, bytes.length);
            if (id >= 0) {
                return id;
            }
        }
        throw new IOException(mergePlace.apply(rank) + ": expected parts and product that are in the vocabulary, got "
                + quote(symbols));
    }
}
