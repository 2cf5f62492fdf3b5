package io.github.loomtorch.model;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParseException;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.github.loomtorch.json.BadJson;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * A JSON object whose fields are read by type. Any violation is an {@link IOException} that says where. The syntax is
 * that of Python's {@code json} module: {@code NaN} and {@code Infinity} are numbers, and of a key that is there twice
 * the last value counts. Immutable.
 */
record Json(String where, JsonNode node) {
    /** Maximum size of a JSON file: enough for any configuration or index, little enough to parse in a small heap. */
    static final int MAX_BYTES = 4 << 20;

    /** A parser only: Jackson's mapper would take longer to load than a small model's weights. */
    private static final JsonFactory PARSERS = JsonFactory.builder()
            .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
            .build();

    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;
    private static final int MAX_QUOTED_CHARS = 100;

    /** Reads a file of at most {@link #MAX_BYTES}. */
    static Json read(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            if (channel.size() > MAX_BYTES) {
                throw new IOException(
                        file + ": size must be <= " + MAX_BYTES + " bytes for a JSON file, got " + channel.size());
            }
            return parse(
                    file.toString(),
                    ModelFiles.read(file, channel, 0, (int) channel.size()).array());
        }
    }

    /**
     * Parses {@code bytes}, UTF-8, found at {@code where} (a file, and the part of it), which every message begins
     * with.
     */
    static Json parse(String where, byte[] bytes) throws IOException {
        JsonNode node;
        try (JsonParser parser = PARSERS.createParser(bytes)) {
            parser.nextToken();
            node = tree(parser);
            if (parser.nextToken() != null) {
                throw new JsonParseException(parser, "more after the first value");
            }
        } catch (JsonProcessingException e) {
            throw bad(where, BadJson.of(e), e);
        } catch (IOException e) { // of characters
            throw bad(where, new BadJson(0, 0, String.valueOf(e.getMessage())), e);
        }
        return of(where, node);
    }

    /** The value that the parser is at. Its depth, and so the recursion's, is at most Jackson's limit of 1,000. */
    private static JsonNode tree(JsonParser parser) throws IOException {
        JsonToken token = parser.currentToken();
        if (token == null) {
            return MissingNode.getInstance();
        }
        return switch (token) {
            case START_OBJECT -> {
                ObjectNode object = NODES.objectNode();
                while (parser.nextToken() == JsonToken.FIELD_NAME) {
                    String key = parser.currentName();
                    parser.nextToken();
                    object.set(key, tree(parser));
                }
                yield object;
            }
            case START_ARRAY -> {
                ArrayNode array = NODES.arrayNode();
                while (parser.nextToken() != JsonToken.END_ARRAY) {
                    array.add(tree(parser));
                }
                yield array;
            }
            case VALUE_NUMBER_INT ->
                switch (parser.getNumberType()) {
                    case INT -> NODES.numberNode(parser.getIntValue());
                    case LONG -> NODES.numberNode(parser.getLongValue());
                    default -> NODES.numberNode(parser.getBigIntegerValue());
                };
            case VALUE_NUMBER_FLOAT -> NODES.numberNode(parser.getDoubleValue());
            case VALUE_TRUE, VALUE_FALSE -> NODES.booleanNode(token == JsonToken.VALUE_TRUE);
            case VALUE_NULL -> NODES.nullNode();
            default -> NODES.textNode(parser.getText());
        };
    }

    private static IOException bad(String where, BadJson bad, IOException cause) {
        return new IOException(
                where + bad.place() + ": expected a JSON object, got bad JSON: " + shorten(bad.reason()), cause);
    }

    static Json of(String where, JsonNode node) throws IOException {
        if (!node.isObject()) {
            throw new IOException(where + ": expected a JSON object, got " + quote(node));
        }
        return new Json(where, node);
    }

    /** An object of those entries whose values are integers, booleans or strings. */
    static Json of(String where, Map<?, ?> entries) {
        ObjectNode node = NODES.objectNode();
        entries.forEach((key, value) -> {
            switch (value) {
                case Long integer -> node.put(String.valueOf(key), integer);
                case Boolean bool -> node.put(String.valueOf(key), bool);
                case String text -> node.put(String.valueOf(key), text);
                default -> {} // of no use here
            }
        });
        return new Json(where, node);
    }

    boolean has(String key) {
        return node.has(key);
    }

    /** Whether the field has a value other than null. */
    boolean hasValue(String key) {
        return node.hasNonNull(key);
    }

    /** The field's value, a {@link MissingNode} if there is no such field. */
    JsonNode get(String key) {
        return node.path(key);
    }

    /** The field is required. */
    int integer(String key) throws IOException {
        JsonNode value = get(key);
        if (!value.isIntegralNumber() || !value.canConvertToInt()) {
            throw must(key, "be a 32-bit integer");
        }
        return value.intValue();
    }

    /** The field may be absent or null. */
    int integer(String key, int absent) throws IOException {
        return hasValue(key) ? integer(key) : absent;
    }

    /** The field may be absent or null. */
    double number(String key, double absent) throws IOException {
        if (!hasValue(key)) {
            return absent;
        }
        if (!get(key).isNumber()) {
            throw must(key, "be a number");
        }
        return get(key).doubleValue();
    }

    /** The field may be absent or null. */
    boolean bool(String key, boolean absent) throws IOException {
        if (!hasValue(key)) {
            return absent;
        }
        if (!get(key).isBoolean()) {
            throw must(key, "be true or false");
        }
        return get(key).booleanValue();
    }

    /** The field is required. */
    String string(String key) throws IOException {
        if (!get(key).isTextual()) {
            throw must(key, "be a string");
        }
        return get(key).textValue();
    }

    /** The field may be absent or null. */
    String string(String key, String absent) throws IOException {
        return hasValue(key) ? string(key) : absent;
    }

    /** Token ids: one, or an array of them; none where the field is absent or null. */
    List<Integer> ids(String key) throws IOException {
        JsonNode value = get(key);
        if (!hasValue(key)) {
            return List.of();
        }
        List<Integer> ids = new ArrayList<>();
        for (JsonNode id : value.isArray() ? value : List.of(value)) {
            if (!id.isIntegralNumber() || !id.canConvertToInt()) {
                throw must(key, "be an integer, an array of integers or null");
            }
            ids.add(id.intValue());
        }
        return ids;
    }

    /** An array of integers &gt;= 0; the field is required. */
    long[] sizes(String key) throws IOException {
        JsonNode value = get(key);
        long[] sizes = new long[value.size()];
        boolean ok = value.isArray();
        for (int i = 0; ok && i < sizes.length; i++) {
            sizes[i] = value.get(i).longValue();
            ok = value.get(i).isIntegralNumber() && value.get(i).canConvertToLong() && sizes[i] >= 0;
        }
        if (!ok) {
            throw must(key, "be an array of 64-bit integers >= 0");
        }
        return sizes;
    }

    /** The failure of a field that does not follow its rule. */
    IOException must(String key, String rule) {
        return new IOException(where + ": " + shorten(key) + " must " + rule + ", got " + quote(get(key)));
    }

    private static String quote(JsonNode value) {
        return value.isMissingNode() ? "nothing" : shorten(value.toString());
    }

    /** Text from a file, short enough for a message. */
    static String shorten(String text) {
        return text.length() <= MAX_QUOTED_CHARS ? text : text.substring(0, MAX_QUOTED_CHARS) + "...";
    }
}
