package io.github.loomtorch.server;

import static java.util.stream.Collectors.toSet;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.StepGate;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What {@code GET /metrics} and a JFR recording show of requests to the fake model. */
@Timeout(20)
class ServerMetricsTest {
    private static String body(int maxTokens) {
        return "{\"prompt\": \"abc\", \"ignore_eos\": true, \"max_tokens\": " + maxTokens + "}";
    }

    private static double value(FakeServer fake, String series) throws Exception {
        return fake.get("/metrics")
                .body()
                .lines()
                .filter(line -> line.startsWith(series + "{") || line.startsWith(series + " "))
                .mapToDouble(line -> Double.parseDouble(line.substring(line.lastIndexOf(' ') + 1)))
                .sum();
    }

    private static void awaitValue(double expected, FakeServer fake, String series) throws Exception {
        while (value(fake, series) != expected) { // reports of steps come a moment later
            Thread.sleep(5);
        }
    }

    @Test
    void countsRequestsAndTokensUnderTheNamesOfVllm() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            assertEquals(200, fake.post("/v1/completions", body(5)).statusCode());
            assertEquals(400, fake.post("/v1/completions", body(-1)).statusCode());
            awaitValue(1, fake, "vllm:request_success_total");
            awaitValue(5, fake, "vllm:generation_tokens_total");
            assertEquals(3, value(fake, "vllm:prompt_tokens_total"));
            assertEquals(1, value(fake, "vllm:admission_rejections_total"));
            for (String timed : List.of(
                    "time_to_first_token",
                    "e2e_request_latency",
                    "request_queue_time",
                    "request_prefill_time",
                    "request_decode_time",
                    "request_time_per_output_token")) {
                assertEquals(1, value(fake, "vllm:" + timed + "_seconds_count"), timed);
            }
            assertEquals(1, value(fake, "vllm:request_prompt_tokens_count"));
            assertEquals(5, value(fake, "vllm:request_generation_tokens_sum"));
            assertEquals(1, value(fake, "gen_ai_server_request_duration_seconds_count"));
            String text = fake.get("/metrics").body();
            assertTrue(text.contains("finished_reason=\"length\""), text);
            assertTrue(text.contains("model_name=\"fake\""), text);
            assertTrue(text.contains("vllm:cache_config_info{block_size=\"4\",num_gpu_blocks=\"64\"}"), text);
        }
    }

    @Test
    void timesTheTokensOfStreams() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            fake.post("/v1/completions", body(5).replace("}", ", \"stream\": true}"));
            awaitValue(4, fake, "vllm:inter_token_latency_seconds_count");
        }
    }

    @Test
    void showsWhatRunsAndWaits() throws Exception {
        StepGate gate = new StepGate();
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> model.onAwait(chunks -> gate.pass()))) {
            CompletableFuture<?> six = fake.client.sendAsync(
                    fake.request("/v1/completions", body(20).replace("\"abc\"", "\"abc\", \"n\": 6")),
                    BodyHandlers.discarding());
            gate.awaitStep();
            while (value(fake, "vllm:num_requests_waiting") != 2) { // until all six are submitted and four of them run
                gate.nextStep();
            }
            assertEquals(4, value(fake, "vllm:num_requests_running"));
            gate.nextStep(); // ends one, which is reported
            while (!(value(fake, "vllm:kv_cache_usage_perc") > 0)) {
                Thread.sleep(5);
            }
            assertTrue(value(fake, "vllm:kv_cache_usage_perc") <= 1);
            gate.open();
            six.join();
            awaitValue(0, fake, "vllm:num_requests_running");
            assertEquals(0, value(fake, "vllm:kv_cache_usage_perc"));
        }
    }

    @Test
    void theCachesOfReplicasCountTogether() {
        ServerMetrics metrics = new ServerMetrics(MetricNames.VLLM, "m", 4);
        EngineListener first = metrics.engineListener();
        EngineListener second = metrics.engineListener();
        metrics.submitted(); // without requests no page is in use
        first.onStep(step(90, 100));
        second.onStep(step(150, 300));
        String text = metrics.scrape();
        assertTrue(text.contains("vllm:cache_config_info{block_size=\"4\",num_gpu_blocks=\"400\"}"), text);
        assertTrue(text.contains("vllm:kv_cache_usage_perc{model_name=\"m\"} 0.4\n"), text);
    }

    private static StepStats step(int availablePages, int pageCount) {
        return new StepStats(1, 1, 0, 1, 0, 0, 1, 0, availablePages, pageCount, 1, 1, false, 0);
    }

    @Test
    void publishesWhatIsKnownOfEachGpuAtTheTimeOfTheScrape() {
        ServerMetrics metrics = new ServerMetrics(MetricNames.VLLM, "m", 4);
        assertFalse(metrics.scrape().contains("gpu_power_watts"));
        Iterator<List<GpuUse>> reads = List.of(
                        List.of(
                                new GpuUse("cuda:0", 0.25, 3e9, 8e10, 120.5),
                                new GpuUse("cuda:1", Double.NaN, 4e9, 8e10, 0)),
                        List.of(new GpuUse("cuda:1", 1, 5e9, 8e10, 700)))
                .iterator();
        metrics.watchGpus(reads::next);
        String first = metrics.scrape();
        String one = "{device=\"cuda:0\",model_name=\"m\"} ";
        String two = "{device=\"cuda:1\",model_name=\"m\"} ";
        assertTrue(first.contains("loomtorch_gpu_utilization_ratio" + one + "0.25\n"), first);
        assertFalse(first.contains("loomtorch_gpu_utilization_ratio" + two), first);
        assertTrue(first.contains("loomtorch_gpu_memory_used_bytes" + one + "3.0E9\n"), first);
        assertTrue(first.contains("loomtorch_gpu_memory_used_bytes" + two + "4.0E9\n"), first);
        assertTrue(first.contains("loomtorch_gpu_memory_total_bytes" + one + "8.0E10\n"), first);
        assertTrue(first.contains("loomtorch_gpu_power_watts" + one + "120.5\n"), first);
        String second = metrics.scrape();
        assertFalse(second.contains("cuda:0"), second);
        assertTrue(second.contains("loomtorch_gpu_utilization_ratio" + two + "1.0\n"), second);
        assertTrue(second.contains("loomtorch_gpu_power_watts" + two + "700.0\n"), second);
    }

    @Test
    void theDashboardAsksForMetricsThatExist() throws Exception {
        ServerMetrics metrics = new ServerMetrics(MetricNames.LOOMTORCH, "m", 4);
        metrics.rejected(429);
        metrics.failed();
        metrics.watchGpus(() -> List.of(new GpuUse("cuda:0", 1, 1, 1, 1)));
        try (NaiveScheduler scheduler = new NaiveScheduler(
                new Engine(FakeCausalLm.ofBatch(1), new FakeTokenizer(), EngineOptions.defaults()), 1)) {
            metrics.watch(scheduler);
            String text = metrics.scrape();
            String dashboard = Files.readString(Path.of("docs/grafana/loomtorch.json"));
            Set<String> asked = Pattern.compile("(loomtorch|jvm|process)_\\w+")
                    .matcher(dashboard)
                    .results()
                    .map(MatchResult::group)
                    .collect(toSet());
            assertTrue(asked.size() > 15, asked::toString);
            asked.removeIf(name -> text.contains("\n" + name + "{") || text.contains("\n" + name + " "));
            assertEquals(Set.of(), asked);
        }
    }

    @Test
    void ownNamesBeginWithLoomtorch() {
        String text = new ServerMetrics(MetricNames.LOOMTORCH, "m", 4).scrape();
        assertTrue(text.contains("loomtorch_time_to_first_token_seconds_bucket"), text);
        assertTrue(text.contains("loomtorch_kv_cache_usage_ratio"), text);
        assertTrue(!text.contains("vllm"), text);
    }

    @Test
    void aRecordingHasRequestsAndSteps(@TempDir Path directory) throws Exception {
        Path file = directory.resolve("test.jfr");
        try (Recording recording = new Recording()) {
            recording.enable("io.github.loomtorch.Request");
            recording.enable("io.github.loomtorch.Step");
            recording.enable("io.github.loomtorch.Load");
            recording.start();
            try (FakeServer fake = new FakeServer()) {
                fake.post("/v1/completions", body(5));
                awaitValue(5, fake, "vllm:generation_tokens_total");
            }
            recording.stop();
            recording.dump(file);
        }
        List<RecordedEvent> events = new ArrayList<>(RecordingFile.readAllEvents(file));
        assertTrue(Files.size(file) > 0);
        RecordedEvent request = events.stream()
                .filter(event -> event.getEventType().getName().equals("io.github.loomtorch.Request"))
                .findFirst()
                .orElseThrow();
        assertEquals(5, request.getInt("outputTokens"));
        assertEquals("LENGTH", request.getString("finishReason"));
        RecordedEvent load = events.stream()
                .filter(event -> event.getEventType().getName().equals("io.github.loomtorch.Load"))
                .findFirst()
                .orElseThrow();
        assertEquals("fake", load.getString("model"));
        assertTrue(load.getDuration().isPositive());
        assertTrue(events.stream()
                        .filter(event -> event.getEventType().getName().equals("io.github.loomtorch.Step"))
                        .mapToInt(event -> event.getInt("sampledTokens"))
                        .sum()
                == 5);
    }
}
