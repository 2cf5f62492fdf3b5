package io.github.loomtorch.tokenizer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Files that would fill the heap or the stack are refused in one sentence. */
@Timeout(60)
class TokenizerLimitsTest {

    @TempDir
    private Path directory;

    private void assertRefused(String message, String json) throws IOException {
        Path file = Files.writeString(directory.resolve("tokenizer.json"), json);
        assertEquals(
                file + message,
                assertThrows(IOException.class, () -> BpeTokenizer.load(directory))
                        .getMessage());
    }

    @Test
    void aHugeFile() throws IOException {
        for (String name : new String[] {"tokenizer.json", "tokenizer_config.json"}) {
            Path file = directory.resolve(name);
            try (RandomAccessFile huge = new RandomAccessFile(file.toFile(), "rw")) {
                huge.setLength(3_000_000_000L); // sparse
            }
            assertEquals(
                    file + ": expected at most 33554432 bytes, got 3000000000",
                    assertThrows(IOException.class, () -> BpeTokenizer.load(directory))
                            .getMessage());
        }
    }

    @Test
    @DisabledOnOs(OS.WINDOWS) // where a link needs a privilege
    void aLinkOutOfTheDirectory(@TempDir Path elsewhere) throws IOException {
        Path secret = Files.writeString(elsewhere.resolve("secret"), "{}").toRealPath();
        for (String name :
                List.of("tokenizer.json", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json")) {
            Path link = Files.createSymbolicLink(directory.resolve(name), secret);
            assertEquals(
                    link + ": link must stay in the directory, got one to " + secret
                            + "; copy the file, or name the directory that it is in",
                    assertThrows(IOException.class, () -> BpeTokenizer.load(directory))
                            .getMessage());
            Files.delete(link);
        }
    }

    @Test
    @DisabledOnOs(OS.WINDOWS)
    void aLinkIntoHuggingFacesBlobsIsFine() throws IOException {
        Path blobs = Files.createDirectories(directory.resolve("blobs"));
        Path snapshot = Files.createDirectories(directory.resolve("snapshots").resolve("abc"));
        Files.copy(Path.of("src/test/resources/tokenizers/plain/tokenizer.json"), blobs.resolve("0123"));
        Files.createSymbolicLink(snapshot.resolve("tokenizer.json"), Path.of("../../blobs/0123"));
        assertEquals(401, BpeTokenizer.load(snapshot).vocabSize());
    }

    @Test
    void deepJson() throws IOException {
        String message =
                ": expected JSON of a tokenizer, got: Document nesting depth (101) exceeds the maximum allowed (100)";
        String deep = "[".repeat(1_000_000);
        assertRefused(": expected an object, got [", deep);
        assertRefused(message, "{\"normalizer\": " + deep);
        assertRefused(message, "{\"unknown\": " + deep);
        assertRefused(message, "{\"normalizer\": " + "{\"a\": ".repeat(1_000_000));
    }

    @Test
    void longTextAndNumbers() throws IOException {
        assertRefused(
                ": expected JSON of a tokenizer, got: String value length (1048577) exceeds the maximum allowed (1048576)",
                "{\"normalizer\": \"" + "x".repeat(1_048_577) + "\"}");
        assertRefused(
                ": expected JSON of a tokenizer, got: Number value length (1001) exceeds the maximum allowed (1000)",
                "{\"model\": {\"vocab\": {\"a\": " + "1".repeat(1001) + "}}}");
        assertRefused(
                ": expected JSON of a tokenizer, got: Name length (50001) exceeds the maximum allowed (50000)",
                "{\"" + "x".repeat(50_001) + "\": 1}");
    }

    @Test
    void quotedTextIsShort() throws IOException {
        assertRefused(
                " model: expected an object, got \"" + "x".repeat(200) + "...\"",
                "{\"model\": \"" + "x".repeat(9999) + "\"}");
    }

    @Test
    void manyValues() throws IOException {
        assertRefused(
                ": expected JSON of a tokenizer, got: more than 500000 values beside the vocabulary and the merges",
                "{\"normalizer\": [" + "0,".repeat(600_000) + "0]}");
    }

    @Test
    void manyTokens() throws IOException {
        String vocabulary = IntStream.rangeClosed(0, BpeModelBuilder.MAX_TOKENS)
                .mapToObj(i -> "\"" + i + "\":" + i)
                .collect(Collectors.joining(","));
        assertRefused(
                " model.vocab: expected at most 262144 tokens, got more",
                "{\"model\": {\"vocab\": {" + vocabulary + "}, \"merges\": []}}");
    }

    @Test
    void manyMerges() throws IOException {
        String merges = "\"a a\",".repeat(BpeModelBuilder.MAX_MERGES);
        assertRefused(
                " model.merges[1048576]: expected at most 1048576 merges, got more",
                "{\"model\": {\"vocab\": {\"a\": 0, \"aa\": 1}, \"merges\": [" + merges + "\"a a\"]}}");
    }

    @Test
    void longAddedTokens() throws IOException {
        assertRefused(
                " added_tokens[0].content: expected at most 512 characters, got \"" + "x".repeat(199) + "...",
                "{\"added_tokens\": [{\"id\": 1, \"content\": \"" + "x".repeat(513) + "\"}]}");
    }

    @Test
    void manyCombiningMarks() throws IOException {
        BpeTokenizer tokenizer = BpeTokenizer.load(Path.of("src/test/resources/tokenizers/nfc"));
        String marks = "\u0315\u0300".repeat(500);
        tokenizer.encode("a" + marks + "b" + marks);
        assertEquals(
                "text must have at most 1000 combining marks in a row, got more",
                assertThrows(IllegalArgumentException.class, () -> tokenizer.encode("a" + marks + "\uD834\uDD65"))
                        .getMessage());
    }

    private static String plainWith(String normalizer, String addedToken) throws IOException {
        return Files.readString(Path.of("src/test/resources/tokenizers/plain/tokenizer.json"))
                .replace("\"normalizer\":null", "\"normalizer\":" + normalizer)
                .replace("\"added_tokens\":[", "\"added_tokens\":[" + addedToken + ",");
    }

    @Test
    void manyNormalizers() throws IOException {
        String normalizer = "{\"type\": \"Sequence\", \"normalizers\": ["
                + "{\"type\": \"NFC\"},".repeat(Normalizer.MAX_COUNT - 1) + "{\"type\": \"NFC\"}]}";
        String json = plainWith(normalizer, "{\"id\": 401, \"content\": \"<x>\"}");
        assertEquals(
                " normalizer: expected at most 32 normalizers",
                assertThrows(IOException.class, () -> read(json)).getMessage().replaceAll("^.*json|, got.*", ""));
    }

    private static BpeTokenizer read(String json) throws IOException {
        return TokenizerJson.read(
                new JsonFile("tokenizer.json", json.getBytes(StandardCharsets.UTF_8)), TokenizerConfig.none());
    }

    @Test
    void anAddedTokenThatANormalizerMakesHuge() throws IOException {
        String normalizer =
                "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"" + "b".repeat(512) + "\"}";
        String json =
                plainWith(normalizer, "{\"id\": 401, \"content\": \"" + "a".repeat(100) + "\", \"normalized\": true}");
        assertEquals(
                "tokenizer.json: added token \"" + "a".repeat(100)
                        + "\": normalized text must be at most 64 times as long as the text, got more for 100 characters",
                assertThrows(IOException.class, () -> read(json)).getMessage());
    }

    @Test
    void longAddedTokensTogether() throws IOException {
        String tokens = IntStream.range(0, 2049)
                .mapToObj(i -> "{\"id\": " + (401 + i) + ", \"content\": \"" + (10_000 + i) + "x".repeat(507) + "\"}")
                .collect(Collectors.joining(","));
        assertEquals(
                "tokenizer.json: expected added tokens of at most 1048576 characters together, got 1049101",
                assertThrows(IOException.class, () -> read(plainWith("null", tokens)))
                        .getMessage());
    }

    @Test
    void textThatANormalizerMakesHuge() throws IOException {
        String twice = "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aa\"},";
        String normalizer = "{\"type\": \"Sequence\", \"normalizers\": [" + twice.repeat(20) + "{\"type\": \"NFC\"}]}";
        Path file = Files.writeString(
                directory.resolve("tokenizer.json"),
                Files.readString(Path.of("src/test/resources/tokenizers/plain/tokenizer.json"))
                        .replace("\"normalizer\":null", "\"normalizer\":" + normalizer));
        BpeTokenizer tokenizer = BpeTokenizer.load(file);
        assertEquals(
                "normalized text must be at most 64 times as long as the text, got more for 1000 characters",
                assertThrows(IllegalArgumentException.class, () -> tokenizer.encode("a".repeat(1000)))
                        .getMessage());
    }
}
