package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.api.FuzzedDataProvider;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import picocli.CommandLine;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;

/**
 * Parses hostile arguments; nothing runs. {@code JAZZER_FUZZ=1 mvn test -Dtest=CommandLineFuzzTest#METHOD} fuzzes one
 * method; otherwise only the inputs in {@code src/test/resources} are tried.
 */
@Tag("fuzz")
@Timeout(600)
class CommandLineFuzzTest {
    private static final String[] WORDS = {
        "generate",
        "tokenize",
        "export",
        "bench",
        "naive",
        "offline",
        "latency",
        "step",
        "prefill",
        "demo",
        "--",
        "--prompt",
        "--prompt-ids",
        "--model",
        "--tokenizer",
        "--stop",
        "--seed",
        "--top-k",
        "--temperature",
        "--dtype",
        "--scheduler",
        "--batch-size",
        "--json",
        "--csv",
        "--special",
        "--help",
        "--version",
        "--verbose",
        "@a",
        "1,2"
    };

    private static final CommandLine COMMAND_LINE = Main.commandLine(new Main());

    /** Any arguments are parsed, or refused with one short sentence. */
    @FuzzTest(maxDuration = "3m")
    void anythingIsParsedOrRefusedInOneSentence(FuzzedDataProvider data) {
        String[] args = new String[data.consumeInt(0, 6)];
        for (int i = 0; i < args.length; i++) {
            args[i] = switch (data.consumeInt(0, 2)) {
                case 0 -> data.pickValue(WORDS);
                case 1 -> data.pickValue(WORDS) + "=" + data.consumeString(400);
                default -> data.consumeString(400);
            };
        }
        try {
            COMMAND_LINE.parseArgs(args);
        } catch (ParameterException e) {
            String sentence = ErrorText.of(e, e.getCommandLine(), args);
            assertFalse(sentence.isBlank(), Arrays.toString(args));
            assertTrue(sentence.length() < 2000, sentence);
        }
    }

    /** Text that is given in a place for text arrives unchanged, except {@code --}, which is refused. */
    @FuzzTest(maxDuration = "3m")
    void textIsData(FuzzedDataProvider data) {
        String text = data.consumeRemainingAsString();
        if (text.equals("--")) {
            assertThrows(ParameterException.class, () -> COMMAND_LINE.parseArgs("generate", "--prompt=--"));
            return;
        }
        ParseResult generate = COMMAND_LINE
                .parseArgs("generate", "--prompt=" + text, "--stop=" + text)
                .subcommand();
        assertEquals(text, generate.matchedOptionValue("--prompt", "absent"));
        assertEquals(List.of(text), generate.matchedOptionValue("--stop", List.of()));
        ParseResult separate = COMMAND_LINE
                .parseArgs("generate", "--prompt", text, "--stop", text)
                .subcommand();
        assertEquals(text, separate.matchedOptionValue("--prompt", "absent"));
        assertEquals(List.of(text), separate.matchedOptionValue("--stop", List.of()));
        ParseResult tokenize = COMMAND_LINE.parseArgs("tokenize", "--", text).subcommand();
        assertEquals(List.of(text), tokenize.matchedPositionalValue(0, List.of()));
    }
}
