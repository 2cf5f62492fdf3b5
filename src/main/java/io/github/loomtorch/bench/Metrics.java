package io.github.loomtorch.bench;

import io.github.loomtorch.bench.RequestTrace.Status;
import io.github.loomtorch.options.StepStats;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.ToDoubleFunction;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/** Computes the numbers of measurements; {@link io.github.loomtorch.bench the package} defines them. */
public final class Metrics {
    private Metrics() {}

    /**
     * The numbers of measurements that ran one after the other, as of one.
     *
     * @param runs at least one
     * @param limits for goodput
     * @return values by name, in the order in which they are shown; without those that are not known
     */
    public static Map<String, Double> of(List<Measurement> runs, Limits limits) {
        List<RequestTrace> all =
                runs.stream().flatMap(run -> run.requests().stream()).toList();
        List<RequestTrace> completed =
                all.stream().filter(RequestTrace::isCompleted).toList();
        double seconds = runs.stream().mapToLong(Measurement::durationNanos).sum() / 1e9;
        double input = completed.stream().mapToLong(RequestTrace::inputTokens).sum();
        double output = completed.stream().mapToLong(RequestTrace::outputTokens).sum();
        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("completed", (double) completed.size());
        metrics.put("rejected", count(all, Status.REJECTED));
        metrics.put("cancelled", count(all, Status.CANCELLED));
        metrics.put("failed", count(all, Status.FAILED));
        metrics.put("duration", seconds);
        metrics.put("total_input_tokens", input);
        metrics.put("total_output_tokens", output);
        metrics.put("request_throughput", completed.size() / seconds);
        metrics.put(
                "request_goodput", completed.stream().filter(limits::areKeptBy).count() / seconds);
        metrics.put("output_throughput", output / seconds);
        metrics.put("total_token_throughput", (input + output) / seconds);
        metrics.put(
                "max_output_tokens_per_s",
                runs.stream().mapToDouble(Metrics::maxTokensPerSecond).max().orElse(0));
        metrics.put(
                "max_concurrent_requests",
                runs.stream().mapToDouble(Metrics::maxConcurrent).max().orElse(0));
        addMillis(metrics, "ttft_ms", completed.stream().mapToDouble(RequestTrace::ttftNanos));
        addMillis(
                metrics,
                "tpot_ms",
                completed.stream().filter(trace -> trace.outputTokens() > 1).mapToDouble(RequestTrace::tpotNanos));
        addMillis(
                metrics,
                "itl_ms",
                completed.stream().flatMapToLong(Metrics::gaps).asDoubleStream());
        addMillis(metrics, "e2el_ms", completed.stream().mapToDouble(RequestTrace::e2elNanos));
        addMillis(
                metrics,
                "queue_wait_ms",
                all.stream()
                        .filter(trace -> trace.timings().isPresent())
                        .mapToDouble(trace -> trace.timings().orElseThrow().startedNanos() - trace.arrivalNanos()));
        addSteps(metrics, runs);
        addGpu(metrics, runs);
        return metrics;
    }

    /**
     * Gaps between the arrivals of tokens.
     *
     * @param trace of a request
     * @return nanoseconds, one fewer than the arrivals
     */
    public static LongStream gaps(RequestTrace trace) {
        long[] times = trace.tokenNanos();
        return IntStream.range(1, times.length).mapToLong(i -> times[i] - times[i - 1]);
    }

    private static double count(List<RequestTrace> traces, Status status) {
        return traces.stream().filter(trace -> trace.status() == status).count();
    }

    private static void addMillis(Map<String, Double> metrics, String name, DoubleStream nanos) {
        double[] millis = nanos.map(value -> value / 1e6).toArray();
        if (millis.length > 0) {
            Distribution.of(millis).addTo(metrics, name);
        }
    }

    /** Most tokens of a second, seconds counted from the start. */
    private static double maxTokensPerSecond(Measurement run) {
        Map<Long, Long> perSecond = new TreeMap<>();
        for (RequestTrace trace : run.requests()) {
            for (long nanos : trace.tokenNanos()) {
                perSecond.merge((nanos - run.startNanos()) / 1_000_000_000, 1L, Long::sum);
            }
        }
        return perSecond.values().stream().mapToLong(Long::longValue).max().orElse(0);
    }

    /** Most requests between being sent and their end, without those that were refused. */
    private static double maxConcurrent(Measurement run) {
        List<RequestTrace> accepted = run.requests().stream()
                .filter(trace -> trace.status() != Status.REJECTED)
                .toList();
        long[] sent =
                accepted.stream().mapToLong(RequestTrace::sentNanos).sorted().toArray();
        long[] ends =
                accepted.stream().mapToLong(RequestTrace::endNanos).sorted().toArray();
        int max = 0;
        int ended = 0;
        for (int i = 0; i < sent.length; i++) {
            while (ended < ends.length && ends[ended] <= sent[i]) {
                ended++;
            }
            max = Math.max(max, i + 1 - ended);
        }
        return max;
    }

    private static void addSteps(Map<String, Double> metrics, List<Measurement> runs) {
        double slotNanos = 0;
        double sequenceNanos = 0;
        double deviceNanos = 0;
        double wholeNanos = 0;
        for (Measurement run : runs) {
            int slots = run.maxBatchSize() / Math.max(1, run.replicas());
            for (StepTrace step : run.steps()) {
                StepStats stats = step.stats();
                slotNanos += (double) slots * stats.durationNanos();
                sequenceNanos += (double) stats.sequences() * stats.durationNanos();
                deviceNanos += stats.deviceNanos();
            }
            wholeNanos += (double) run.durationNanos() * run.replicas();
        }
        List<StepStats> steps = runs.stream()
                .flatMap(run -> run.steps().stream())
                .map(StepTrace::stats)
                .toList();
        if (steps.isEmpty()) {
            return;
        }
        metrics.put("steps", (double) steps.size());
        metrics.put("batch_occupancy", sequenceNanos / slotNanos);
        metrics.put(
                "preempted_sequences",
                steps.stream().mapToDouble(StepStats::preemptedSequences).sum());
        if (deviceNanos > 0) {
            metrics.put("device_idle_share", 1 - deviceNanos / wholeNanos);
        }
        metrics.put(
                "candidate_tokens",
                steps.stream().mapToDouble(StepStats::candidateTokens).sum());
        metrics.put(
                "accepted_tokens",
                steps.stream().mapToDouble(StepStats::acceptedTokens).sum());
    }

    private static void addGpu(Map<String, Double> metrics, List<Measurement> runs) {
        List<GpuUse> uses = runs.stream().flatMap(run -> run.gpu().stream()).toList();
        if (uses.isEmpty()) {
            return;
        }
        metrics.put("gpu_utilization", mean(uses, GpuUse::utilization));
        metrics.put("gpu_power_w", mean(uses, GpuUse::powerWatts));
        metrics.put(
                "max_gpu_memory_gb",
                uses.stream().mapToDouble(GpuUse::maxMemoryBytes).max().orElse(0) / 1e9);
    }

    private static double mean(List<GpuUse> uses, ToDoubleFunction<GpuUse> value) {
        DoubleStream values = Arrays.stream(uses.stream().mapToDouble(value).toArray());
        return values.average().orElse(0);
    }
}
