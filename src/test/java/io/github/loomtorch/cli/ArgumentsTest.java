package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class ArgumentsTest {
    private static final Charset ASCII = StandardCharsets.US_ASCII;

    private static byte[] commandLine(String... words) {
        return (String.join("\0", words) + "\0").getBytes(StandardCharsets.UTF_8);
    }

    private static String inAscii(String text) {
        return new String(text.getBytes(StandardCharsets.UTF_8), ASCII);
    }

    private static String refusal(byte[] commandLine, Charset platform, String... args) {
        return assertThrows(IllegalArgumentException.class, () -> Arguments.reread(commandLine, platform, args))
                .getMessage();
    }

    @Test
    void argumentsWithoutReplacementCharactersAreTakenAsTheyAre() {
        String[] args = {"tokenize", "café", ""};
        assertSame(args, Arguments.exact(args));
    }

    @Test
    void damagedArgumentsAreReadAgainAsUtf8() {
        byte[] line = commandLine("java", "-cp", "é.jar", "Main", "tokenize", "", "café", "世界", "plain");
        assertArrayEquals(
                new String[] {"tokenize", "", "café", "世界", "plain"},
                Arguments.reread(line, ASCII, "tokenize", "", inAscii("café"), inAscii("世界"), "plain"));
    }

    @Test
    void argumentsFromElsewhereThanTheCommandLineAreRefused() {
        String message = "argument 2 must be readable in this locale's encoding, which is "
                + Arguments.platformCharset() + ", got other characters; set LC_ALL=C.UTF-8";
        assertEquals(message, refusal(commandLine("java", "@options"), ASCII, "tokenize", inAscii("é")));
        assertEquals(message, refusal(commandLine("@options"), ASCII, "tokenize", inAscii("é")));
        assertEquals(message, refusal(new byte[0], ASCII, "tokenize", inAscii("é")));
    }

    @Test
    void bytesThatAreNotUtf8AreRefused() {
        byte[] line = "java\0Main\0caf\u00e9\0".getBytes(StandardCharsets.ISO_8859_1);
        assertEquals("argument 1 must be UTF-8, got malformed bytes", refusal(line, ASCII, "caf\uFFFD"));
        assertEquals(
                "argument 1 must be UTF-8, got malformed bytes", refusal(line, StandardCharsets.UTF_8, "caf\uFFFD"));
    }

    @Test
    void whatWindowsReplacedIsRefusedUnlessItsCodePageIsUtf8() {
        String[] args = {"generate", "--prompt", "?? ??????"};
        assertEquals(
                "argument 3 must have characters of this system's code page only, which is ISO-8859-1, got ?? where"
                        + " Windows replaced others; turn on UTF-8 in Windows' regional settings, or give the text to"
                        + " tokenize by standard input and its ids to --prompt-ids",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> Arguments.requireUnreplaced(StandardCharsets.ISO_8859_1, args))
                        .getMessage());
        Arguments.requireUnreplaced(StandardCharsets.UTF_8, args);
        Arguments.requireUnreplaced(StandardCharsets.ISO_8859_1, "generate", "--prompt", "How are you? Café?");
    }

    @Test
    void aReplacementCharacterThatWasGivenStays() {
        assertArrayEquals(
                new String[] {"\uFFFD"},
                Arguments.reread(commandLine("Main", "\uFFFD"), StandardCharsets.UTF_8, "\uFFFD"));
    }
}
