package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class NaiveBenchmarkTest {
    private static final SamplingParams SAMPLING =
            SamplingParams.builder().maxNewTokens(5).ignoreEos(true).build();
    private static final String LONG = "x".repeat(60); // with 5 new tokens more than the fake's context of 64

    private static AsyncNaiveScheduler scheduler() throws IOException {
        return new AsyncNaiveScheduler(
                () -> new Engine(FakeCausalLm.ofBatch(2), new FakeTokenizer(), EngineOptions.defaults()),
                2,
                Duration.ofMillis(1));
    }

    @Test
    void everyPromptIsAResultInOrderAndAFailedOneDoesNotEndTheRun() throws IOException {
        try (AsyncNaiveScheduler scheduler = scheduler()) {
            NaiveBenchmark benchmark = new NaiveBenchmark(scheduler, new FakeTokenizer(), SAMPLING, 3);
            AtomicInteger finished = new AtomicInteger();
            NaiveBenchmark.Run run =
                    benchmark.run(7, List.of("one", LONG, "three", "four"), result -> finished.incrementAndGet());
            assertEquals(4, finished.get());
            assertEquals(
                    List.of("one", LONG, "three", "four"),
                    run.results().stream().map(NaiveResult::prompt).toList());
            assertEquals(
                    List.of(1, 2, 3, 4),
                    run.results().stream().map(NaiveResult::seq).toList());
            NaiveResult failed = run.results().get(1);
            assertEquals(
                    "promptTokenIds (60) + maxNewTokens (5) must be <= contextLength (64), got 65", failed.error());
            assertEquals(0, failed.batchNum());
            NaiveResult first = run.results().get(0);
            assertTrue(first.isSuccess());
            assertEquals(7, first.runNum());
            assertEquals(3, first.inputTokens());
            assertEquals(5, first.outputTokens());
            assertTrue(first.ttftSeconds() > 0 && first.latencySeconds() >= first.ttftSeconds());
            assertEquals(5 / first.latencySeconds(), first.tokensPerSecond());
        }
    }

    @Test
    void batchesAreCountedFromOne() throws IOException {
        try (AsyncNaiveScheduler scheduler = scheduler()) {
            NaiveBenchmark benchmark = new NaiveBenchmark(scheduler, new FakeTokenizer(), SAMPLING, 1);
            NaiveBenchmark.Run run = benchmark.run(1, List.of("a", "b", "c"), result -> {});
            // One in flight at a time: each is a batch of its own.
            assertEquals(
                    List.of(1, 2, 3),
                    run.results().stream().map(NaiveResult::batchNum).sorted().toList());
            assertEquals(3, run.batches());
        }
    }

    @Test
    void whatTheCallbackThrowsIsNotLost() throws IOException {
        try (AsyncNaiveScheduler scheduler = scheduler()) {
            NaiveBenchmark benchmark = new NaiveBenchmark(scheduler, new FakeTokenizer(), SAMPLING, 1);
            CompletionException e = assertThrows(
                    CompletionException.class,
                    () -> benchmark.run(1, List.of("a", "b"), result -> {
                        throw new IllegalStateException("disk full");
                    }));
            assertEquals("disk full", e.getCause().getMessage());
        }
    }

    @Test
    void theLimitOfRequestsInFlightIsAtLeastOne() throws IOException {
        try (AsyncNaiveScheduler scheduler = scheduler()) {
            IllegalArgumentException e = assertThrows(
                    IllegalArgumentException.class,
                    () -> new NaiveBenchmark(scheduler, new FakeTokenizer(), SAMPLING, 0));
            assertEquals("maxInFlight must be >= 1, got 0", e.getMessage());
        }
    }

    @Test
    void csvHasTheColumnsInOrderAndOneLineForEachResult(@TempDir Path directory) throws IOException {
        Path file = directory.resolve("results.csv");
        try (NaiveCsv csv = new NaiveCsv(file)) {
            csv.add(new NaiveResult(1, 2, 3, 4, 5, 2.5, 0.5, "Roses, \"red\"", "\n é,\r\n\t\u00a0你 ", ""));
        }
        assertEquals(
                List.of(
                        "run_num,seq,status,batch_num,input_tokens,output_tokens,total_tokens,latency,ttft,tokens_per_sec,prompt,"
                                + "output_prompt,error",
                        "1,2,ok,3,4,5,9,2.5,0.5,2.0,\"Roses, \"\"red\"\"\",\"é, 你\","),
                Files.readAllLines(file));
    }

    @Test
    void csvHasAResultAtOnceAndIsSortedAtTheEnd(@TempDir Path directory) throws IOException {
        Path file = directory.resolve("results.csv");
        try (NaiveCsv csv = new NaiveCsv(file)) {
            csv.add(NaiveResult.failed(2, 1, 6, "p", "why\nnot"));
            csv.add(NaiveResult.failed(1, 2, 6, "p", "why"));
            csv.add(NaiveResult.failed(1, 1, 6, "p", "why"));
            assertEquals(
                    List.of("2,1,error,0,6,0,6,0.0,0.0,0.0,p,,why not", "1,2", "1,1"),
                    List.of(
                            Files.readAllLines(file).get(1),
                            Files.readAllLines(file).get(2).substring(0, 3),
                            Files.readAllLines(file).get(3).substring(0, 3)));
        }
        assertEquals(
                List.of("1,1", "1,2", "2,1"),
                Files.readAllLines(file).stream()
                        .skip(1)
                        .map(line -> line.substring(0, 3))
                        .toList());
        try (Stream<Path> files = Files.list(directory)) {
            assertEquals(List.of(file), files.toList());
        }
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void aDeviceIsNotReplaced() throws IOException {
        try (NaiveCsv csv = new NaiveCsv(Path.of("/dev/null"))) {
            csv.add(NaiveResult.failed(1, 1, 6, "p", "why"));
        }
        assertFalse(Files.isRegularFile(Path.of("/dev/null")));
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void aFullDiskIsNamed() throws IOException {
        // Nothing fits into this device; the header is what fails.
        IOException e = assertThrows(IOException.class, () -> new NaiveCsv(Path.of("/dev/full")));
        assertEquals("/dev/full: could not be written: No space left on device", e.getMessage());
    }

    @Test
    void thereAreThirtyDifferentPrompts() {
        assertEquals(30, new HashSet<>(Prompts.of(30)).size());
        assertEquals(Prompts.of(1).get(0), Prompts.of(31).get(30));
    }
}
