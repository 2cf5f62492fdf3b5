package io.github.loomtorch.server;

import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.RequestTimings;
import io.github.loomtorch.request.Scheduler;
import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.DistributionSummary;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.Meter;
import io.micrometer.core.instrument.MultiGauge;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.binder.jvm.JvmMemoryMetrics;
import io.micrometer.core.instrument.binder.jvm.JvmThreadMetrics;
import io.micrometer.core.instrument.binder.system.ProcessorMetrics;
import io.micrometer.core.instrument.binder.system.UptimeMetrics;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.micrometer.prometheusmetrics.PrometheusNamingConvention;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import java.util.function.ToDoubleFunction;
import java.util.stream.DoubleStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What a server measures, for Prometheus: give {@link #engineListener()} to each engine, and this to the server, which
 * publishes it at {@code GET /metrics}. Thread-safe.
 */
public final class ServerMetrics {
    private static final Duration[] LATENCIES = Stream.of(
                    1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000)
            .map(Duration::ofMillis)
            .toArray(Duration[]::new);
    private static final double[] TOKENS =
            DoubleStream.iterate(1, tokens -> tokens * 2).limit(11).toArray();

    private final PrometheusMeterRegistry registry = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
    private final MetricNames names;
    private final int pageSize;
    private final Tags model;

    private final AtomicInteger generations = new AtomicInteger(); // submitted and not ended
    private final List<Replica> replicas = new CopyOnWriteArrayList<>();

    private final Timer timeToFirstToken;
    private final Timer timePerOutputToken;
    private final Timer interTokenLatency;
    private final Timer duration;
    private final Timer queueTime;
    private final Timer prefillTime;
    private final Timer decodeTime;
    private final Timer stepTime;
    private final DistributionSummary promptTokensOfRequest;
    private final DistributionSummary outputTokensOfRequest;
    private final Counter promptTokens;
    private final Counter outputTokens;
    private final Counter prefixQueries;
    private final Counter prefixHits;
    private final Counter preemptions;
    private final Counter failedSteps;
    private final Counter disconnected;
    private final Timer otelDuration;
    private final Timer otelTimeToFirstToken;
    private final Timer otelTimePerOutputToken;
    private final MultiGauge gpuUtilization;
    private final MultiGauge gpuUsedMemory;
    private final MultiGauge gpuTotalMemory;
    private final MultiGauge gpuPower;
    private volatile Supplier<List<GpuUse>> gpus = List::of;

    /**
     * Metrics of one model.
     *
     * @param names under which they are published
     * @param modelName the value of the tag {@code model_name}
     * @param pageSize tokens in a page of the KV cache, &gt;= 1
     */
    public ServerMetrics(MetricNames names, String modelName, int pageSize) {
        this.names = names;
        this.pageSize = pageSize;
        registry.config().namingConvention(new VllmNames());
        model = Tags.of("model_name", modelName);
        timeToFirstToken = timer("time_to_first_token", "From submit to the first token, time in the queue included");
        timePerOutputToken = timer("time_per_output_token", "Mean time between the tokens of a request");
        interTokenLatency = timer("inter_token_latency", "Between two tokens of a stream");
        duration = timer("request_duration", "From submit to the last token");
        queueTime = timer("request_queue_time", "From submit to the first step");
        prefillTime = timer("request_prefill_time", "From the first step to the first token");
        decodeTime = timer("request_decode_time", "From the first token to the last");
        stepTime = timer("step_duration", "Of one step of the engine");
        promptTokensOfRequest = summary("request_prompt_tokens", "Tokens of a request's prompt");
        outputTokensOfRequest = summary("request_output_tokens", "Tokens that a request generated");
        promptTokens = counter("prompt_tokens", "Prompt tokens of requests that ended");
        outputTokens = counter("output_tokens", "Tokens that were sampled");
        prefixQueries = counter("prefix_cache_queries", "Prompt tokens that were looked for in the prefix cache");
        prefixHits = counter("prefix_cache_hits", "Prompt tokens that were found in the prefix cache");
        preemptions = counter("preemptions", "Requests that gave way to others and went on later");
        failedSteps = counter("steps_failed", "Steps that failed as a whole");
        disconnected = counter("clients_disconnected", "Clients that left before their answer was complete");
        Tags otel = Tags.of(
                "gen_ai.operation.name", "text_completion",
                "gen_ai.provider.name", "loomtorch",
                "gen_ai.request.model", modelName);
        otelDuration = timer("gen_ai.server.request.duration", "From submit to the last token", otel);
        otelTimeToFirstToken = timer("gen_ai.server.time_to_first_token", "From submit to the first token", otel);
        otelTimePerOutputToken = timer("gen_ai.server.time_per_output_token", "After the first token", otel);
        Gauge.builder(names.of("kv_cache_usage_ratio"), this, ServerMetrics::cacheUsage)
                .description("Pages of the KV cache that requests hold, in [0, 1]")
                .tags(model)
                .register(registry);
        gpuUtilization =
                gpuGauge("gpu_utilization_ratio", "Share of the time in which the GPU ran a kernel, in [0, 1]");
        gpuUsedMemory = gpuGauge("gpu_memory_used_bytes", "GPU memory in use, by other processes too");
        gpuTotalMemory = gpuGauge("gpu_memory_total_bytes", "Memory of the GPU");
        gpuPower = gpuGauge("gpu_power_watts", "Power that the GPU draws");
        new JvmMemoryMetrics().bindTo(registry);
        new JvmThreadMetrics().bindTo(registry);
        new ProcessorMetrics().bindTo(registry);
        new UptimeMetrics().bindTo(registry);
    }

    private Timer timer(String metric, String description) {
        return timer(names.of(metric), description, model);
    }

    private Timer timer(String name, String description, Tags tags) {
        return Timer.builder(name)
                .description(description)
                .tags(tags)
                .serviceLevelObjectives(LATENCIES)
                .register(registry);
    }

    private DistributionSummary summary(String metric, String description) {
        return DistributionSummary.builder(names.of(metric))
                .description(description)
                .tags(model)
                .serviceLevelObjectives(TOKENS)
                .register(registry);
    }

    private Counter counter(String metric, String description) {
        return Counter.builder(names.of(metric))
                .description(description)
                .tags(model)
                .register(registry);
    }

    private MultiGauge gpuGauge(String metric, String description) {
        return MultiGauge.builder(names.of(metric))
                .description(description)
                .tags(model)
                .register(registry);
    }

    /**
     * Publishes what GPUs do from now on.
     *
     * @param reader called once for each scrape, by one thread at a time
     */
    public void watchGpus(Supplier<List<GpuUse>> reader) {
        gpus = reader;
    }

    /** Called when the model is loaded. */
    void watch(Scheduler scheduler) {
        Gauge.builder(names.of("requests_waiting"), scheduler, Scheduler::queuedRequests)
                .description("Requests that wait for room in the batch")
                .tags(model)
                .register(registry);
        Gauge.builder(names.of("requests_running"), () -> Math.max(0, generations.get() - scheduler.queuedRequests()))
                .description("Requests in the batch")
                .tags(model)
                .register(registry);
    }

    /** A request was submitted to the scheduler. */
    void submitted() {
        generations.incrementAndGet();
    }

    /** So long after another, a token of a stream came. */
    void betweenTokens(long nanos) {
        interTokenLatency.record(nanos, TimeUnit.NANOSECONDS);
    }

    /** A submitted request failed. */
    void failed() {
        generations.decrementAndGet();
        finished("error");
    }

    /** A submitted request completed. */
    void completed(Completion completion) {
        generations.decrementAndGet();
        finished(completion.finishReason().name().toLowerCase(Locale.ROOT));
        RequestTimings timings = completion.timings();
        int prompt = completion.promptTokenIds().length;
        int output = completion.outputTokenIds().length;
        long prefill = timings.firstTokenNanos() - timings.startedNanos();
        promptTokens.increment(prompt);
        prefixQueries.increment(prompt);
        prefixHits.increment(completion.cachedPromptTokens());
        promptTokensOfRequest.record(prompt);
        outputTokensOfRequest.record(output);
        duration.record(timings.e2elNanos(), TimeUnit.NANOSECONDS);
        otelDuration.record(timings.e2elNanos(), TimeUnit.NANOSECONDS);
        queueTime.record(timings.startedNanos() - timings.submittedNanos(), TimeUnit.NANOSECONDS);
        if (output > 0) {
            timeToFirstToken.record(timings.ttftNanos(), TimeUnit.NANOSECONDS);
            otelTimeToFirstToken.record(timings.ttftNanos(), TimeUnit.NANOSECONDS);
            prefillTime.record(prefill, TimeUnit.NANOSECONDS);
            decodeTime.record(timings.finishedNanos() - timings.firstTokenNanos(), TimeUnit.NANOSECONDS);
        }
        if (output > 1) {
            long perToken = (long) timings.tpotNanos(output);
            timePerOutputToken.record(perToken, TimeUnit.NANOSECONDS);
            otelTimePerOutputToken.record(perToken, TimeUnit.NANOSECONDS);
        }
        RequestEvent.commit(completion);
    }

    private void finished(String reason) {
        Counter.builder(names.of("requests_finished"))
                .description("Requests that ended, by reason")
                .tags(model.and("finished_reason", reason))
                .register(registry)
                .increment();
    }

    /** A request was answered with an error. */
    void rejected(int status) {
        Counter.builder(names.of("requests_rejected"))
                .description("Requests that were answered with an error, by HTTP status")
                .tags(model.and("reason", Integer.toString(status)))
                .register(registry)
                .increment();
    }

    /** A client left early. */
    void disconnected() {
        disconnected.increment();
    }

    /**
     * Measures the steps of one engine; the KV caches of several count together.
     *
     * @return a new listener, for one engine
     */
    public EngineListener engineListener() {
        Replica replica = new Replica();
        replicas.add(replica);
        return replica;
    }

    private final class Replica implements EngineListener {
        private volatile int usedPages;
        private volatile int pageCount;

        @Override
        public void onStep(StepStats stats) {
            usedPages = stats.pageCount() - stats.availablePages();
            pageCount = stats.pageCount();
            stepTime.record(stats.durationNanos(), TimeUnit.NANOSECONDS);
            outputTokens.increment(stats.sampledTokens());
            preemptions.increment(stats.preemptedSequences());
            failedSteps.increment(stats.failed() ? 1 : 0);
            StepEvent.commit(stats);
        }
    }

    private int pageCount() {
        return replicas.stream().mapToInt(replica -> replica.pageCount).sum();
    }

    /** The report of the last step stays until the next, but no requests hold no pages. */
    private double cacheUsage() {
        int pages = pageCount();
        int used = replicas.stream().mapToInt(replica -> replica.usedPages).sum();
        return pages == 0 || generations.get() == 0 ? 0 : (double) used / pages;
    }

    /**
     * All metrics.
     *
     * @return in Prometheus' text format
     */
    public synchronized String scrape() {
        List<GpuUse> use = gpus.get();
        publish(gpuUtilization, use, GpuUse::utilization);
        publish(gpuUsedMemory, use, GpuUse::usedBytes);
        publish(gpuTotalMemory, use, GpuUse::totalBytes);
        publish(gpuPower, use, GpuUse::powerWatts);
        return registry.scrape() + cacheConfiguration();
    }

    private static void publish(MultiGauge gauge, List<GpuUse> use, ToDoubleFunction<GpuUse> value) {
        gauge.register(
                use.stream()
                        .filter(gpu -> !Double.isNaN(value.applyAsDouble(gpu)))
                        .map(gpu -> MultiGauge.Row.of(Tags.of("device", gpu.device()), value.applyAsDouble(gpu)))
                        .toList(),
                true);
    }

    /** Written here, because the registry takes no gauge whose name ends in {@code _info}. */
    private String cacheConfiguration() {
        String name = names == MetricNames.VLLM ? "vllm:cache_config_info" : "loomtorch_cache_config_info";
        int pages = pageCount();
        return pages == 0
                ? ""
                : "# HELP " + name + " The KV cache: tokens in a page, and its number of pages\n# TYPE " + name
                        + " gauge\n" + name + "{block_size=\"" + pageSize + "\",num_gpu_blocks=\"" + pages
                        + "\"} 1.0\n";
    }

    /** Keeps the colon of vLLM's names, which Micrometer would replace. */
    private static final class VllmNames extends PrometheusNamingConvention {
        private static final String PREFIX = "vllm:";

        @Override
        public String name(String name, Meter.Type type, @Nullable String baseUnit) {
            return name.startsWith(PREFIX)
                    ? PREFIX + super.name(name.substring(PREFIX.length()), type, baseUnit)
                    : super.name(name, type, baseUnit);
        }
    }
}
