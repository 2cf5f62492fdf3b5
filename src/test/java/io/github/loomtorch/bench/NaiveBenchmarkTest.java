package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.commons.csv.CSVFormat;
import org.apache.commons.csv.CSVRecord;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

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
            NaiveBenchmark.Run run = benchmark.run(7, List.of("one", LONG, "three", "four"), finished::incrementAndGet);
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
    void batchesAreCountedFromOneInEachRun() throws IOException {
        try (AsyncNaiveScheduler scheduler = scheduler()) {
            NaiveBenchmark benchmark = new NaiveBenchmark(scheduler, new FakeTokenizer(), SAMPLING, 1);
            for (int run = 1; run <= 2; run++) {
                List<NaiveResult> results =
                        benchmark.run(run, List.of("a", "b", "c"), () -> {}).results();
                // One in flight at a time: each is a batch of its own.
                assertEquals(
                        List.of(1, 2, 3),
                        results.stream().map(NaiveResult::batchNum).sorted().toList());
            }
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
    void csvHasTheColumnsInOrderAndQuotesText(@TempDir Path directory) throws IOException {
        Path file = directory.resolve("results.csv");
        NaiveResult result = new NaiveResult(1, 2, 3, 4, 5, 2.5, 0.5, "Roses, \"red\"\n", "é, 你", "");
        NaiveResult.writeCsv(List.of(result, NaiveResult.failed(1, 3, 6, "p", "why")), file);
        assertEquals(
                "run_num,seq,status,batch_num,input_tokens,output_tokens,total_tokens,latency,ttft,tokens_per_sec,prompt,"
                        + "output_prompt,error",
                Files.readAllLines(file).get(0));
        try (Reader reader = Files.newBufferedReader(file)) {
            List<CSVRecord> records = CSVFormat.RFC4180.parse(reader).getRecords();
            assertEquals(
                    List.of(
                            "1",
                            "2",
                            "success",
                            "3",
                            "4",
                            "5",
                            "9",
                            "2.5",
                            "0.5",
                            "2.0",
                            "Roses, \"red\"\n",
                            "é, 你",
                            ""),
                    records.get(1).toList());
            assertEquals(
                    List.of("1", "3", "error", "0", "6", "0", "6", "0.0", "0.0", "0.0", "p", "", "why"),
                    records.get(2).toList());
        }
    }

    @Test
    void thereAreThirtyDifferentPrompts() {
        assertEquals(30, new HashSet<>(Prompts.of(30)).size());
        assertEquals(Prompts.of(1).get(0), Prompts.of(31).get(30));
    }
}
