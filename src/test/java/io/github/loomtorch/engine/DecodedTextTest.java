package io.github.loomtorch.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;

class DecodedTextTest {
    private final FakeTokenizer tokenizer = new FakeTokenizer();

    private DecodedText text(String... stopStrings) {
        return new DecodedText(
                tokenizer,
                new int[] {id('#'), FakeCausalLm.END_OF_TEXT},
                SamplingParams.builder().stopStrings(List.of(stopStrings)).build());
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
    void keepsWhatEndedTheTextIfAskedFor() {
        SamplingParams.Builder sampling =
                SamplingParams.builder().stopStrings(List.of("xy")).stopTokenIds(Set.of(id('z')));
        assertEquals("a", textOf(sampling.build(), "axy"));
        assertEquals("a", textOf(sampling.build(), "az"));
        sampling.includeStop(true);
        assertEquals("axy", textOf(sampling.build(), "axy"));
        assertEquals("az", textOf(sampling.build(), "az"));
        DecodedText text = new DecodedText(tokenizer, new int[0], sampling.build());
        text.append(id('x'));
        assertEquals("x", text.take(false)); // nothing is held back
    }

    @Test
    void stopStringEndsNoTextThatIsTooShort() {
        SamplingParams.Builder sampling =
                SamplingParams.builder().stopStrings(List.of("xy")).minNewTokens(2);
        assertEquals("xya", textOf(sampling.build(), "xyaxy"));
        sampling.minNewTokens(1); // the token that completes the string counts
        assertEquals("", textOf(sampling.build(), "xya"));
    }

    private String textOf(SamplingParams sampling, String tokens) {
        DecodedText text = new DecodedText(tokenizer, new int[0], sampling);
        boolean stopped = false;
        for (int i = 0; i < tokens.length() && !stopped; i++) {
            stopped = text.append(id(tokens.charAt(i)));
        }
        return text.take(true);
    }

    @Test
    void specialTokensAddNoText() throws IOException {
        BpeTokenizer tokenizer = BpeTokenizer.load(Path.of("src/test/resources/cases/tokenizers/added-tokens-json"));
        DecodedText text = new DecodedText(tokenizer, new int[] {258}, SamplingParams.greedy(1));
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

    /** What is taken piece by piece is the decoded whole, cut before the stop string that ends first. */
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
            int cut = cut(whole.toString(), stopStrings);
            assertEquals(cut < whole.length(), stopped, whole + " " + stopStrings);
            assertEquals(whole.substring(0, cut), pieces.toString(), whole + " " + stopStrings);
            assertEquals(pieces.toString(), text.taken());
            stops += stopped ? 1 : 0;
        }
        assertTrue(stops > 1000 && stops < 19_000, "stops " + stops);
    }

    private static int cut(String whole, List<String> stopStrings) {
        for (int end = 1; end <= whole.length(); end++) {
            String text = whole.substring(0, end);
            OptionalInt longest = stopStrings.stream()
                    .filter(text::endsWith)
                    .mapToInt(String::length)
                    .max();
            if (longest.isPresent()) {
                return end - longest.getAsInt();
            }
        }
        return whole.length();
    }

    @Test
    void stopsAtWhatIsCompleteFirstWhereverTokensEnd() {
        DecodedText text = text("abcd", "bc");
        text.append(97); // "ab"
        assertEquals("a", text.take(false) + "a"); // both are held back
        assertTrue(text.append(id('c')));
        assertEquals("a", text.take(true));
    }

    /** Takes minutes if each token compares the whole strings again. */
    @Test
    void takesTimeLinearInTheTextForAnyStopStrings() {
        String[] stopStrings = new String[64];
        for (int i = 0; i < stopStrings.length; i++) {
            stopStrings[i] = "a".repeat(1023 - i) + "b";
        }
        DecodedText text = text(stopStrings);
        for (int i = 0; i < 100_000; i++) {
            assertFalse(text.append(id('a')));
            text.take(false);
        }
        assertTrue(text.append(id('b')));
        text.take(true);
        assertEquals("a".repeat(100_000 - 1023), text.taken());
    }

    private static String word(Random random) {
        StringBuilder word = new StringBuilder();
        for (int length = 2 + random.nextInt(4); length > 0; length--) {
            word.append((char) ('a' + random.nextInt(3)));
        }
        return word.toString();
    }
}
