package io.github.loomtorch.tokenizer;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.io.IOException;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class IncrementalDecoderTest {

    private static BpeTokenizer tokenizer;
    private static int[] byteIds;

    @BeforeAll
    static void load() throws IOException {
        tokenizer = BpeTokenizer.load(Path.of("tokenizer"));
        byteIds = new int[256];
        for (int id = 0; id < 256; id++) {
            byteIds[tokenizer.tokenBytes(id)[0] & 0xFF] = id;
        }
    }

    private static String decodeOneByOne(int[] ids) {
        IncrementalDecoder decoder = new IncrementalDecoder(tokenizer);
        StringBuilder text = new StringBuilder();
        for (int id : ids) {
            text.append(decoder.append(id));
        }
        return text + decoder.flush();
    }

    private static int[] ids(byte[] bytes) {
        return IntStream.range(0, bytes.length)
                .map(i -> byteIds[bytes[i] & 0xFF])
                .toArray();
    }

    @Test
    void emitsACharacterWhenItsLastByteArrives() {
        IncrementalDecoder decoder = new IncrementalDecoder(tokenizer);
        int[] ids = ids("a🎉é".getBytes(UTF_8));
        String[] expected = {"a", "", "", "", "🎉", "", "é"};
        for (int i = 0; i < ids.length; i++) {
            assertEquals(expected[i], decoder.append(ids[i]));
        }
        assertEquals("", decoder.flush());
    }

    @Test
    void emitsNoReplacementForEmojiSplitOverTokens() {
        String text = "👍🏽 👨‍👩‍👧‍👦 世界 🎉";
        int[] ids = tokenizer.encode(text);
        IncrementalDecoder decoder = new IncrementalDecoder(tokenizer);
        StringBuilder streamed = new StringBuilder();
        for (int id : ids) {
            String part = decoder.append(id);
            assertFalse(part.contains("\uFFFD"));
            streamed.append(part);
        }
        assertEquals(text, streamed.toString());
        assertEquals("", decoder.flush());
    }

    @Test
    void flushEmitsWhatRemainsAndStartsAnew() {
        IncrementalDecoder decoder = new IncrementalDecoder(tokenizer);
        assertEquals("", decoder.flush());
        assertEquals("", decoder.append(byteIds[0xF0]));
        assertEquals("", decoder.append(byteIds[0x9F]));
        assertEquals("\uFFFD", decoder.flush());
        assertEquals("", decoder.flush());
        assertEquals("a", decoder.append(byteIds['a']));
    }

    @Test
    void emitsReplacementAsSoonAsBytesAreKnownToBeMalformed() {
        IncrementalDecoder decoder = new IncrementalDecoder(tokenizer);
        assertEquals("", decoder.append(byteIds[0xE4]));
        assertEquals("\uFFFDa", decoder.append(byteIds['a']));
        assertEquals("\uFFFD", decoder.append(byteIds[0x80]));
        assertEquals("\uFFFD", decoder.append(byteIds[0xF5]));
    }

    /** Expected values are those of Python 3: {@code bytes.fromhex(hex).decode('utf-8', errors='replace')}. */
    @ParameterizedTest
    @CsvSource({
        "80, ?",
        "C080, ??",
        "C2, ?",
        "C241, ?A",
        "E4B8, ?",
        "E4B841, ?A",
        "E08080, ???",
        "E0A0, ?",
        "EDA080, ???", // a surrogate; Java makes one of it
        "EDA0, ??", // Java: one
        "EDBFBF41, ???A",
        "F09F98, ?",
        "F09F9841, ?A",
        "F09F41, ?A",
        "F0808080, ????",
        "F48FBF, ?",
        "F4908080, ????",
        "F580, ??", // Java: one
        "F5808080, ????",
        "F88080, ???",
        "FEFF, ??",
        "41F09F98E4B896, A?世",
    })
    void replacesEachMaximalSubpart(String hex, String expected) {
        int[] ids = ids(HexFormat.of().parseHex(hex));
        String text = expected.replace('?', '\uFFFD');
        assertEquals(text, tokenizer.decode(ids));
        assertEquals(text, decodeOneByOne(ids));
    }

    /** Without the bytes on which Java differs: leads F5 to F7 and encoded surrogates (ED A0 to ED BF). */
    @Test
    void decodesRandomBytesAsJavaDoes() {
        Random random = new Random(5);
        for (int i = 0; i < 50_000; i++) {
            byte[] bytes = randomBytes(random);
            for (int k = 0; k < bytes.length; k++) {
                int b = bytes[k] & 0xFF;
                if (b >= 0xF5 && b <= 0xF7 || b == 0xED) {
                    bytes[k] = (byte) 0xE4;
                }
            }
            assertEquals(
                    new String(bytes, UTF_8),
                    tokenizer.decode(ids(bytes)),
                    () -> HexFormat.of().formatHex(bytes));
        }
    }

    @Test
    void decodesRandomBytesAsTheWholeIsDecoded() {
        Random random = new Random(6);
        for (int i = 0; i < 50_000; i++) {
            int[] ids = ids(randomBytes(random));
            assertEquals(tokenizer.decode(ids), decodeOneByOne(ids));
        }
    }

    @Test
    void decodesRandomTokensAsTheWholeIsDecoded() {
        Random random = new Random(8);
        for (int i = 0; i < 5_000; i++) {
            int[] ids = random.ints(random.nextInt(40), 0, 50257).toArray();
            assertEquals(tokenizer.decode(ids), decodeOneByOne(ids));
        }
    }

    @Test
    void decodesRandomTextsAsTheWholeIsDecoded() {
        Random random = new Random(9);
        for (int i = 0; i < 5_000; i++) {
            String text = new String(randomBytes(random), UTF_8);
            assertEquals(text, decodeOneByOne(tokenizer.encode(text)));
        }
    }

    /** Mostly near the borders between well-formed and malformed. */
    private static byte[] randomBytes(Random random) {
        byte[] borders = HexFormat.of().parseHex("00417F808F909FA0BFC0C1C2DFE0E1ECEDEEEFF0F1F3F4F5F7F8FF");
        byte[] bytes = new byte[random.nextInt(12)];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = random.nextInt(4) == 0 ? (byte) random.nextInt(256) : borders[random.nextInt(borders.length)];
        }
        return bytes;
    }
}
