package io.github.loomtorch.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The tokenizers in {@code src/test/resources/cases/tokenizers}, and what else lies beside a vocabulary. */
@Timeout(60)
class TokenizerCasesTest {

    private static final Path CASES = Path.of("src/test/resources/cases/tokenizers");

    @TempDir
    private Path directory;

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "add-bos-token|he|258 256",
                "template|he|258 256",
                "added-token-not-special|he covid19|256 32 259",
                "unused-bytes-missing|he|256",
                "special-byte|he!|256 33",
                "id-gap|he|256",
                "sequence-of-one|he|256",
            })
    void encodes(String name, String text, String ids) throws IOException {
        assertArrayEquals(ids(ids), BpeTokenizer.load(CASES.resolve(name)).encode(text));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            value = {"added-tokens-json;<|user|> the;260 257 256", "added-token-twice;he<|endoftext|>;256 258"})
    void encodesWithSpecialTokens(String name, String text, String ids) throws IOException {
        assertArrayEquals(ids(ids), BpeTokenizer.load(CASES.resolve(name)).encodeWithSpecialTokens(text));
    }

    private static int[] ids(String text) {
        return Stream.of(text.split(" ")).mapToInt(Integer::parseInt).toArray();
    }

    private String refusal() {
        return assertThrows(IOException.class, () -> BpeTokenizer.ofModel(directory, 50257))
                .getMessage();
    }

    @Test
    void anotherKindOfTokenizerIsNamed() {
        Path model = CASES.resolve("other-tokenizer");
        assertTrue(BpeTokenizer.isIn(model));
        assertEquals(
                model + ": expected a byte-level BPE tokenizer as GPT-2's, got a tokenizer of another kind (vocab.txt,"
                        + " BertTokenizer)",
                assertThrows(IOException.class, () -> BpeTokenizer.ofModel(model, 50257))
                        .getMessage());
    }

    @ParameterizedTest
    @ValueSource(strings = {"spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.txt"})
    void aFileOfAnotherKindIsNamed(String file) throws IOException {
        Files.createFile(directory.resolve(file));
        assertEquals(
                directory + ": expected a byte-level BPE tokenizer as GPT-2's, got a tokenizer of another kind (" + file
                        + ")",
                refusal());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "vocab.json",
                "merges.txt",
                "encoder.json",
                "vocab.bpe",
                "added_tokens.json",
                "special_tokens_map.json",
                "tokenizer_config.json"
            })
    void aPartOfATokenizerIsNotReplaced(String file) throws IOException {
        Files.writeString(directory.resolve(file), "{}");
        assertEquals(
                directory
                        + ": expected tokenizer.json, or vocab.json and merges.txt, or encoder.json and vocab.bpe, got "
                        + file + " only",
                refusal());
    }

    @Test
    void aDirectoryWithoutTokenizerGetsGpt2s() throws IOException {
        assertFalse(BpeTokenizer.isIn(directory));
        Files.writeString(directory.resolve("config.json"), "{}");
        assertEquals(50256, BpeTokenizer.ofModel(directory, 50257).endOfTextId());
        assertEquals(
                directory + ": expected a tokenizer, because GPT-2's has 50257 tokens and the model 300, got none",
                assertThrows(IOException.class, () -> BpeTokenizer.ofModel(directory, 300))
                        .getMessage());
    }

    @Test
    void theClassOfTheModelConfigurationCounts() throws IOException {
        Files.writeString(directory.resolve("config.json"), "{\"tokenizer_class\": \"BertTokenizer\"}");
        assertTrue(refusal().endsWith("got a tokenizer of another kind (BertTokenizer)"), this::refusal);
        copy("added-tokens-json");
        assertEquals(
                directory.resolve("config.json") + " tokenizer_class: expected GPT2Tokenizer, got \"BertTokenizer\"",
                refusal());
        Files.writeString(directory.resolve("tokenizer_config.json"), "{\"tokenizer_class\": \"GPT2TokenizerFast\"}");
        assertEquals(261, BpeTokenizer.ofModel(directory, 300).vocabSize());
    }

    private void copy(String name) throws IOException {
        try (Stream<Path> files = Files.list(CASES.resolve(name))) {
            for (Path file : files.toList()) {
                Files.copy(file, directory.resolve(file.getFileName()));
            }
        }
    }

    @Test
    void additionalSpecialTokensAreSpecial() throws IOException {
        BpeTokenizer tokenizer = BpeTokenizer.load(CASES.resolve("added-tokens-json"));
        assertTrue(tokenizer.isSpecial(260));
        assertFalse(tokenizer.isSpecial(256));
        assertArrayEquals(new int[] {'<', '|', 'u'}, truncated(tokenizer.encode("<|user|>")));
        assertThrows(IllegalArgumentException.class, () -> tokenizer.isSpecial(261));
    }

    private static int[] truncated(int[] ids) {
        return new int[] {ids[0], ids[1], ids[2]};
    }

    @Test
    void aSpecialTokenThatIsTextTooStaysInText() throws IOException {
        BpeTokenizer tokenizer = BpeTokenizer.load(CASES.resolve("special-byte"));
        assertFalse(tokenizer.isSpecial('!'));
        assertTrue(tokenizer.isSpecial(258));
        assertTrue(tokenizer.isLossless());
    }

    @Test
    void anAddedTokenDecodesToItsContent() throws IOException {
        copy("added-tokens-json");
        Files.writeString(directory.resolve("added_tokens.json"), "{\"café\": 259, \"Ġx\": 260}");
        Files.delete(directory.resolve("special_tokens_map.json"));
        BpeTokenizer tokenizer = BpeTokenizer.load(directory);
        assertArrayEquals(new int[] {'a', 259, 260}, tokenizer.encode("acaféĠx"));
        assertEquals("caféĠx", tokenizer.decode(new int[] {259, 260}));
    }

    @Test
    void theEndOfTextIsTheOneThatTheFilesName() throws IOException {
        copy("added-tokens-json");
        assertEquals(258, BpeTokenizer.load(directory).endOfTextId());
        Files.writeString(directory.resolve("tokenizer_config.json"), "{\"eos_token\": \"<|user|>\", \"x\": NaN}");
        Files.writeString(directory.resolve("special_tokens_map.json"), "{}");
        assertEquals(260, BpeTokenizer.load(directory).endOfTextId());
        Files.writeString(directory.resolve("tokenizer_config.json"), "{\"eos_token\": null}");
        assertEquals(-1, BpeTokenizer.load(directory).endOfTextId());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = ';',
            ignoreLeadingAndTrailingWhitespace = false,
            value = {
                "tokenizer_config.json;[];: expected an object, got [",
                "tokenizer_config.json;{\"add_bos_token\": 1}; add_bos_token: expected true or false, got 1",
                "tokenizer_config.json;{\"add_bos_token\": true, \"bos_token\": \"ab\", \"added_tokens_decoder\": {\"x\": {}}}; added_tokens_decoder.\"x\": expected an integer id, got \"x\"",
                "tokenizer_config.json;{\"added_tokens_decoder\": {\"259\": {}}}; added_tokens_decoder.\"259\".content: expected some text, got none",
                "tokenizer_config.json;{\"extra_special_tokens\": [1]}; extra_special_tokens: expected a token, got 1",
                "added_tokens.json;{\"<x>\": \"259\"}; \"<x>\": expected an integer id, got \"259\"",
                "added_tokens.json;{\"he\": 9};: expected one id of \"he\", got 256 and 9",
                "added_tokens.json;{\"<x>\": 1048576};: expected an id in [0, 1048576) of \"<x>\", got 1048576",
            })
    void namesWhatIsWrongBesideTheVocabulary(String file, String json, String message) throws IOException {
        copy("added-tokens-json");
        Files.writeString(directory.resolve(file), json);
        String got = refusal();
        assertTrue(got.endsWith(message.startsWith(":") ? message : file + message), got);
    }
}
