package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class TemporaryFileTest {
    private static final String ABANDONED = "file.01234567-89ab-cdef-0123-456789abcdef.tmp";

    @TempDir
    private Path directory;

    private Path file;

    @BeforeEach
    void writeOldFile() throws IOException {
        file = Files.writeString(directory.resolve("file"), "old");
    }

    @Test
    void replacesTheFile() throws IOException {
        TemporaryFile.write(file, output -> {
            output.write(bytes("cd"), 2);
            output.write(bytes("ab"), 0);
            assertEquals("old", Files.readString(file));
        });
        assertEquals("abcd", Files.readString(file));
        assertOnly("file");
    }

    @Test
    void contentThatFailsLeavesTheOldFile() throws IOException {
        IOException problem = new IOException("weights are bad");
        IOException thrown = assertThrows(
                IOException.class,
                () -> TemporaryFile.write(file, output -> {
                    output.write(bytes("half"), 0);
                    throw problem;
                }));
        assertEquals(problem, thrown);
        assertEquals("old", Files.readString(file));
        assertOnly("file");
    }

    @Test
    void whatCannotBeReplacedIsNamedWithoutTheTemporaryFile() throws IOException {
        Path full = Files.createDirectories(directory.resolve("full/entry")).getParent();
        String message = assertThrows(
                        IOException.class, () -> TemporaryFile.write(full, output -> output.write(bytes("x"), 0)))
                .getMessage();
        assertTrue(message.startsWith(full + " could not be written: "), message);
        assertFalse(message.contains(".tmp") || message.contains("Exception"), message);
        assertOnly("file", "full");
    }

    @Test
    void deletesWhatAKilledProcessLeftAndNothingElse() throws IOException {
        Files.writeString(directory.resolve(ABANDONED), "half");
        Files.writeString(directory.resolve("file.mine.tmp"), "the user's own");
        Files.writeString(directory.resolve("other" + ABANDONED), "of another file");
        TemporaryFile.write(file, output -> output.write(bytes("new"), 0));
        assertOnly("file", "file.mine.tmp", "other" + ABANDONED);
    }

    @Test
    void severalThreadsWriteAtOnce() throws Exception {
        try (ExecutorService threads = Executors.newFixedThreadPool(8)) {
            List<Callable<Void>> writers = IntStream.range(0, 64)
                    .<Callable<Void>>mapToObj(i -> () -> {
                        String text = Integer.toString(i % 10).repeat(100);
                        TemporaryFile.write(file, output -> output.write(bytes(text), 0));
                        String read = Files.readString(file);
                        assertEquals(read.substring(0, 1).repeat(100), read);
                        return null;
                    })
                    .toList();
            for (var written : threads.invokeAll(writers)) {
                written.get();
            }
        }
        assertOnly("file");
    }

    @Test
    @DisabledOnOs(OS.WINDOWS)
    void theFileHasTheUsualPermissions() throws IOException {
        TemporaryFile.write(file, output -> output.write(bytes("new"), 0));
        Path usual = Files.createFile(directory.resolve("usual"));
        assertEquals(Files.getPosixFilePermissions(usual), Files.getPosixFilePermissions(file));
    }

    /** A program that writes half a file and then waits for ever. */
    static final class Writer {
        public static void main(String[] arguments) throws IOException {
            TemporaryFile.write(Path.of(arguments[0]), output -> {
                output.write(bytes("half"), 0);
                System.out.println("half");
                while (true) {
                    try {
                        Thread.sleep(Long.MAX_VALUE);
                    } catch (InterruptedException e) {
                        throw new AssertionError(e);
                    }
                }
            });
        }
    }

    private Process startWriter() throws IOException {
        Process process = new ProcessBuilder(
                        ProcessHandle.current().info().command().orElseThrow(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        Writer.class.getName(),
                        file.toString())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        assertEquals("half", process.inputReader().readLine());
        return process;
    }

    @Test
    @DisabledOnOs(OS.WINDOWS) // whose processes cannot be asked to end
    void aProcessThatIsToldToEndLeavesNothing() throws Exception {
        Process process = startWriter();
        process.destroy();
        assertNotEquals(0, process.waitFor());
        assertEquals("old", Files.readString(file));
        assertOnly("file");
    }

    @Test
    void theNextWriterDeletesWhatAKilledProcessLeftButNotWhatIsBeingWritten() throws Exception {
        Process process = startWriter();
        try {
            TemporaryFile.write(file, output -> output.write(bytes("new"), 0));
            assertEquals(2, names().size(), names().toString());
        } finally {
            process.destroyForcibly().waitFor();
        }
        assertEquals(2, names().size(), names().toString());
        TemporaryFile.write(file, output -> output.write(bytes("newer"), 0));
        assertEquals("newer", Files.readString(file));
        assertOnly("file");
    }

    /** A program that writes two megabytes. */
    static final class LargeWriter {
        public static void main(String[] arguments) {
            try {
                TemporaryFile.write(Path.of(arguments[0]), output -> output.write(ByteBuffer.allocate(2 << 20), 0));
            } catch (IOException e) {
                System.out.println(e.getMessage());
            }
        }
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void aLimitOfTheFileSizeIsOneSentence() throws Exception {
        Process process = new ProcessBuilder(
                        "sh",
                        "-c",
                        "ulimit -f 1024; exec \"$@\"",
                        "sh",
                        ProcessHandle.current().info().command().orElseThrow(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        LargeWriter.class.getName(),
                        file.toString())
                .start();
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, process.waitFor());
        assertEquals(file + " could not be written: File too large\n", out);
        assertEquals("old", Files.readString(file));
        assertOnly("file");
    }

    private static ByteBuffer bytes(String text) {
        return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
    }

    private Set<String> names() throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            return files.map(path -> path.getFileName().toString()).collect(Collectors.toSet());
        }
    }

    private void assertOnly(String... names) throws IOException {
        assertEquals(Set.of(names), names());
    }
}
