package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.bench.ResultFile;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code bench sweep} and {@code bench compare}, as far as they need no model. */
@Timeout(60)
class BenchSweepCommandTest {
    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    @TempDir
    private Path directory;

    private int run(String... args) {
        return Main.run(new PrintWriter(out), new PrintWriter(err), args);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "--over rate serve | --over must be OPTION=VALUE,VALUE, got rate; see loomtorch bench sweep --help",
                "--over =3 serve | --over must be OPTION=VALUE,VALUE, got =3; see loomtorch bench sweep --help",
                "--over api-key=s serve | --over must not be api-key, which must not be in results; see loomtorch bench sweep --help",
                "--over runs=0 latency | --runs must be >= 1, got 0; see loomtorch bench latency --help",
                "--over x=3 sweep --over y=4 serve | BENCHMARK must be serve, offline, latency, step, prefill, score or naive, got sweep; see loomtorch bench sweep --help",
                "--over runs=1,x offline | Invalid value for option '--runs': 'x' is not an int; see loomtorch bench offline --help",
                "--over rate=1 serve | unknown option '--rate=1'; did you mean --runs?; see loomtorch bench serve --help",
                "--over runs=1 offline --json x | --json must come before the benchmark's name; see loomtorch bench sweep --help",
            })
    void wrongUsageIsSaidBeforeAnythingIsMeasured(String args, String message) {
        assertEquals(2, run(("bench sweep " + args).split(" ")));
        assertEquals("", out.toString());
        String rest = err.toString().replaceFirst("; did you mean [^;]*", "");
        assertEquals("error: " + message.replaceFirst("; did you mean [^;]*", "") + "\n", rest);
    }

    private Path result(String name, double throughput) throws IOException {
        Path file = directory.resolve(name);
        new ResultFile(
                        "serve",
                        Instant.EPOCH,
                        "",
                        OptionalLong.of(0),
                        Map.of(),
                        Map.of(),
                        Map.of(),
                        Map.of("dtype", name),
                        List.of(new ResultFile.Result(
                                Map.of("scheduler", "continuous"),
                                Map.of("request_throughput", 5.0, "output_throughput", throughput),
                                List.of())))
                .write(file);
        return file;
    }

    @Test
    void compareFailsAboveAFactor() throws IOException {
        String before = result("before.json", 100).toString();
        String after = result("after.json", 90).toString();
        assertEquals(0, run("bench", "compare", before, after));
        assertTrue(out.toString().contains("dtype: before.json -> after.json"), out.toString());
        assertTrue(
                out.toString().lines().anyMatch(line -> line.matches("output_throughput +100 +90 +0\\.900  -")),
                out.toString());
        assertEquals(0, run("bench", "compare", before, after, "--fail-above", "1.12"));
        assertEquals(1, run("bench", "compare", before, after, "--fail-above", "1.1"));
        assertTrue(out.toString().contains("0.900  -  worse"), out.toString());
        assertEquals(
                0, run("bench", "compare", before, after, "--fail-above", "1.1", "--metrics", "request_throughput"));
        assertEquals("", err.toString());
    }

    @Test
    void compareSaysWhichFileIsNoResult() throws IOException {
        Path other = Files.writeString(directory.resolve("other.json"), "{}");
        assertEquals(1, run("bench", "compare", result("a.json", 1).toString(), other.toString()));
        assertEquals(
                "error: " + other + ": schema must be 1, got none; measure again with this version of the program\n",
                err.toString());
    }
}
