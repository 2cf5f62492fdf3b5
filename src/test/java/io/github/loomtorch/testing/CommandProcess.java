package io.github.loomtorch.testing;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** Runs a main class as a process of its own, on this test's Java and class path. */
public final class CommandProcess {
    private static final int LIMIT_SECONDS = 180;

    private final List<String> command = new ArrayList<>();
    private Path directory = Path.of("");
    private String stdin = "";

    public CommandProcess(Class<?> mainClass, String... arguments) {
        // Absolute, as the process may run elsewhere; compiled quickly, as it ends soon.
        String classPath = Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .map(entry -> Path.of(entry).toAbsolutePath().toString())
                .collect(Collectors.joining(File.pathSeparator));
        command.addAll(List.of(
                ProcessHandle.current().info().command().orElseThrow(),
                "--enable-native-access=ALL-UNNAMED",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-cp",
                classPath,
                mainClass.getName()));
        command.addAll(List.of(arguments));
    }

    /** Runs it without the entries of the class path that contain a text. */
    public static CommandProcess without(String jars, Class<?> mainClass, String... arguments) {
        CommandProcess process = new CommandProcess(mainClass, arguments);
        int classPath = process.command.indexOf("-cp") + 1;
        process.command.set(
                classPath,
                Arrays.stream(process.command.get(classPath).split(File.pathSeparator))
                        .filter(entry -> !entry.contains(jars))
                        .collect(Collectors.joining(File.pathSeparator)));
        return process;
    }

    /** Lets it find files in a folder before those of the class path. */
    public CommandProcess before(Path folder) {
        int classPath = command.indexOf("-cp") + 1;
        command.set(classPath, folder.toAbsolutePath() + File.pathSeparator + command.get(classPath));
        return this;
    }

    /** Runs it as {@code words} of a POSIX shell say, with an empty environment but for {@code assignments}. */
    public static CommandProcess inShell(Class<?> mainClass, String assignments, String words) {
        CommandProcess process = new CommandProcess(mainClass);
        process.command.addAll(0, List.of("/bin/sh", "-c", "exec env -i " + assignments + " \"$@\" " + words, "sh"));
        return process;
    }

    /** Runs it on another Java, without options that an old one does not know. */
    public static CommandProcess of(Path javaHome, Class<?> mainClass, String... arguments) {
        CommandProcess process = new CommandProcess(mainClass, arguments);
        process.command.set(0, javaHome.resolve("bin/java").toString());
        process.command.remove("--enable-native-access=ALL-UNNAMED");
        return process;
    }

    public CommandProcess in(Path directory) {
        this.directory = directory;
        return this;
    }

    public CommandProcess stdin(String text) {
        stdin = text;
        return this;
    }

    public record Result(int status, String out, String err) {}

    public Result run() throws IOException, InterruptedException {
        Process process = start();
        try (OutputStream to = process.getOutputStream()) {
            to.write(stdin.getBytes(StandardCharsets.UTF_8));
        }
        CompletableFuture<String> out = read(process.getInputStream());
        return finish(process, out);
    }

    /** Runs it with nobody left to read its output after the first byte. */
    public Result runWithReaderThatLeaves() throws IOException, InterruptedException {
        Process process = start();
        process.getOutputStream().close();
        process.getInputStream().read();
        process.getInputStream().close();
        return finish(process, CompletableFuture.completedFuture(""));
    }

    /** Ends it by SIGTERM when a line of its output begins with {@code line}. */
    public Result endAfter(String line) throws IOException, InterruptedException {
        Process process = start();
        process.getOutputStream().close();
        StringBuilder out = new StringBuilder();
        try (BufferedReader lines = process.inputReader(StandardCharsets.UTF_8)) {
            for (String read; (read = lines.readLine()) != null; ) {
                out.append(read).append('\n');
                if (read.startsWith(line)) {
                    process.toHandle().destroy(); // Process.destroy would close its streams too
                }
            }
            return finish(process, CompletableFuture.completedFuture(out.toString()));
        } finally {
            process.destroyForcibly();
        }
    }

    /** Writes lines and waits for a line of output after each. */
    public List<String> converse(List<String> lines) throws IOException {
        Process process = start();
        List<String> answers = new ArrayList<>();
        try (Writer to = process.outputWriter(StandardCharsets.UTF_8);
                BufferedReader from = process.inputReader(StandardCharsets.UTF_8)) {
            for (String line : lines) {
                to.write(line + "\n");
                to.flush();
                answers.add(from.readLine());
            }
        } finally {
            process.destroyForcibly();
        }
        return answers;
    }

    private Process start() throws IOException {
        ProcessBuilder builder =
                new ProcessBuilder(command).directory(directory.toAbsolutePath().toFile());
        builder.environment().put("LC_ALL", "C");
        builder.environment().remove("JAVA_TOOL_OPTIONS"); // the JVM would name it on standard error
        return builder.start();
    }

    private static Result finish(Process process, CompletableFuture<String> out) throws InterruptedException {
        CompletableFuture<String> err = read(process.getErrorStream());
        try {
            if (!process.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS)) {
                throw new AssertionError("the process still runs after " + LIMIT_SECONDS + " s");
            }
            return new Result(process.exitValue(), out.join(), err.join());
        } finally {
            process.destroyForcibly(); // closes the streams too
        }
    }

    private static CompletableFuture<String> read(InputStream in) {
        return CompletableFuture.supplyAsync(() -> {
            try (in) {
                return new String(in.readAllBytes(), StandardCharsets.UTF_8);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
    }
}
