package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** On a vocabulary of the 256 bytes, {@code ab} (256), {@code abc} (257) and {@code <|endoftext|>} (258). */
@Timeout(60)
class TokenizerFilesTest {

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String MERGES = "#version: 0.2\na b\nab c\n";

    @TempDir
    private Path directory;

    private static Map<String, Object> vocabulary() {
        Map<String, Object> vocabulary = new LinkedHashMap<>();
        for (int b = 0; b < 256; b++) {
            vocabulary.put(Character.toString(ByteSymbols.symbol(b)), b);
        }
        vocabulary.put("ab", 256);
        vocabulary.put("abc", 257);
        vocabulary.put("<|endoftext|>", 258);
        return vocabulary;
    }

    private Path write(String name, String text) throws IOException {
        return Files.writeString(directory.resolve(name), text);
    }

    private BpeTokenizer load(Map<String, Object> vocabulary, String merges) throws IOException {
        write("vocab.json", JSON.writeValueAsString(vocabulary));
        write("merges.txt", merges);
        return BpeTokenizer.load(directory);
    }

    private void assertRefused(String expected, Map<String, Object> vocabulary, String merges) {
        assertEquals(
                directory + expected,
                assertThrows(IOException.class, () -> load(vocabulary, merges)).getMessage());
    }

    private static ObjectNode tokenizerJson() throws IOException {
        ObjectNode root = (ObjectNode) JSON.readTree("""
                {"version": "1.0", "truncation": null, "padding": null,
                 "added_tokens": [{"id": 258, "special": true, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
                                   "rstrip": false, "normalized": true}],
                 "normalizer": null,
                 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
                 "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false},
                 "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},
                 "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                           "end_of_word_suffix": "", "fuse_unk": false, "vocab": {}, "merges": ["a b", "ab c"]}}
                """);
        ((ObjectNode) root.get("model")).set("vocab", JSON.valueToTree(vocabulary()));
        return root;
    }

    private BpeTokenizer load(JsonNode tokenizer) throws IOException {
        return BpeTokenizer.load(write("tokenizer.json", JSON.writeValueAsString(tokenizer)));
    }

    private void assertRefused(String expected, JsonNode tokenizer) {
        assertEquals(
                directory.resolve("tokenizer.json") + expected,
                assertThrows(IOException.class, () -> load(tokenizer)).getMessage());
    }

    private static void assertReads(BpeTokenizer tokenizer) {
        assertArrayEquals(new int[] {257, 256, 'b', 32, 'a'}, tokenizer.encode("abcabb a"));
        assertArrayEquals(new int[] {'x', 258, 257}, tokenizer.encodeWithSpecialTokens("x<|endoftext|>abc"));
        assertEquals("abc<|endoftext|>", tokenizer.decode(new int[] {257, 258}));
        assertEquals(259, tokenizer.vocabSize());
        assertEquals(258, tokenizer.endOfTextId());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {MERGES, "a b\nab c", "a b\r\nab c\r\n", "#version: 0.2\r\na b\r\nab c\r\n\r\n", "\uFEFF" + MERGES
            })
    void readsVocabularyAndMerges(String merges) throws IOException {
        assertReads(load(vocabulary(), merges));
        assertReads(BpeTokenizer.load(directory.resolve("vocab.json"), directory.resolve("merges.txt")));
    }

    @Test
    void readsEncoderAndVocabBpe() throws IOException {
        write("encoder.json", JSON.writeValueAsString(vocabulary()));
        write("vocab.bpe", MERGES);
        assertReads(BpeTokenizer.load(directory));
    }

    @Test
    void readsTokenizerJsonFirst() throws IOException {
        write("vocab.json", "{");
        write("merges.txt", "");
        assertReads(load(tokenizerJson()));
        assertReads(BpeTokenizer.load(directory));
    }

    @Test
    void readsMergesOfTokenizerJsonAsArraysAndBeforeTheVocabulary() throws IOException {
        ObjectNode root = tokenizerJson();
        ObjectNode model = (ObjectNode) root.get("model");
        JsonNode vocabulary = model.remove("vocab");
        model.set("merges", JSON.readTree("[[\"a\", \"b\"], [\"ab\", \"c\"]]"));
        model.set("vocab", vocabulary);
        model.remove("type"); // files written by old versions have none
        assertReads(load(root));
    }

    @Test
    void refusesMergesThatAreCutOff() throws IOException {
        Path gpt2 = Path.of("tokenizer");
        String vocabulary = Files.readString(gpt2.resolve("vocab.json"));
        List<String> merges = Files.readAllLines(gpt2.resolve("merges.txt"));
        String advice = " of the vocabulary's 50257 tokens; the merges seem to be cut off, copy the file again";
        for (int lines : new int[] {0, 1, 10_001}) {
            write("vocab.json", vocabulary);
            write("merges.txt", String.join("\n", merges.subList(0, lines)));
            assertEquals(
                    directory.resolve("merges.txt")
                            + ": expected a merge for most tokens of several bytes, got none for "
                            + (50_000 - Math.max(0, lines - 1)) + advice,
                    assertThrows(IOException.class, () -> BpeTokenizer.load(directory))
                            .getMessage());
        }
        ObjectNode root = tokenizerJson();
        ((ObjectNode) root.get("added_tokens").get(0)).put("id", 50256);
        ObjectNode model = (ObjectNode) root.get("model");
        model.set("vocab", JSON.readTree(vocabulary));
        model.putArray("merges");
        assertRefused(
                " model.merges: expected a merge for most tokens of several bytes, got none for 50000" + advice, root);
        model.put("ignore_merges", true);
        assertArrayEquals(new int[] {15496, 995}, load(root).encode("Hello world"));
    }

    @Test
    void readsVocabulariesWithTokensThatNoMergeMakes() throws IOException {
        Map<String, Object> vocabulary = vocabulary();
        assertArrayEquals(new int[] {'a', 'b'}, load(vocabulary, "").encode("ab"));
        for (int i = 0; i < 250; i++) {
            vocabulary.put("word" + i, 259 + i);
        }
        assertArrayEquals(new int[] {256}, load(vocabulary, MERGES).encode("ab"));
    }

    @Test
    void readsGpt2FromTokenizerJsonAsFromTwoFiles() throws IOException {
        Path gpt2 = Path.of("tokenizer");
        ObjectNode root = tokenizerJson();
        ObjectNode model = (ObjectNode) root.get("model");
        model.set("vocab", JSON.readTree(gpt2.resolve("vocab.json").toFile()));
        ArrayNode merges = model.putArray("merges");
        Files.readAllLines(gpt2.resolve("merges.txt")).stream().skip(1).forEach(merges::add);
        ((ObjectNode) root.get("added_tokens").get(0)).put("id", 50256);
        BpeTokenizer fromOne = load(root);
        BpeTokenizer fromTwo = BpeTokenizer.load(gpt2);
        for (String text : BpeTokenizerTest.TEXTS) {
            assertArrayEquals(fromTwo.encode(text), fromOne.encode(text));
        }
        assertEquals(50256, fromOne.endOfTextId());
    }

    @Test
    void findsTheLongestOfTheAddedTokensThatBeginAtOnePlace() throws IOException {
        ObjectNode root = tokenizerJson();
        ArrayNode added = (ArrayNode) root.get("added_tokens");
        added.addObject().put("id", 259).put("content", "<|im|>");
        added.addObject().put("id", 260).put("content", "<|im|> 世");
        BpeTokenizer tokenizer = load(root);
        assertEquals(261, tokenizer.vocabSize());
        int[] ids = {'a', 260, 259, 258, 32};
        assertArrayEquals(ids, tokenizer.encodeWithSpecialTokens("a<|im|> 世<|im|><|endoftext|> "));
        assertEquals("a<|im|> 世<|im|><|endoftext|> ", tokenizer.decode(ids));
    }

    @Test
    void worksWithoutEndOfText() throws IOException {
        Map<String, Object> vocabulary = vocabulary();
        vocabulary.remove("<|endoftext|>");
        BpeTokenizer tokenizer = load(vocabulary, MERGES);
        assertEquals(-1, tokenizer.endOfTextId());
        assertEquals(258, tokenizer.vocabSize());
        assertArrayEquals(tokenizer.encode("<|endoftext|>"), tokenizer.encodeWithSpecialTokens("<|endoftext|>"));
    }

    /** bc merges first, so abc, which only ab + c makes, is never reached. */
    @Test
    void doesNotFindATokenThatItsOwnBytesDoNotMergeTo() throws IOException {
        Map<String, Object> vocabulary = vocabulary();
        vocabulary.put("bc", 259);
        BpeTokenizer tokenizer = load(vocabulary, "b c\na b\nab c\n");
        assertArrayEquals(new int[] {'a', 259}, tokenizer.encode("abc"));
    }

    @Test
    void namesTheFilesItLookedFor() throws IOException {
        String expected = directory
                + ": expected tokenizer.json, or vocab.json and merges.txt, or encoder.json and vocab.bpe, got ";
        assertEquals(
                expected + "none of them",
                assertThrows(IOException.class, () -> BpeTokenizer.load(directory))
                        .getMessage());
        write("vocab.json", "{}");
        assertEquals(
                expected + "vocab.json only",
                assertThrows(IOException.class, () -> BpeTokenizer.load(directory))
                        .getMessage());
    }

    @Test
    void namesMissingFiles() throws IOException {
        Path none = directory.resolve("none");
        assertEquals(
                none + ": expected a directory or a file, got none",
                assertThrows(IOException.class, () -> BpeTokenizer.load(none)).getMessage());
        Path vocabulary = write("vocab.json", JSON.writeValueAsString(vocabulary()));
        assertEquals(
                none + ": expected a file, got none",
                assertThrows(IOException.class, () -> BpeTokenizer.load(vocabulary, none))
                        .getMessage());
        assertEquals(
                directory + ": expected a file, got a directory",
                assertThrows(IOException.class, () -> BpeTokenizer.load(directory, none))
                        .getMessage());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            ignoreLeadingAndTrailingWhitespace = false,
            value = {
                "a b⏎ab|line 2: expected two symbols, got \"ab\"",
                "#version: 0.2⏎a b⏎ab  c|line 3: expected two symbols, got \"ab  c\"",
                "a b c|line 1: expected two symbols, got \"a b c\"",
                " a|line 1: expected two symbols, got \" a\"",
                "a |line 1: expected two symbols, got \"a \"",
                "#version: 0.2⏎⏎a b|line 2: expected two symbols, got \"\"",
                "a x|line 1: expected parts and product that are in the vocabulary, got \"ax\"",
                "a b⏎abd c|line 2: expected parts and product that are in the vocabulary, got \"abd\"",
                "#version: 0.2⏎a 世|line 2: expected parts and product that are in the vocabulary, got \"世\"",
            })
    void namesTheLineOfABadMerge(String merges, String message) {
        assertRefused("/merges.txt " + message, vocabulary(), merges.replace('⏎', '\n'));
    }

    @Test
    void refusesMergesThatAreNotUtf8() throws IOException {
        Path vocabulary = write("vocab.json", JSON.writeValueAsString(vocabulary()));
        Path merges = Files.write(directory.resolve("merges.txt"), "a é".getBytes(ISO_8859_1));
        assertEquals(
                merges + ": expected UTF-8, got malformed bytes after line 0",
                assertThrows(IOException.class, () -> BpeTokenizer.load(vocabulary, merges))
                        .getMessage());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "ab|1.5|expected an integer id of \"ab\", got 1.5",
                "ab|\"256\"|expected an integer id of \"ab\", got \"256\"",
                "ab|null|expected an integer id of \"ab\", got null",
                "ab|[256]|expected an integer id of \"ab\", got [",
                "ab|99999999999|expected an integer id of \"ab\", got 99999999999",
                "ab|-1|expected an id in [0, 1048576) of \"ab\", got -1",
                "ab|1048576|expected an id in [0, 1048576) of \"ab\", got 1048576",
                "ab|65|expected one token for each id, got a second one, \"ab\", for 65",
            })
    void namesTheBadEntryOfAVocabulary(String token, String id, String message) throws IOException {
        Map<String, Object> vocabulary = vocabulary();
        vocabulary.put(token, JSON.readTree(id));
        assertRefused("/vocab.json: " + message, vocabulary, MERGES);
    }

    /** As Python's json module reads it. */
    @Test
    void theLastIdOfATokenThatIsThereTwiceCounts() throws IOException {
        String json = JSON.writeValueAsString(vocabulary());
        write("vocab.json", json.substring(0, json.length() - 1) + ", \"ab\": 259}");
        write("merges.txt", MERGES);
        BpeTokenizer tokenizer = BpeTokenizer.load(directory);
        assertArrayEquals(new int[] {257, 259}, tokenizer.encode("abcab"));
        assertEquals("", tokenizer.decode(new int[] {256}));
    }

    @Test
    void theLastOfEqualMergesCounts() throws IOException {
        Map<String, Object> vocabulary = vocabulary();
        vocabulary.put("bc", 259);
        assertArrayEquals(new int[] {256, 'c'}, load(vocabulary, "a b\nb c\n").encode("abc"));
        assertArrayEquals(
                new int[] {'a', 259}, load(vocabulary, "a b\nb c\na b\n").encode("abc"));
    }

    @Test
    void dropsBytesThatTheVocabularyLacks() throws IOException {
        Map<String, Object> vocabulary = vocabulary();
        vocabulary.remove("Ġ");
        vocabulary.put("aa", 32);
        BpeTokenizer tokenizer = load(vocabulary, MERGES);
        assertArrayEquals(new int[] {256, 'c', 256}, tokenizer.encode("ab c ab"));
        assertFalse(tokenizer.isLossless());
        assertTrue(load(vocabulary(), MERGES).isLossless());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            ignoreLeadingAndTrailingWhitespace = false,
            value = {
                "''|: expected an object of tokens and ids, got the end of the file",
                "[1]|: expected an object of tokens and ids, got [",
                "{\"a\": 1} {}|: expected one JSON object, got more after it",
                "{\"a\":⏎ 1,, }| line 2 column 4: expected JSON, got: Unexpected character (',' (code 44))",
                "{\"a\": 1| line 1 column 8: expected JSON, got: Unexpected end-of-input",
            })
    void namesThePlaceOfBrokenJson(String json, String message) throws IOException {
        Path vocabulary = write("vocab.json", json.replace('⏎', '\n'));
        Path merges = write("merges.txt", MERGES);
        String got = assertThrows(IOException.class, () -> BpeTokenizer.load(vocabulary, merges))
                .getMessage();
        assertTrue(got.startsWith(vocabulary + message), got);
        assertEquals(1, got.lines().count(), got);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "/model/type|\"WordPiece\"|model.type: expected \"BPE\", got \"WordPiece\"",
                "/model/dropout|0.1|model.dropout: expected null, got 0.1",
                "/model/continuing_subword_prefix|\"##\"|model.continuing_subword_prefix: expected null, got \"##\"",
                "/model/end_of_word_suffix|\"</w>\"|model.end_of_word_suffix: expected null, got \"</w>\"",
                "/model/vocab|[]|model.vocab: expected an object of tokens and ids, got [",
                "/model/vocab/ab|\"x\"|model.vocab: expected an integer id of \"ab\", got \"x\"",
                "/model/merges|{}|model.merges: expected an array of merges, got {",
                "/model/merges/1|\"abc\"|model.merges[1]: expected two symbols, got \"abc\"",
                "/model/merges/1|[\"ab\"]|model.merges[1]: expected two symbols, got ]",
                "/model/merges/1|[\"a\", \"b\", \"c\"]|model.merges[1]: expected two symbols, got more",
                "/model/merges|null|model.merges: expected an array of merges, got null",
                "/model/fuse_unk|1|model.fuse_unk: expected true, false or null, got 1",
                "/model/unk_token|1|model.unk_token: expected some text or null, got 1",
                "/model/merges/1|[1, 2]|model.merges[1]: expected two symbols, got 1",
                "/model/merges/1|7|model.merges[1]: expected two symbols, got 7",
                "/model/merges/0|\"b b\"|model.merges[0]: expected parts and product that are in the vocabulary, got \"bb\"",
                "/model|null|model: expected an object, got null",
                "/normalizer|{\"type\": \"Nmt\"}|normalizer.type: expected \"NFC\", \"NFD\", \"NFKC\", \"NFKD\", \"Lowercase\", \"Strip\", \"Prepend\", \"Replace\" or \"Sequence\", got \"Nmt\"",
                "/normalizer|{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Strip\"}]}|normalizer.normalizers[0].strip_left: expected true or false, got none",
                "/normalizer|{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"(a+)+\"}, \"content\": \"\"}|normalizer.pattern: expected a \"String\" that is not empty, or a \"Regex\" of literals or one repeated literal, got {\"Regex\":\"(a+)+\"}",
                "/normalizer|{\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"\"}|normalizer.pattern: expected a \"String\" that is not empty, or a \"Regex\" of literals or one repeated literal, got {\"String\":\"\"}",
                "/decoder/type|\"WordPiece\"|decoder.type: expected \"ByteLevel\", got \"WordPiece\"",
                "/post_processor/type|\"X\"|post_processor.type: expected \"ByteLevel\", \"TemplateProcessing\", \"RobertaProcessing\", \"BertProcessing\" or \"Sequence\", got \"X\"",
                "/post_processor|{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}]}|post_processor.special_tokens.\"<s>\".ids: expected ids, got none",
                "/post_processor|{\"type\": \"BertProcessing\", \"cls\": [\"\", 258], \"sep\": [\"\", 259]}|post_processor: expected ids in [0, 259), got 259",
                "/post_processor|{\"type\": \"TemplateProcessing\", \"single\": []}|post_processor.single: expected a Sequence \"A\", got []",
                "/post_processor|{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"B\"}}]}|post_processor.single[0]: expected special tokens and one Sequence \"A\", got {\"Sequence\":{\"id\":\"B\"}}",
                "/pre_tokenizer|null|pre_tokenizer.type: expected \"ByteLevel\" or \"Split\", got none",
                "/pre_tokenizer|{\"type\": \"Sequence\", \"pretokenizers\": []}|pre_tokenizer: expected a \"ByteLevel\" at its end, got {\"type\":\"Sequence\",\"pretokenizers\":[]}",
                "/pre_tokenizer|{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"x\"}}]}|pre_tokenizer.pretokenizers[0].pattern: expected GPT-2's pattern as a \"Regex\", got {\"Regex\":\"x\"}",
                "/pre_tokenizer/add_prefix_space|1|pre_tokenizer.add_prefix_space: expected true or false, got 1",
                "/pre_tokenizer/type|\"Metaspace\"|pre_tokenizer.type: expected \"ByteLevel\" or \"Split\", got \"Metaspace\"",
                "/added_tokens|{}|added_tokens: expected an array, got {",
                "/added_tokens/0/id|\"a\"|added_tokens[0].id: expected an integer id, got \"a\"",
                "/added_tokens/0/lstrip|1|added_tokens[0].lstrip: expected true or false, got 1",
                "/added_tokens/0/rstrip|1|added_tokens[0].rstrip: expected true or false, got 1",
                "/added_tokens/0/single_word|1|added_tokens[0].single_word: expected true or false, got 1",
            })
    void refusesByNameWhatIsNotGpt2(String pointer, String value, String message) throws IOException {
        ObjectNode root = tokenizerJson();
        int slash = pointer.lastIndexOf('/');
        JsonNode parent = root.at(pointer.substring(0, slash));
        String field = pointer.substring(slash + 1);
        if (parent instanceof ArrayNode array) {
            array.set(Integer.parseInt(field), JSON.readTree(value));
        } else {
            ((ObjectNode) parent).set(field, JSON.readTree(value));
        }
        assertRefused(" " + message, root);
    }

    @Test
    void refusesContradictoryAddedTokens() throws IOException {
        ObjectNode root = tokenizerJson();
        ArrayNode added = (ArrayNode) root.get("added_tokens");
        added.addObject().put("id", 259).put("content", "<|endoftext|>");
        assertRefused(": expected one id of \"<|endoftext|>\", got 258 and 259", root);

        added.remove(0);
        assertRefused(": expected one id of \"<|endoftext|>\", got 258 and 259", root);

        added.removeAll();
        added.addObject().put("id", 257).put("content", "<x>");
        assertRefused(": expected one token for each id, got a second one, \"<x>\", for 257", root);
    }

    @Test
    void refusesATokenizerWithoutModel() throws IOException {
        ObjectNode root = tokenizerJson();
        root.remove("model");
        assertRefused(" model: expected an object, got none", root);
    }

    @Test
    void tokensAreSharedUtf8Bytes() throws IOException {
        assertArrayEquals(
                "<|endoftext|>".getBytes(UTF_8), load(vocabulary(), MERGES).tokenBytes(258));
    }
}
