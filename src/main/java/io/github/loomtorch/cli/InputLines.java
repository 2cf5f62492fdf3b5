package io.github.loomtorch.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.loomtorch.json.BadJson;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * UTF-8 text of a file or of standard input, whole or line by line, without a byte order mark. Confined to one thread.
 */
final class InputLines implements AutoCloseable {
    static final Path STANDARD_INPUT = Path.of("-");

    private static final String BYTE_ORDER_MARK = "\uFEFF";
    private static final JsonMapper JSON = JsonMapper.builder()
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();

    private final InputStream in;
    private final String name;
    private final boolean isFile;
    private byte[] line = {};
    private int number;

    InputLines(InputStream in, String name, boolean isFile) {
        this.in = new BufferedInputStream(in);
        this.name = name;
        this.isFile = isFile;
    }

    /** Opens a file; {@link #STANDARD_INPUT} is not a file. */
    static InputLines open(Path file) throws IOException {
        if (Files.isDirectory(file)) {
            throw new IOException(file + ": expected a file, got a directory");
        }
        return file.equals(STANDARD_INPUT)
                ? new InputLines(System.in, "standard input", false)
                : new InputLines(Files.newInputStream(file), file.toString(), true);
    }

    /** All that is left. */
    String rest() throws IOException {
        return utf8(in.readAllBytes(), name, number == 0);
    }

    /** Goes on to the next line; false at the end. A line ends with a line feed or with the input. */
    boolean next() throws IOException {
        int b = in.read();
        if (b < 0) {
            return false;
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        for (; b >= 0 && b != '\n'; b = in.read()) {
            bytes.write(b);
        }
        line = bytes.toByteArray();
        number++;
        return true;
    }

    /** Number of the line, from 1. */
    int number() {
        return number;
    }

    /** Names the input and the line. */
    String where() {
        return name + " line " + number;
    }

    /**
     * The line's JSON value.
     *
     * @param wanted what is expected, for the sentence of a failure
     * @throws IOException if the line is not UTF-8 or not JSON
     */
    JsonNode json(String wanted) throws IOException {
        String text = utf8(line, where(), number == 1);
        try {
            return JSON.readTree(text);
        } catch (JsonProcessingException e) {
            BadJson bad = BadJson.of(e);
            throw new IOException(
                    ErrorText.cut(
                            where() + bad.placeInLine() + ": expected " + wanted + ", got bad JSON: " + bad.reason(),
                            text),
                    e);
        }
    }

    /** The failure of a line, or of a place in it, that has another JSON value than is wanted. */
    static IOException mismatch(JsonNode value, String where, String wanted) {
        String got = value.isMissingNode() ? "an empty line" : value.toString();
        return new IOException(ErrorText.cut(where + ": expected " + wanted + ", got " + got, got));
    }

    /** The text of a field, if an object has it. */
    static Optional<String> text(JsonNode object, String field) {
        return Optional.ofNullable(object.get(field))
                .filter(JsonNode::isTextual)
                .map(JsonNode::textValue);
    }

    private static String utf8(byte[] bytes, String where, boolean fromStart) throws IOException {
        try {
            String text = StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
            return fromStart && text.startsWith(BYTE_ORDER_MARK) ? text.substring(1) : text;
        } catch (CharacterCodingException e) {
            throw new IOException(where + ": expected UTF-8, got malformed bytes", e);
        }
    }

    /** Closes a file; another thread may still read standard input. */
    @Override
    public void close() throws IOException {
        if (isFile) {
            in.close();
        }
    }
}
