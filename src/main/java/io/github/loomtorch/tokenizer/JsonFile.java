package io.github.loomtorch.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.core.util.JsonParserDelegate;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import io.github.loomtorch.json.BadJson;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Predicate;

/**
 * The bytes of one JSON file, and the errors about it.
 *
 * <p>It accepts what Python's {@code json} module accepts: {@code NaN}, {@code Infinity}, and a key given twice, of
 * which the last counts. Size, depth, text length and the number of values are bounded, so a hostile file is refused
 * instead of filling the heap.
 */
final class JsonFile {

    /** Largest file that is read, in bytes: several times the largest published byte-level BPE tokenizer. */
    static final int MAX_BYTES = 32 << 20;

    /** Largest number of JSON tokens in a part that is read as a tree. */
    private static final int MAX_TREE_TOKENS = 500_000;

    /** No symbol table of field names: those of a vocabulary are all different. */
    private static final JsonFactory JSON = JsonFactory.builder()
            .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
            .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
            .streamReadConstraints(StreamReadConstraints.builder()
                    .maxNestingDepth(100)
                    .maxStringLength(1 << 20)
                    .build())
            .build();

    private static final int QUOTED_CHARACTERS = 200;

    /** Reads from a parser; see {@link #parse}. */
    interface Reader {
        void read(JsonParser json) throws IOException;
    }

    private final String name;
    private final byte[] bytes;

    /**
     * A file that was read already.
     *
     * @param name what errors begin with
     */
    JsonFile(String name, byte[] bytes) {
        this.name = name;
        this.bytes = bytes;
    }

    static JsonFile read(Path path) throws IOException {
        return new JsonFile(path.toString(), readBytes(path));
    }

    /** Reads a whole file of at most {@link #MAX_BYTES} bytes. */
    static byte[] readBytes(Path path) throws IOException {
        if (!Files.isRegularFile(path)) {
            throw new IOException(path + ": expected a file, got " + (Files.exists(path) ? "a directory" : "none"));
        }
        long size = Files.size(path);
        if (size > MAX_BYTES) {
            throw new IOException(path + ": expected at most " + MAX_BYTES + " bytes, got " + size);
        }
        return Files.readAllBytes(path);
    }

    /** Runs {@code reader} on the file's only value: the parser is at its first token, and must end at its last. */
    void parse(Reader reader) throws IOException {
        try (JsonParser json = JSON.createParser(bytes)) {
            json.nextToken();
            reader.read(json);
            if (json.nextToken() != null) {
                throw new IOException(name + ": expected one JSON object, got more after it");
            }
        } catch (StreamConstraintsException e) {
            throw new IOException(
                    name + ": expected JSON of a tokenizer, got: "
                            + BadJson.of(e).reason(),
                    e);
        } catch (JsonProcessingException e) {
            BadJson bad = BadJson.of(e);
            throw new IOException(name + bad.place() + ": expected JSON, got: " + shorten(bad.reason()), e);
        }
    }

    /** The whole file, which must be an object. */
    JsonNode readObject() throws IOException {
        JsonNode[] root = {MissingNode.getInstance()};
        parse(json -> {
            expect(json, JsonToken.START_OBJECT, "", "an object");
            root[0] = tree(json);
        });
        return root[0];
    }

    /** The value that the parser is at. */
    JsonNode tree(JsonParser json) throws IOException {
        return Mapper.INSTANCE.readTree(new BoundedParser(json));
    }

    void expect(JsonParser json, JsonToken token, String place, String expected) throws IOException {
        if (json.currentToken() != token) {
            throw error(place, expected, got(json));
        }
    }

    void require(JsonNode node, String place, String expected, Predicate<JsonNode> rule) throws IOException {
        if (!rule.test(node)) {
            throw error(place, expected, node);
        }
    }

    /**
     * An error about a value.
     *
     * @param place path of the value in the file, empty for the file itself
     */
    IOException error(String place, String expected, JsonNode got) {
        return error(place, expected, got.isMissingNode() ? "none" : shorten(got.toString()));
    }

    IOException error(String place, String expected, String got) {
        return new IOException(name + (place.isEmpty() ? "" : " " + place) + ": expected " + expected + ", got " + got);
    }

    @Override
    public String toString() {
        return name;
    }

    static String quote(String text) {
        return '"' + shorten(text) + '"';
    }

    /** What the parser is at, for an error. */
    static String got(JsonParser json) throws IOException {
        if (json.currentToken() == null) {
            return "the end of the file";
        }
        String text = json.getText();
        return json.currentToken() == JsonToken.VALUE_STRING ? quote(text) : shorten(text);
    }

    private static String shorten(String text) {
        return text.length() <= QUOTED_CHARACTERS ? text : text.substring(0, QUOTED_CHARACTERS) + "...";
    }

    /** In a class of its own, because it is slow to load and GPT-2's two files do not need it. */
    private static final class Mapper {
        static final ObjectMapper INSTANCE = new ObjectMapper();
    }

    /** Refuses a part with too many values before they fill the heap. */
    private static final class BoundedParser extends JsonParserDelegate {
        private int left = MAX_TREE_TOKENS;

        BoundedParser(JsonParser json) {
            super(json);
        }

        @Override
        public JsonToken nextToken() throws IOException {
            if (--left < 0) {
                throw new StreamConstraintsException(
                        "more than " + MAX_TREE_TOKENS + " values beside the vocabulary and the merges");
            }
            return super.nextToken();
        }
    }
}
