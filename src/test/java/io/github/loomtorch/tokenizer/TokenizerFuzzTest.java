package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.api.FuzzedDataProvider;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;

/**
 * Reads hostile files of a tokenizer, and encodes and decodes any text. {@code JAZZER_FUZZ=1 mvn test
 * -Dtest=TokenizerFuzzTest#METHOD} fuzzes one method; otherwise only the inputs in {@code src/test/resources} are
 * tried.
 */
@Tag("fuzz")
@Timeout(600)
class TokenizerFuzzTest {

    private static final String TEXT = "Hello, 世界! <|endoftext|> it's 12  \r\n\u00A0x";

    private static final List<String> KINDS = List.of(
            "plain",
            "added-flags",
            "normalizers",
            "template-both",
            "split-prefix-space-split",
            "no-regex",
            "ignore-merges",
            "missing-bytes-fused",
            "pair-bos-eos");

    private static final List<BpeTokenizer> TOKENIZERS = new ArrayList<>();

    static {
        try {
            TOKENIZERS.add(BpeTokenizer.gpt2());
            for (String kind : KINDS) {
                TOKENIZERS.add(BpeTokenizer.load(Path.of("src/test/resources/tokenizers", kind)));
            }
        } catch (IOException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private interface Loader {
        BpeTokenizer load() throws IOException;
    }

    /** A file is refused with one short sentence, or makes a tokenizer that works. */
    private static void assertLoadsOrIsRefused(Loader loader) {
        BpeTokenizer tokenizer;
        try {
            tokenizer = loader.load();
        } catch (IOException e) {
            assertFalse(e.getMessage().isBlank());
            assertTrue(e.getMessage().length() < 1500, e.getMessage());
            return;
        }
        try {
            assertWorks(tokenizer, TEXT);
        } catch (IllegalArgumentException e) { // documented: the file's normalizer makes the text too long
            assertTrue(e.getMessage().startsWith("normalized text must be at most 64 times"), e.getMessage());
        }
    }

    private static void assertWorks(BpeTokenizer tokenizer, String text) {
        for (int[] ids : List.of(tokenizer.encode(text), tokenizer.encodeWithSpecialTokens(text))) {
            String decoded = tokenizer.decode(ids);
            IncrementalDecoder decoder = new IncrementalDecoder(tokenizer);
            StringBuilder parts = new StringBuilder();
            for (int id : ids) {
                parts.append(decoder.append(id));
            }
            assertEquals(decoded, parts.append(decoder.flush()).toString());
        }
        if (tokenizer.isLossless()) { // a template may add tokens before and after the text
            String decoded = tokenizer.decode(tokenizer.encode(text));
            assertTrue(decoded.contains(new String(text.getBytes(UTF_8), UTF_8)), decoded);
        }
    }

    @FuzzTest(maxDuration = "3m")
    void tokenizerJson(byte[] bytes) {
        assertLoadsOrIsRefused(() -> TokenizerJson.read(new JsonFile("tokenizer.json", bytes), TokenizerConfig.none()));
    }

    @FuzzTest(maxDuration = "3m")
    void vocabulary(byte[] bytes) {
        assertLoadsOrIsRefused(() -> VocabAndMerges.read(
                new JsonFile("vocab.json", bytes), new byte[0], "merges.txt", TokenizerConfig.none()));
    }

    @FuzzTest(maxDuration = "3m")
    void merges(byte[] bytes) {
        StringBuilder vocabulary = new StringBuilder("{\"ab\": 256, \"abc\": 257, \"<|endoftext|>\": 258");
        for (int b = 0; b < 256; b++) {
            String symbol = Character.toString(ByteSymbols.symbol(b));
            vocabulary.append(symbol.equals("\"") || symbol.equals("\\") ? ", \"\\" : ", \"");
            vocabulary.append(symbol).append("\": ").append(b);
        }
        byte[] json = vocabulary.append('}').toString().getBytes(UTF_8);
        assertLoadsOrIsRefused(() ->
                VocabAndMerges.read(new JsonFile("vocab.json", json), bytes, "merges.txt", TokenizerConfig.none()));
    }

    @FuzzTest(maxDuration = "3m")
    void anyText(FuzzedDataProvider data) {
        BpeTokenizer tokenizer = data.pickValue(TOKENIZERS);
        assertWorks(tokenizer, data.consumeRemainingAsString());
    }

    @FuzzTest(maxDuration = "3m")
    void anyIds(FuzzedDataProvider data) {
        BpeTokenizer tokenizer = data.pickValue(TOKENIZERS);
        int[] ids = data.consumeInts(data.remainingBytes());
        for (int i = 0; i < ids.length; i++) {
            ids[i] = Math.floorMod(ids[i], tokenizer.vocabSize());
        }
        String decoded = tokenizer.decode(ids);
        IncrementalDecoder decoder = new IncrementalDecoder(tokenizer);
        StringBuilder parts = new StringBuilder();
        for (int id : ids) {
            parts.append(decoder.append(id));
        }
        assertEquals(decoded, parts.append(decoder.flush()).toString());
    }
}
