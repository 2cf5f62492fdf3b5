package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;

/**
 * Parses every {@code loomtorch} command of the README and the pages in {@code docs}, and looks for the tests that they
 * name. Runs nothing.
 */
@Timeout(60)
class DocumentedCommandsTest {
    private static final Pattern BLOCK = Pattern.compile("^```(\\w*)\\n(.*?)^```", Pattern.MULTILINE | Pattern.DOTALL);
    private static final Set<String> SHELL = Set.of("", "sh"); // a block's language
    private static final Pattern SPAN = Pattern.compile("`(loomtorch [^`]*)`");
    private static final Pattern COMMAND = Pattern.compile("^(?:loomtorch|java -jar \\S*loomtorch\\.jar) (.*)$");
    // A quoted text, a comment, a pipe or redirection, or a word.
    private static final Pattern WORD = Pattern.compile("\"([^\"]*)\"|'([^']*)'|(#.*)|([|<>&].*)|(\\S+)");
    private static final Pattern TESTS = Pattern.compile("-D(?:it\\.)?test='?([\\w,#]+)");
    private static final Pattern PLACEHOLDER = Pattern.compile("[A-Z]"); // as in "--batch-size B"

    @TestFactory
    List<DynamicTest> everyCommandParses() throws IOException {
        List<DynamicTest> tests = new ArrayList<>();
        for (Path page : pages()) {
            List<String> commands = commands(Files.readString(page));
            for (String command : commands) {
                tests.add(DynamicTest.dynamicTest(page + ": " + command, () -> parse(command)));
            }
        }
        assertFalse(tests.isEmpty());
        return tests;
    }

    /** Maven runs the other tests of a list without a word about one that is not there. */
    @Test
    void everyNamedTestExists() throws IOException {
        Set<String> classes;
        try (Stream<Path> files = Files.walk(Path.of("src/test/java"))) {
            classes = files.map(file -> file.getFileName().toString().replace(".java", ""))
                    .collect(Collectors.toSet());
        }
        List<String> unknown = new ArrayList<>();
        for (Path page : pages()) {
            TESTS.matcher(Files.readString(page))
                    .results()
                    .flatMap(match -> Stream.of(match.group(1).split(",")))
                    .map(test -> test.replaceFirst("#.*", ""))
                    .filter(test -> !test.equals("None") && !classes.contains(test))
                    .forEach(test -> unknown.add(page + ": " + test));
        }
        assertEquals(List.of(), unknown);
    }

    @Test
    void findsTheCommandsOfAPage() {
        String page = """
                `loomtorch kernels
                --arch sm_90` or `loomtorch`.

                ```java
                main();
                ```
                Text.
                ```
                loomtorch generate --prompt "a b"   # says
                java -jar target/loomtorch.jar tokenize \\
                    --jsonl < in.jsonl
                mvn verify
                ```
                """;
        List<List<String>> commands =
                commands(page).stream().map(DocumentedCommandsTest::words).toList();
        assertEquals(
                List.of(
                        List.of("generate", "--prompt", "a b"),
                        List.of("tokenize", "--jsonl"),
                        List.of("kernels", "--arch", "sm_90")),
                commands);
    }

    private static List<Path> pages() throws IOException {
        try (Stream<Path> docs = Files.list(Path.of("docs"))) {
            return Stream.concat(Stream.of(Path.of("README.md"), Path.of("CONTRIBUTING.md")), docs)
                    .filter(page -> page.toString().endsWith(".md"))
                    .sorted()
                    .toList();
        }
    }

    /** The arguments after {@code loomtorch}, of lines in blocks and of spans in sentences and tables. */
    private static List<String> commands(String page) {
        Stream<String> lines = BLOCK.matcher(page)
                .results()
                .filter(block -> SHELL.contains(block.group(1)))
                .flatMap(block -> block.group(2).replaceAll("\\\\\\n\\s*", "").lines());
        Stream<String> spans =
                SPAN.matcher(page).results().map(span -> span.group(1).replaceAll("\\s+", " "));
        return Stream.concat(lines, spans)
                .map(COMMAND::matcher)
                .filter(Matcher::matches)
                .map(command -> command.group(1))
                .toList();
    }

    private static void parse(String command) {
        String[] words = words(command).toArray(String[]::new);
        assertDoesNotThrow(() -> Main.commandLine(new Main()).parseArgs(words), command);
    }

    /** The words of a command as a shell would split them, up to a comment, a pipe or a redirection. */
    private static List<String> words(String command) {
        List<String> words = new ArrayList<>();
        for (var match : WORD.matcher(command).results().toList()) {
            if (match.group(3) != null || match.group(4) != null) {
                break;
            }
            String word = Stream.of(match.group(1), match.group(2), match.group(5))
                    .filter(part -> part != null)
                    .findFirst()
                    .orElseThrow();
            words.add(PLACEHOLDER.matcher(word).matches() ? "1" : word);
        }
        return words;
    }
}
