package io.github.loomtorch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** Compiles every Java block of the README and of the pages in {@code docs}, and runs those of the README. */
class ReadmeSnippetsIT {
    private static final Path README = Path.of("README.md");
    private static final Pattern BLOCK = Pattern.compile("^```java\\n(.*?)^```", Pattern.MULTILINE | Pattern.DOTALL);
    private static final Pattern PRINTED =
            Pattern.compile("^```java\\n(.*?)^```\\n\\n^```\\n(.*?)^```", Pattern.MULTILINE | Pattern.DOTALL);
    private static final String LOAD = "TextGenerator.tales()";
    private static final String LOAD_FROM_FOLDER = "TextGenerator.load(java.nio.file.Path.of(\"models/tales\"))";
    private static final String LOAD_IN_FLOAT32 = """
            TextGenerator.builder(java.nio.file.Path.of("models/tales"))
                    .model(io.github.loomtorch.options.ModelOptions.builder().device("cpu")
                            .dtype(io.github.loomtorch.options.Dtype.FLOAT32).build()).build()""";
    private static final Pattern CLASS = Pattern.compile("^(?:public )?(?:final )?class (\\w+)", Pattern.MULTILINE);

    @TempDir
    private Path directory;

    private static List<String> blocks(Path document) throws IOException {
        return BLOCK.matcher(Files.readString(document))
                .results()
                .map(match -> match.group(1))
                .toList();
    }

    private static List<Path> documents() throws IOException {
        try (Stream<Path> pages = Files.list(Path.of("docs"))) {
            return Stream.concat(
                            Stream.of(README),
                            pages.filter(page -> page.toString().endsWith(".md"))
                                    .sorted())
                    .toList();
        }
    }

    @TestFactory
    List<DynamicTest> everyBlockCompiles() throws IOException {
        List<DynamicTest> tests = new ArrayList<>();
        for (Path document : documents()) {
            List<String> blocks = blocks(document);
            for (int i = 0; i < blocks.size(); i++) {
                String block = blocks.get(i);
                tests.add(DynamicTest.dynamicTest(
                        document + " block " + (i + 1),
                        () -> compile(block, Files.createTempDirectory(directory, "block"))));
            }
        }
        return tests;
    }

    @Test
    void theFirstBlockRunsAndPrintsText() throws Exception {
        String block = blocks(README).getFirst();
        assertTrue(block.contains(LOAD), block); // here the model is a folder, not a jar on the class path
        assertFalse(run(block.replace(LOAD, LOAD_FROM_FOLDER)).isBlank());
    }

    /** Where the README shows what a block prints, right after it; it says that this is so in float32. */
    @Test
    void blocksPrintWhatTheReadmeShows() throws Exception {
        List<MatchResult> shown =
                PRINTED.matcher(Files.readString(README)).results().toList();
        assertEquals(1, shown.size());
        String block = shown.get(0).group(1);
        assertTrue(block.contains(LOAD), block);
        assertEquals(shown.get(0).group(2), run(block.replace(LOAD, LOAD_IN_FLOAT32)));
    }

    /** Compiles and runs a block; returns what it prints. */
    private String run(String block) throws Exception {
        String mainClass = compile(block, directory);
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream stdout = System.out;
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        try (URLClassLoader loader =
                new URLClassLoader(new URL[] {directory.toUri().toURL()})) {
            loader.loadClass(mainClass).getMethod("main", String[].class).invoke(null, (Object) new String[0]);
        } finally {
            System.setOut(stdout);
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    /** Compiles a block, a whole class or some statements; returns its class. */
    private static String compile(String block, Path directory) throws IOException {
        String name = CLASS.matcher(block)
                .results()
                .map(match -> match.group(1))
                .findFirst()
                .orElse("Snippet");
        Path file = directory.resolve(name + ".java");
        Files.writeString(file, CLASS.matcher(block).find() ? block : classOf(block));
        ByteArrayOutputStream messages = new ByteArrayOutputStream();
        int status = ToolProvider.getSystemJavaCompiler()
                .run(
                        null,
                        messages,
                        messages,
                        "-proc:none",
                        "-cp",
                        System.getProperty("java.class.path"),
                        "-d",
                        directory.toString(),
                        file.toString());
        assertEquals(0, status, () -> messages.toString(StandardCharsets.UTF_8) + block);
        return name;
    }

    private static String classOf(String block) {
        Map<Boolean, String> parts = block.lines()
                .collect(Collectors.partitioningBy(line -> line.startsWith("import "), Collectors.joining("\n")));
        return parts.get(true) + "\npublic class Snippet { public static void main(String[] args) throws Exception {\n"
                + parts.get(false) + "\n} }\n";
    }
}
