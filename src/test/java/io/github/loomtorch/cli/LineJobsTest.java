package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class LineJobsTest {
    private static final Progress NO_PROGRESS = new Progress("test", Progress.UNKNOWN, System.err);

    private final StringWriter out = new StringWriter();

    private static InputLines lines(String text) {
        return new InputLines(new ByteArrayInputStream(text.getBytes(StandardCharsets.UTF_8)), "test", true);
    }

    private void run(LineJobs<String> jobs, Writer to) throws IOException {
        try (WholeLines whole = new WholeLines(new PrintWriter(to));
                jobs) {
            jobs.run(
                    (line, result) -> line + " " + result,
                    (line, error) -> line + " error " + error,
                    whole,
                    NO_PROGRESS);
        }
    }

    @Test
    void writesInOrderWhateverEndsFirstAndHoldsFewLines() throws IOException {
        int count = 2000;
        int ahead = 7;
        Random random = new Random(1);
        AtomicInteger unwritten = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        List<CompletableFuture<String>> open = new ArrayList<>(); // guarded by itself
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            LineJobs<String> jobs = new LineJobs<>(
                    lines(IntStream.range(0, count)
                            .mapToObj(i -> "\"t" + i + "\"\n")
                            .collect(Collectors.joining())),
                    ahead,
                    line -> {
                        String text = line.json("a JSON string").textValue();
                        most.accumulateAndGet(unwritten.incrementAndGet(), Math::max);
                        boolean isLate = random.nextBoolean();
                        return List.of(CompletableFuture.supplyAsync(
                                () -> {
                                    for (int i = 0; i < (isLate ? 100 : 0); i++) {
                                        Thread.yield();
                                    }
                                    return text;
                                },
                                threads));
                    });
            run(jobs, new Writer() {
                @Override
                public void write(char[] chars, int offset, int length) {
                    out.write(chars, offset, length);
                }

                @Override
                public void flush() { // after each line
                    unwritten.decrementAndGet();
                }

                @Override
                public void close() {}
            });
        }
        assertEquals(
                IntStream.range(0, count).mapToObj(i -> (i + 1) + " t" + i).toList(),
                out.toString().lines().toList());
        assertTrue(most.get() <= ahead + 1, most + " lines"); // one more waits for its place
    }

    @Test
    void aLineThatFailsGetsAnErrorAndTheOthersGoOn() {
        LineJobs<String> jobs = new LineJobs<>(lines("\"a\"\n{\n\n\"bad\"\n\"late\"\n\"z\""), 2, line -> {
            String text = line.json("a JSON string").asText();
            if (text.equals("bad")) {
                throw new IllegalArgumentException("text must be good, got bad");
            }
            return text.equals("late")
                    ? List.of(
                            CompletableFuture.completedFuture(text),
                            CompletableFuture.failedFuture(new IllegalStateException("broken")))
                    : List.of(CompletableFuture.completedFuture(text));
        });
        IOException failure = assertThrows(IOException.class, () -> run(jobs, out));
        assertEquals("3 of 6 lines failed; the output has an error for each", failure.getMessage());
        List<String> lines = out.toString().lines().toList();
        assertEquals(7, lines.size(), out.toString());
        assertEquals("1 a", lines.get(0));
        assertEquals(
                "2 error test line 2 column 2: expected a JSON string, got bad JSON: Unexpected end-of-input: expected close"
                        + " marker for Object",
                lines.get(1));
        assertEquals("3 ", lines.get(2)); // an empty line has no value
        assertEquals("4 error test line 4: text must be good, got bad", lines.get(3));
        assertEquals("5 late", lines.get(4));
        assertEquals("5 error test line 5: broken", lines.get(5));
        assertEquals("6 z", lines.get(6));
    }

    @Test
    void aByteOrderMarkIsNoTextAtTheStartOnly() throws IOException {
        LineJobs<String> jobs = new LineJobs<>(
                lines("\uFEFF\"a\"\n\"\uFEFFb\""),
                2,
                line -> List.of(CompletableFuture.completedFuture(line.json("x").textValue())));
        run(jobs, out);
        assertEquals(List.of("1 a", "2 \uFEFFb"), out.toString().lines().toList());
        assertEquals("key\n\uFEFF", lines("\uFEFFkey\n\uFEFF").rest()); // also that of serve --api-key-file
    }

    @Test
    void bytesThatAreNotUtf8AreAnErrorOfTheirLine() {
        byte[] bytes = {'"', (byte) 0xff, '"', '\n', '"', 'b', '"'};
        LineJobs<String> jobs = new LineJobs<>(
                new InputLines(new ByteArrayInputStream(bytes), "test", true),
                2,
                line -> List.of(CompletableFuture.completedFuture(line.json("x").textValue())));
        assertThrows(IOException.class, () -> run(jobs, out));
        assertEquals(
                List.of("1 error test line 1: expected UTF-8, got malformed bytes", "2 b"),
                out.toString().lines().toList());
    }

    @Test
    void whatIsNoFaultOfALineEndsIt() {
        LineJobs<String> jobs = new LineJobs<>(lines("\"a\"\n\"b\""), 2, line -> {
            throw new IllegalStateException("closed");
        });
        assertEquals(
                "closed",
                assertThrows(IllegalStateException.class, () -> run(jobs, out)).getMessage());
    }

    @Test
    void anInputThatBreaksEndsIt() {
        InputStream broken = new InputStream() {
            @Override
            public int read() throws IOException {
                throw new IOException("disk");
            }
        };
        LineJobs<String> jobs = new LineJobs<>(new InputLines(broken, "test", true), 2, line -> List.of());
        assertEquals(
                "disk", assertThrows(IOException.class, () -> run(jobs, out)).getMessage());
    }

    @Test
    void aReaderThatLeavesEndsItAndCancelsWhatHasStarted() throws IOException {
        List<CompletableFuture<String>> started = new ArrayList<>();
        LineJobs<String> jobs = new LineJobs<>(lines("1\n2\n3\n4\n"), 2, line -> {
            CompletableFuture<String> job = new CompletableFuture<>();
            started.add(job);
            if (line.number() == 2) {
                started.get(0).complete("first"); // now the second is started too
            }
            return List.of(job);
        });
        OutputStream closed = new FilterOutputStream(OutputStream.nullOutputStream()) {
            @Override
            public void write(byte[] bytes, int offset, int length) throws IOException {
                throw new IOException("Broken pipe");
            }
        };
        try (WholeLines whole = new WholeLines(new PrintWriter(closed));
                jobs) {
            jobs.run((line, result) -> result, (line, error) -> error, whole, NO_PROGRESS);
        }
        assertTrue(started.get(0).isDone() && !started.get(0).isCancelled());
    }
}
