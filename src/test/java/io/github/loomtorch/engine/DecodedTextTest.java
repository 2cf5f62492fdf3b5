package io.github.loomtorch.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class DecodedTextTest {
    private final FakeTokenizer tokenizer = new FakeTokenizer();

    private DecodedText text(String... stopStrings) {
        return new DecodedText(tokenizer, new int[] {id('#'), FakeCausalLm.END_OF_TEXT}, List.of(stopStrings));
    }

    private static int id(char c) {
        return c - '!';
    }

    @Test
    void givesEachCharacterAsSoonAsItIsWhole() {
        DecodedText text = text();
        text.append(id('x'));
        assertEquals("x", text.take(false));
        text.append(94);
        assertEquals("", text.take(false));
        text.append(95);
        assertEquals("", text.take(false));
        text.append(96);
        assertEquals("你", text.take(false));
        assertEquals("x你", text.taken());
    }

    @Test
    void idsThatOnlyTheModelHasAddNoText() {
        DecodedText text = text();
        text.append(id('x'));
        text.append(tokenizer.vocabSize());
        text.append(id('y'));
        assertEquals("xy", text.take(true));
    }

    @Test
    void specialTokensAddNoText() throws IOException {
        BpeTokenizer tokenizer = BpeTokenizer.load(Path.of("src/test/resources/cases/tokenizers/added-tokens-json"));
        DecodedText text = new DecodedText(tokenizer, new int[] {258}, List.of());
        for (int id : tokenizer.encodeWithSpecialTokens("he<|user|> x<|endoftext|>!")) {
            text.append(id);
        }
        assertEquals("he x!", text.take(true));
    }

    @Test
    void replacesWhatIsLeftOfCharacterAtTheEnd() {
        DecodedText text = text();
        text.append(94);
        assertEquals("\uFFFD", text.take(true));
        assertEquals("\uFFFD", text.taken());
    }

    @Test
    void holdsBackWhatMayBeginStopStringAndGivesItWhenItDoesNot() {
        DecodedText text = text("xyz");
        text.append(id('a'));
        assertEquals("a", text.take(false));
        text.append(id('x'));
        assertEquals("", text.take(false));
        text.append(id('y'));
        assertEquals("", text.take(false));
        assertFalse(text.append(id('x')));
        assertEquals("xy", text.take(false));
        assertFalse(text.append(id('b')));
        assertEquals("xb", text.take(false));
    }

    @Test
    void cutsAtStopStringThatSpansTokens() {
        DecodedText text = text("xyz");
        for (char c : "axxy".toCharArray()) {
            assertFalse(text.append(id(c)));
        }
        assertEquals("ax", text.take(false));
        assertTrue(text.append(id('z')));
        assertEquals("", text.take(true));
        assertEquals("ax", text.taken());
    }

    @Test
    void cutsAtTheEarliestOfSeveralStopStringsInOneToken() {
        DecodedText text = text("b", "ab");
        text.append(id('x'));
        assertTrue(text.append(97)); // "ab"
        assertEquals("x", text.take(true));
    }

    @Test
    void givesWhatWasHeldBackAtTheEnd() {
        DecodedText text = text("xyz");
        text.append(id('x'));
        assertEquals("", text.take(false));
        assertEquals("x", text.take(true));
    }

    @Test
    void addsNothingForTheEndOfText() {
        DecodedText text = text();
        assertFalse(text.append(FakeCausalLm.END_OF_TEXT));
        assertFalse(text.append(id('#')));
        assertEquals("", text.take(true));
    }

    /** What is taken piece by piece is the decoded whole, cut at the first place where any stop string stands. */
    @Test
    void agreesWithCuttingTheWholeTextForRandomTokensAndStopStrings() {
        Random random = new Random(2);
        int stops = 0;
        for (int round = 0; round < 20_000; round++) {
            List<String> stopStrings = List.of(word(random), word(random));
            DecodedText text = text(stopStrings.toArray(String[]::new));
            StringBuilder pieces = new StringBuilder();
            StringBuilder whole = new StringBuilder();
            boolean stopped = false;
            for (int i = 0; i < 12 && !stopped; i++) {
                int id = new int[] {id('a'), id('b'), id('c'), 97, 98}[random.nextInt(5)];
                whole.append(tokenizer.decode(new int[] {id}));
                stopped = text.append(id);
                pieces.append(text.take(stopped || i == 11));
            }
            int cut = stopStrings.stream()
                    .mapToInt(whole::indexOf)
                    .filter(at -> at >= 0)
                    .min()
                    .orElse(whole.length());
            assertEquals(cut < whole.length(), stopped, whole + " " + stopStrings);
            assertEquals(whole.substring(0, cut), pieces.toString(), whole + " " + stopStrings);
            assertEquals(pieces.toString(), text.taken());
            stops += stopped ? 1 : 0;
        }
        assertTrue(stops > 1000 && stops < 19_000, "stops " + stops);
    }

    private static String word(Random random) {
        StringBuilder word = new StringBuilder();
        for (int length = 2 + random.nextInt(4); length > 0; length--) {
            word.append((char) ('a' + random.nextInt(3)));
        }
        return word.toString();
    }
}
