package io.github.loomtorch.json;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BadJsonTest {
    private static final JsonMapper JSON = JsonMapper.builder()
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\'',
            value = {
                "\"a\" \"b\" | ' line 1 column 5' | more after the first value",
                "{ | ' line 1 column 2' | Unexpected end-of-input: expected close marker for Object",
                "[1} | ' line 1 column 3' | Unexpected close marker '}': expected ']'",
                "NaN | ' line 1 column 4' | Non-standard token 'NaN'",
            })
    void namesNothingOfJackson(String text, String place, String reason) {
        BadJson bad = BadJson.of(assertThrows(JsonProcessingException.class, () -> JSON.readTree(text)));
        assertEquals(place, bad.place());
        assertEquals(reason, bad.reason());
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8); // another parser, whose columns differ for some errors
        assertEquals(
                reason,
                BadJson.of(assertThrows(JsonProcessingException.class, () -> JSON.readTree(bytes)))
                        .reason());
    }

    @Test
    void aLimitIsNotNamedAsASetting() {
        String deep = "[".repeat(2000);
        assertEquals(
                "Document nesting depth (1001) exceeds the maximum allowed (1000)",
                BadJson.of(assertThrows(JsonProcessingException.class, () -> JSON.readTree(deep)))
                        .reason());
    }
}
