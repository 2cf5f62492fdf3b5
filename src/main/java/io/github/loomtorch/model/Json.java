package io.github.loomtorch.model;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * A JSON object whose fields are read by type; what is not as it should be is an {@link IOException} that says where.
 * Immutable.
 */
record Json(String where, JsonNode node) {
    private static final JsonMapper MAPPER = JsonMapper.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();
    private static final int MAX_QUOTED_CHARS = 100;

    /**
     * Parses {@code bytes}, UTF-8, found at {@code where} (a file, and the part of it), which every message begins
     * with.
     */
    static Json parse(String where, byte[] bytes) throws IOException {
        try {
            return of(where, MAPPER.readTree(bytes));
        } catch (JsonProcessingException e) {
            String reason =
                    e.getOriginalMessage().lines().findFirst().orElse("").replaceFirst(" \\(start marker at .*", "");
            int line = e.getLocation() == null ? 1 : e.getLocation().getLineNr();
            throw new IOException(where + ": expected a JSON object, got bad JSON in line " + line + ": " + reason, e);
        }
    }

    static Json of(String where, JsonNode node) throws IOException {
        if (!node.isObject()) {
            throw new IOException(where + ": expected a JSON object, got " + quote(node));
        }
        return new Json(where, node);
    }

    boolean has(String key) {
        return node.has(key);
    }

    /** The field's value, a {@link MissingNode} if there is no such field. */
    JsonNode get(String key) {
        return node.path(key);
    }

    int integer(String key, int absent) throws IOException {
        JsonNode value = get(key);
        if (value.isMissingNode()) {
            return absent;
        }
        if (!value.isIntegralNumber() || !value.canConvertToInt()) {
            throw must(key, "be a 32-bit integer");
        }
        return value.intValue();
    }

    double number(String key, double absent) throws IOException {
        JsonNode value = get(key);
        if (value.isMissingNode()) {
            return absent;
        }
        if (!value.isNumber()) {
            throw must(key, "be a number");
        }
        return value.doubleValue();
    }

    boolean bool(String key, boolean absent) throws IOException {
        JsonNode value = get(key);
        if (value.isMissingNode()) {
            return absent;
        }
        if (!value.isBoolean()) {
            throw must(key, "be true or false");
        }
        return value.booleanValue();
    }

    String string(String key, String absent) throws IOException {
        JsonNode value = get(key);
        if (value.isMissingNode()) {
            return absent;
        }
        if (!value.isTextual()) {
            throw must(key, "be a string");
        }
        return value.textValue();
    }

    /** Token ids: one, or an array of them; none where the field is absent or null. */
    List<Integer> ids(String key) throws IOException {
        JsonNode value = get(key);
        if (value.isMissingNode() || value.isNull()) {
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
        return new IOException(where + ": " + key + " must " + rule + ", got " + quote(get(key)));
    }

    private static String quote(JsonNode value) {
        String text = value.isMissingNode() ? "nothing" : value.toString();
        return text.length() <= MAX_QUOTED_CHARS ? text : text.substring(0, MAX_QUOTED_CHARS) + "...";
    }
}
