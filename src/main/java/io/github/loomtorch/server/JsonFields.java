package io.github.loomtorch.server;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.loomtorch.json.BadJson;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * The fields of a JSON object, read by name and type. A field that is {@code null} counts as absent, as OpenAI's
 * clients send it. Every method throws {@link ApiException} with status 400 that names the field.
 */
record JsonFields(JsonNode object, String prefix) {
    private static final int MAX_QUOTED = 60;
    private static final ObjectReader READER = JsonMapper.builder()
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build()
            .readerFor(JsonNode.class);

    /** Reads a body. */
    static JsonFields parse(byte[] body) {
        try {
            JsonNode node = READER.readTree(body);
            if (!node.isObject()) {
                throw ApiException.badRequest("the body must be a JSON object, got " + describe(node));
            }
            return new JsonFields(node, "");
        } catch (JsonProcessingException e) {
            BadJson bad = BadJson.of(e);
            String in = bad.place().isEmpty() ? "" : " in" + bad.place();
            throw ApiException.badRequest("the body must be JSON, got an error" + in + ": " + bad.reason());
        } catch (IOException e) { // bytes that are no text in the encoding that the body seems to have
            throw ApiException.badRequest("the body must be JSON in UTF-8, got an error: " + e.getMessage());
        }
    }

    boolean has(String name) {
        return object.hasNonNull(name);
    }

    JsonNode get(String name) {
        return object.path(name);
    }

    ApiException bad(String name, String rule) {
        return ApiException.badParameter(prefix + name, rule, describe(get(name)));
    }

    JsonFields object(String name) {
        if (has(name) && !get(name).isObject()) {
            throw bad(name, "be an object");
        }
        return new JsonFields(get(name), prefix + name + ".");
    }

    boolean flag(String name, boolean absent) {
        if (!has(name)) {
            return absent;
        }
        if (!get(name).isBoolean()) {
            throw bad(name, "be true or false");
        }
        return get(name).booleanValue();
    }

    int integer(String name, int absent) {
        return integer(name).orElse(absent);
    }

    OptionalInt integer(String name) {
        return has(name) ? OptionalInt.of(integer(name, get(name))) : OptionalInt.empty();
    }

    private int integer(String name, JsonNode value) {
        if (!isWhole(value) || !value.canConvertToInt()) {
            throw bad(name, "be an integer of 32 bits");
        }
        return value.intValue();
    }

    /** 3.0 is an integer to Python's clients. */
    private static boolean isWhole(JsonNode value) {
        return value.isNumber() && value.doubleValue() == Math.rint(value.doubleValue());
    }

    OptionalLong integer64(String name) {
        if (!has(name)) {
            return OptionalLong.empty();
        }
        if (!isWhole(get(name)) || !get(name).canConvertToLong()) {
            throw bad(name, "be an integer of 64 bits");
        }
        return OptionalLong.of(get(name).longValue());
    }

    float number(String name, float absent) {
        return has(name) ? number(name, get(name)) : absent;
    }

    float number(String name, JsonNode value) {
        if (!value.isNumber() || !Float.isFinite(value.floatValue())) {
            throw bad(name, "be a finite number");
        }
        return value.floatValue();
    }

    Optional<String> text(String name) {
        if (!has(name)) {
            return Optional.empty();
        }
        if (!get(name).isTextual()) {
            throw bad(name, "be a string");
        }
        return Optional.of(get(name).textValue());
    }

    /** A list of strings, or one string. */
    List<String> texts(String name) {
        if (!has(name)) {
            return List.of();
        }
        if (get(name).isTextual()) {
            return List.of(get(name).textValue());
        }
        if (!get(name).isArray()) {
            throw bad(name, "be a string or a list of strings");
        }
        List<String> texts = new ArrayList<>();
        for (JsonNode text : get(name)) {
            if (!text.isTextual()) {
                throw bad(name, "hold strings only");
            }
            texts.add(text.textValue());
        }
        return texts;
    }

    List<Integer> integers(String name) {
        if (!has(name)) {
            return List.of();
        }
        return integers(name, get(name)).stream().toList();
    }

    private List<Integer> integers(String name, JsonNode list) {
        if (!list.isArray()) {
            throw bad(name, "be a list of integers");
        }
        List<Integer> values = new ArrayList<>(list.size());
        for (JsonNode value : list) {
            if (!isWhole(value) || !value.canConvertToInt()) {
                throw bad(name, "hold integers of 32 bits only");
            }
            values.add(value.intValue());
        }
        return values;
    }

    int[] ids(String name, JsonNode list) {
        return integers(name, list).stream().mapToInt(Integer::intValue).toArray();
    }

    /** A value as an error repeats it. */
    static String describe(JsonNode value) {
        if (value.isMissingNode()) {
            return "nothing";
        }
        String text = value.toString();
        if (text.length() <= MAX_QUOTED) {
            return text;
        }
        int end = Character.isHighSurrogate(text.charAt(MAX_QUOTED - 1)) ? MAX_QUOTED - 1 : MAX_QUOTED;
        return text.substring(0, end) + "...";
    }
}
