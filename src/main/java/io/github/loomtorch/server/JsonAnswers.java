package io.github.loomtorch.server;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;

/** Writes JSON. */
final class JsonAnswers {
    private static final JsonFactory FACTORY = new JsonFactory();

    private JsonAnswers() {}

    /** Writes one value. */
    @FunctionalInterface
    interface Body {
        void write(JsonGenerator json) throws IOException;
    }

    static byte[] write(Body body) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(512);
        write(bytes, body);
        return bytes.toByteArray();
    }

    /** Appends a value. */
    static void write(ByteArrayOutputStream bytes, Body body) {
        try (JsonGenerator json = FACTORY.createGenerator(bytes)) {
            body.write(json);
        } catch (IOException e) {
            throw new UncheckedIOException(e); // an array in memory takes all
        }
    }

    static byte[] error(ApiException error) {
        return write(json -> error(json, error));
    }

    static void error(JsonGenerator json, ApiException error) throws IOException {
        json.writeStartObject();
        json.writeObjectFieldStart("error");
        json.writeStringField("message", error.message());
        json.writeStringField("type", error.type());
        json.writeStringField("param", error.parameter().orElse(null));
        json.writeNumberField("code", error.status());
        json.writeEndObject();
        json.writeEndObject();
    }
}
