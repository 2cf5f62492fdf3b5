package io.github.loomtorch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The phrases that CONTRIBUTING.md forbids are in no source or documentation file. */
@Timeout(20)
class PlainEnglishTest {
    private static final Path GLOSSARY = Path.of("CONTRIBUTING.md");
    private static final Pattern TEXT_FILE = Pattern.compile(".*\\.(java|cu|cuh|md|py|yml|xml)");

    @Test
    void noFileContainsAPhraseOfTheGlossary() throws IOException {
        Pattern forbidden = forbidden();
        List<String> found = new ArrayList<>();
        for (Path file : files()) {
            String text = Files.readString(file);
            if (file.equals(GLOSSARY)) {
                text = withoutTables(text);
            }
            found.addAll(occurrences(forbidden, file, text));
        }
        assertEquals("", String.join("\n", found), "see the glossary in " + GLOSSARY);
    }

    @Test
    void phrasesAreFoundAcrossLinesAndInNames() throws IOException {
        Path file = Path.of("A.java");
        String text =
                "/**\n * A row in\n * vain.\n */\n// matrix\n// units\nvoid ring_attention() { multiprocessorCount(); }\n";
        assertEquals(
                List.of(file + ":2: in vain", file + ":5: matrix units", file + ":7: ring attention"),
                occurrences(forbidden(), file, text));
    }

    /**
     * The places of forbidden phrases; words may be apart by an underscore, a hyphen, or a line break and comment
     * signs.
     */
    private static List<String> occurrences(Pattern forbidden, Path file, String text) {
        return forbidden
                .matcher(text)
                .results()
                .map(match -> file + ":" + lineOf(match, text) + ": "
                        + match.group().replaceAll("[^\\p{L}]+", " ").toLowerCase())
                .toList();
    }

    private static long lineOf(MatchResult match, String text) {
        return 1 + text.substring(0, match.start()).lines().count() - (startsLine(match, text) ? 0 : 1);
    }

    private static boolean startsLine(MatchResult match, String text) {
        return match.start() == 0 || text.charAt(match.start() - 1) == '\n';
    }

    private static Pattern forbidden() throws IOException {
        String glossary = Files.readString(GLOSSARY);
        String table = glossary.substring(glossary.indexOf("| do not write |"));
        List<String> phrases = table.lines()
                .takeWhile(line -> line.startsWith("|"))
                .skip(2)
                .flatMap(row -> Arrays.stream(row.split("\\|")[1].split(",")))
                .map(String::strip)
                .toList();
        assertTrue(phrases.size() >= 20, () -> "phrases read from " + GLOSSARY + ": " + phrases);
        return Pattern.compile(
                phrases.stream()
                        .map(phrase -> Arrays.stream(phrase.split("[ -]"))
                                .map(Pattern::quote)
                                .collect(Collectors.joining("[\\s*/#_-]+")))
                        .collect(Collectors.joining("|", "(?<![\\p{L}])(", ")(?![\\p{L}])")),
                Pattern.CASE_INSENSITIVE);
    }

    private static String withoutTables(String text) {
        return text.lines().map(line -> line.startsWith("|") ? "" : line).collect(Collectors.joining("\n"));
    }

    private static List<Path> files() throws IOException {
        List<Path> files = new ArrayList<>();
        for (String root : List.of("src", "docs", "dev", "models", ".github", "tokenizer")) {
            if (Files.isDirectory(Path.of(root))) {
                try (Stream<Path> paths = Files.walk(Path.of(root))) {
                    paths.filter(Files::isRegularFile).forEach(files::add);
                }
            }
        }
        try (Stream<Path> paths = Files.list(Path.of(""))) {
            paths.filter(Files::isRegularFile).forEach(files::add);
        }
        Path self = Path.of("src/test/java", PlainEnglishTest.class.getName().replace('.', '/') + ".java");
        return files.stream()
                .filter(file -> TEXT_FILE.matcher(file.toString()).matches() && !file.equals(self))
                .sorted()
                .toList();
    }
}
