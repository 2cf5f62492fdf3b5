package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.Encoding;
import com.knuddels.jtokkit.api.EncodingType;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.ValueSource;

/** GPT-2's ids; the independent tokenizer that they are compared with is jtokkit's r50k_base. */
class BpeTokenizerTest {

    static final String WHITE_SPACE =
            "\t\n\u000B\f\r \u0085\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000";

    static final List<String> TEXTS = List.of(
            "",
            " ",
            "   ",
            "x = 1",
            "a\u00A0\u00A0b",
            "a \u00A0 b",
            "Hello, world!",
            "Hello, world! ",
            "Hello, world!   ",
            "  leading and   inner  spaces",
            "line\r\nline\r\n\r\nline\n",
            "\n\n a\n b\n\n\n",
            "\ttab\t\ttabs \t mixed",
            "I'm you're he's we've they'll I'd don't",
            "I'M YOU'RE HE'S 'tis ' s 's 'll'll ''s '' 're've 'r 'v 'l ' 'x 've's\u2019s",
            "'",
            "''s",
            " 's",
            "don't'",
            "世界你好,这是一个测试。",
            "日本語 テキスト　全角",
            "👍🏽 👨‍👩‍👧‍👦 🎉🎉🎉 ❤️ 🏳️‍🌈",
            "e\u0301 n\u0303o A\u030A\u0301",
            "०१२ ٠١٢٣ ⅫⅣ ½ ² 𝟘𝟙 1st2nd 3.14 १a",
            "naïve façade Größe Łódź",
            "สวัสดีชาวโลก हिन्दी ქართული",
            "<|endoftext|>",
            "a<|endoftext|>b",
            "\u0000\u0001\u001B\u001C\u001D\u001E\u001F\u007F\u0080\u0085\u0086\u009F\u00AD",
            "a\u0085b\u0085\u0085c \u0085",
            "a\u001Cb \u001C\u001F c",
            "\u200B\u200C\u200D\u2060\uFEFF a\uFEFFb",
            "\uFFFD\uFFFE\uFFFF\uE000 \uDBFF\uDFFF",
            "(((()))) ===== -------- ________ ++++ .... !?!?",
            "for (int i = 0; i < n; i++) {\n        sum += a[i];\n    }\n",
            "https://example.org/path?x=1&y=%20#fragment",
            "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
            WHITE_SPACE,
            "a" + WHITE_SPACE + "b");

    private static BpeTokenizer tokenizer;
    private static Encoding jtokkit;

    @BeforeAll
    static void load() throws IOException {
        tokenizer = BpeTokenizer.load(Path.of("tokenizer"));
        jtokkit = Encodings.newLazyEncodingRegistry().getEncoding(EncodingType.R50K_BASE);
    }

    static void assertSameAsJtokkit(String text) {
        int[] ids = tokenizer.encode(text);
        assertArrayEquals(jtokkit.encodeOrdinary(text).toArray(), ids, () -> "ids of " + escape(text));
        assertEquals(text, tokenizer.decode(ids));
    }

    private static String escape(String text) {
        StringBuilder escaped = new StringBuilder();
        text.codePoints()
                .forEach(c -> escaped.append(c > ' ' && c < 0x7F ? Character.toString(c) : "\\u{%X}".formatted(c)));
        return escaped.toString();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            ignoreLeadingAndTrailingWhitespace = false,
            value = {
                "Hello, world!|15496 11 995 0",
                "Hello, 世界|15496 11 220 10310 244 45911 234",
                "x = 1|87 796 352",
                "a\u00A0\u00A0b|64 1849 1849 65",
            })
    void encodesKnownTexts(String text, String ids) {
        int[] expected = Stream.of(ids.split(" ")).mapToInt(Integer::parseInt).toArray();
        assertArrayEquals(expected, tokenizer.encode(text));
        assertEquals(text, tokenizer.decode(expected));
    }

    @ParameterizedTest
    @FieldSource("TEXTS")
    void encodesAndDecodesLikeJtokkit(String text) {
        assertSameAsJtokkit(text);
    }

    @Test
    void encodesSampleTextsLikeJtokkit() {
        SampleTexts.ENGLISH.forEach(BpeTokenizerTest::assertSameAsJtokkit);
        SampleTexts.MULTILINGUAL.forEach(BpeTokenizerTest::assertSameAsJtokkit);
    }

    @Test
    void splitsAtEveryWhitespaceCharacterLikeJtokkit() {
        for (int c : WHITE_SPACE.chars().toArray()) {
            String space = Character.toString(c);
            for (String form : List.of(
                    "a_b", "a__b", "a___b", "_", "__", "_ a", " _a", "a_", "a_ ", "!_!", "1__1", "_'s", "__'s")) {
                assertSameAsJtokkit(form.replace("_", space));
            }
        }
    }

    @Test
    void putsEveryCodePointInTheKindThatJtokkitDoes() {
        StringBuilder text = new StringBuilder();
        for (int c = 0; c <= Character.MAX_CODE_POINT; c++) {
            // Planes 4 to 13 are unassigned and 15 and 16 are private use: a few of each do.
            if (Character.isBmpCodePoint(c) && Character.isSurrogate((char) c)
                    || c >= 0x40000 && c % 0x1000 > 2 && c >> 16 != 0xE) {
                continue;
            }
            text.appendCodePoint(c)
                    .append("a")
                    .appendCodePoint(c)
                    .append("1")
                    .appendCodePoint(c)
                    .append("! ");
            if (text.length() > 8000) {
                assertSameAsJtokkit(text.toString());
                text.setLength(0);
            }
        }
        assertSameAsJtokkit(text.toString());
    }

    @Test
    void encodesRandomTextsLikeJtokkit() {
        Random random = new Random(42);
        for (int i = 0; i < 8_000; i++) {
            assertSameAsJtokkit(randomText(random));
        }
    }

    static String randomText(Random random) {
        StringBuilder text = new StringBuilder();
        for (int parts = random.nextInt(12); parts > 0; parts--) {
            int repeats = random.nextInt(8) == 0 ? random.nextInt(100) : 1;
            IntFunction<String> draw = switch (random.nextInt(9)) {
                case 0 -> i -> Character.toString(random.nextInt(0x80));
                case 1 -> i -> Character.toString(random.nextInt(0xD800));
                case 2 -> i -> Character.toString(0xE000 + random.nextInt(0x110000 - 0xE000));
                case 3 -> i -> Character.toString(WHITE_SPACE.charAt(random.nextInt(WHITE_SPACE.length())));
                case 4 -> i -> Character.toString('a' + random.nextInt(26));
                case 5 -> i -> Character.toString(0x1F300 + random.nextInt(0x400));
                case 6 ->
                    i -> List.of("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'", " ")
                            .get(random.nextInt(9));
                case 7 -> i -> new String(tokenizer.tokenBytes(random.nextInt(50256)), UTF_8).replace('\uFFFD', 'x');
                default -> i -> " ";
            };
            for (int i = 0; i < repeats; i++) {
                text.append(draw.apply(i));
            }
        }
        return text.toString();
    }

    /** jtokkit agrees here too: Java's encoder makes the same of them. */
    @Test
    void loneSurrogatesBecomeQuestionMarks() {
        assertArrayEquals(tokenizer.encode("a?b? ??"), tokenizer.encode("a\uD800b\uDC00 \uDFFF\uD83D"));
        assertArrayEquals(tokenizer.encode("?🎉?"), tokenizer.encode("\uD83C\uD83C\uDF89\uDF89"));
    }

    @Test
    void encodeTakesSpecialTokensAsPlainText() {
        assertArrayEquals(new int[] {27, 91, 437, 1659, 5239, 91, 29}, tokenizer.encode("<|endoftext|>"));
    }

    @Test
    void encodeWithSpecialTokensHonoursThem() {
        assertArrayEquals(new int[] {50256}, tokenizer.encodeWithSpecialTokens("<|endoftext|>"));
        assertArrayEquals(
                new int[] {64, 50256, 50256, 65}, tokenizer.encodeWithSpecialTokens("a<|endoftext|><|endoftext|>b"));
        assertArrayEquals(new int[] {220, 50256, 220}, tokenizer.encodeWithSpecialTokens(" <|endoftext|> "));
        assertArrayEquals(tokenizer.encode("<|endoftext|"), tokenizer.encodeWithSpecialTokens("<|endoftext|"));
        assertArrayEquals(new int[0], tokenizer.encodeWithSpecialTokens(""));
        assertEquals("a<|endoftext|>b", tokenizer.decode(new int[] {64, 50256, 65}));
    }

    @Test
    void encodeWithSpecialTokensIsEncodeWhereThereAreNone() {
        for (String text : TEXTS) {
            if (!text.contains("<|endoftext|>")) {
                assertArrayEquals(tokenizer.encode(text), tokenizer.encodeWithSpecialTokens(text));
            }
        }
    }

    @Test
    void describesTheVocabulary() {
        assertEquals(50257, tokenizer.vocabSize());
        assertEquals(50256, tokenizer.endOfTextId());
        assertArrayEquals(" the".getBytes(UTF_8), tokenizer.tokenBytes(262));
        assertArrayEquals(new byte[] {(byte) 0xE4, (byte) 0xB8}, tokenizer.tokenBytes(10310));
    }

    @ParameterizedTest
    @ValueSource(ints = {-1, 50257, 60000, Integer.MIN_VALUE, Integer.MAX_VALUE})
    void refusesIdsOutOfRange(int id) {
        String message = "token id must be in [0, 50257), got " + id;
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, () -> tokenizer.tokenBytes(id))
                        .getMessage());
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, () -> tokenizer.decode(new int[] {0, id}))
                        .getMessage());
        IncrementalDecoder decoder = new IncrementalDecoder(tokenizer);
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, () -> decoder.append(id))
                        .getMessage());
    }

    @Test
    void mergesLongPiecesLikeShortOnes() {
        Random random = new Random(7);
        for (int length = 60; length < 400; length += 1 + random.nextInt(9)) {
            assertSameAsJtokkit("a".repeat(length));
            assertSameAsJtokkit(" ".repeat(length) + "x");
            assertSameAsJtokkit("ha".repeat(length / 2));
            assertSameAsJtokkit("é".repeat(length / 2));
            assertSameAsJtokkit(letters(random, length));
            assertSameAsJtokkit("=-".repeat(length / 2));
        }
    }

    @Test
    void tellsPiecesFromLongTokensThatDifferInTheMiddleOnly() {
        assertEquals(1, tokenizer.encode(" responsibilities").length);
        assertSameAsJtokkit(" responsxbilities");
        assertSameAsJtokkit("=".repeat(15) + "-" + "=".repeat(16));
    }

    private static String letters(Random random, int length) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            text.append((char) ('a' + random.nextInt(26)));
        }
        return text.toString();
    }

    static final List<String> LONG_PIECES =
            List.of("a", " ", "=", "\n", "🎉", "世", "ab", letters(new Random(1), 100_003), "\u0301", "0", " \u00A0");

    /**
     * A quadratic merge would take minutes for each; four times the text may not take much more than four times as
     * long.
     */
    @ParameterizedTest(name = "{index}")
    @FieldSource("LONG_PIECES")
    @Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
    void takesTimeInProportionToTheLongestPiece(String unit) {
        String small = unit.repeat(1 + 125_000 / unit.length());
        String large = unit.repeat(1 + 500_000 / unit.length());
        encodeNanos(small); // warm up
        long smallNanos = Math.min(encodeNanos(small), encodeNanos(small));
        long largeNanos = Math.min(encodeNanos(large), encodeNanos(large));
        assertTrue(
                largeNanos < 12 * smallNanos + TimeUnit.MILLISECONDS.toNanos(200),
                () -> "125,000 characters took %,d ns, 500,000 took %,d ns".formatted(smallNanos, largeNanos));
    }

    private static long encodeNanos(String text) {
        long start = System.nanoTime();
        int[] ids = tokenizer.encode(text);
        long nanos = System.nanoTime() - start;
        assertEquals(text, tokenizer.decode(ids));
        return nanos;
    }

    @Test
    void encodesOnManyThreadsAtOnce() throws Exception {
        Random random = new Random(3);
        List<String> texts =
                IntStream.range(0, 500).mapToObj(i -> randomText(random)).toList();
        List<int[]> expected = texts.stream().map(tokenizer::encode).toList();
        try (ExecutorService threads = Executors.newFixedThreadPool(8)) {
            List<Future<?>> runs = new ArrayList<>();
            for (int t = 0; t < 8; t++) {
                int first = 61 * t;
                runs.add(threads.submit(() -> {
                    for (int i = 0; i < texts.size(); i++) {
                        int n = (first + i) % texts.size();
                        assertArrayEquals(expected.get(n), tokenizer.encode(texts.get(n)));
                        assertEquals(
                                tokenizer.decode(expected.get(n)), tokenizer.decode(tokenizer.encode(texts.get(n))));
                    }
                }));
            }
            for (Future<?> run : runs) {
                run.get(60, TimeUnit.SECONDS);
            }
        }
    }
}
