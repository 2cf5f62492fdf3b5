package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.bench.RequestTrace.Status;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.RequestTimings;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class MetricsTest {
    private static final long MILLI = 1_000_000;

    /** A request of 10 tokens that was sent at once and admitted 2 ms after its arrival. */
    private static RequestTrace trace(long arrivalMillis, long... tokenMillis) {
        long[] nanos = Arrays.stream(tokenMillis).map(millis -> millis * MILLI).toArray();
        return new RequestTrace(
                Status.COMPLETED,
                "",
                arrivalMillis * MILLI,
                arrivalMillis * MILLI,
                Optional.of(new RequestTimings(0, (arrivalMillis + 2) * MILLI, 0, 0, List.of())),
                nanos[nanos.length - 1],
                10,
                nanos.length,
                nanos);
    }

    private static RequestTrace unfinished(Status status) {
        return new RequestTrace(status, "why", 0, 0, Optional.empty(), MILLI, 10, 0, new long[0]);
    }

    private static Map<String, Double> metrics(long millis, RequestTrace... traces) {
        return Metrics.of(List.of(Measurement.of(List.of(traces), 0, millis * MILLI)), Limits.NONE);
    }

    @Test
    void percentilesLieBetweenTheNearestValues() {
        double[] values =
                IntStream.rangeClosed(1, 100).mapToDouble(i -> 101 - i).toArray();
        Distribution distribution = Distribution.of(values);
        // numpy of range(1, 101): mean, std, percentile 50, 90, 99 and 99.9
        assertEquals(50.5, distribution.mean());
        assertEquals(28.86607004772212, distribution.std(), 1e-9);
        assertEquals(50.5, distribution.median());
        assertEquals(90.1, distribution.p90(), 1e-9);
        assertEquals(99.01, distribution.p99(), 1e-9);
        assertEquals(99.901, distribution.p999(), 1e-9);
    }

    @Test
    void oneValueIsEveryPercentileAndNoneIsZero() {
        assertEquals(new Distribution(7, 0, 7, 7, 7, 7), Distribution.of(7));
        assertEquals(new Distribution(0, 0, 0, 0, 0, 0), Distribution.of());
    }

    @Test
    void timesOfARequestCountFromItsArrival() {
        RequestTrace trace = trace(10, 25, 30, 45);
        assertEquals(15 * MILLI, trace.ttftNanos());
        assertEquals(35 * MILLI, trace.e2elNanos());
        assertEquals(10 * MILLI, trace.tpotNanos());
    }

    @Test
    void aSingleTokenHasNoTimePerOutputToken() {
        assertEquals(0, trace(10, 25).tpotNanos());
        assertEquals(4, metrics(1_000, trace(10, 25), trace(0, 10, 14)).get("mean_tpot_ms"));
    }

    @Test
    void throughputIsOfTheWholeDurationAndOnlyCompletedRequestsCount() {
        Map<String, Double> metrics = metrics(
                2_000,
                trace(0, 10, 20, 40),
                trace(0, 20),
                unfinished(Status.FAILED),
                unfinished(Status.REJECTED),
                unfinished(Status.REJECTED),
                unfinished(Status.CANCELLED));
        assertEquals(2, metrics.get("completed"));
        assertEquals(1, metrics.get("failed"));
        assertEquals(2, metrics.get("rejected"));
        assertEquals(1, metrics.get("cancelled"));
        assertEquals(2, metrics.get("duration"));
        assertEquals(20, metrics.get("total_input_tokens"));
        assertEquals(4, metrics.get("total_output_tokens"));
        assertEquals(1, metrics.get("request_throughput"));
        assertEquals(1, metrics.get("request_goodput"));
        assertEquals(2, metrics.get("output_throughput"));
        assertEquals(12, metrics.get("total_token_throughput"));
        assertEquals(4, metrics.get("max_output_tokens_per_s"));
        assertEquals(15, metrics.get("mean_ttft_ms"));
        assertEquals(15, metrics.get("mean_itl_ms"));
        assertEquals(30, metrics.get("mean_e2el_ms"));
        assertEquals(2, metrics.get("mean_queue_wait_ms"));
    }

    @Test
    void concurrencyCountsRequestsBetweenSendingAndEnd() {
        // The third is sent when the first has ended, so there are never more than two.
        assertEquals(
                2,
                metrics(1_000, trace(0, 100), trace(50, 150), trace(100, 200)).get("max_concurrent_requests"));
        assertEquals(
                1,
                metrics(1_000, trace(0, 100), unfinished(Status.REJECTED), unfinished(Status.REJECTED))
                        .get("max_concurrent_requests"));
    }

    @Test
    void runsAreMeasuredTogether() {
        Measurement first = Measurement.of(List.of(trace(0, 10)), 0, 1_000 * MILLI);
        Measurement second = Measurement.of(List.of(trace(500, 520, 530)), 500 * MILLI, 3_000 * MILLI);
        Map<String, Double> metrics = Metrics.of(List.of(first, second), Limits.NONE);
        assertEquals(4, metrics.get("duration"));
        assertEquals(0.75, metrics.get("output_throughput"));
        assertEquals(2, metrics.get("max_output_tokens_per_s"));
        assertEquals(1, metrics.get("max_concurrent_requests"));
    }

    private static StepTrace step(int sequences, long durationMillis, long deviceMillis) {
        return new StepTrace(
                0,
                0,
                new StepStats(
                        sequences, 0, 0, 0, 7, 3, 0, 1, 0, 0, durationMillis * MILLI, deviceMillis * MILLI, false, 0));
    }

    @Test
    void occupancyIsWeightedByTimeAndIdleTimeIsShared() {
        Measurement run = Measurement.of(List.of(trace(0, 10)), 0, 1_000 * MILLI)
                .with(List.of(step(4, 300, 200), step(1, 100, 200)), 8, 2, Optional.empty()); // two replicas of 4 slots
        Map<String, Double> metrics = Metrics.of(List.of(run), Limits.NONE);
        assertEquals(2, metrics.get("steps"));
        assertEquals((4 * 300 + 1 * 100) / (4 * 400.0), metrics.get("batch_occupancy"), 1e-9);
        assertEquals(1 - 400 / 2000.0, metrics.get("device_idle_share"), 1e-9);
        assertEquals(2, metrics.get("preempted_sequences"));
        assertEquals(14, metrics.get("candidate_tokens"));
        assertEquals(6, metrics.get("accepted_tokens"));
    }

    @Test
    void whatIsNotKnownIsLeftOut() {
        Map<String, Double> metrics = metrics(1_000, unfinished(Status.FAILED));
        assertFalse(metrics.containsKey("mean_queue_wait_ms"));
        assertFalse(metrics.containsKey("mean_ttft_ms"));
        assertFalse(metrics.containsKey("mean_e2el_ms"));
        assertFalse(metrics.containsKey("batch_occupancy"));
        assertFalse(metrics.containsKey("gpu_utilization"));
        metrics = metrics(1_000, trace(0, 10)); // a single token
        assertTrue(metrics.containsKey("mean_ttft_ms"));
        assertFalse(metrics.containsKey("mean_tpot_ms"));
        assertFalse(metrics.containsKey("p99_itl_ms"));
        Measurement cpu = Measurement.of(List.of(trace(0, 10)), 0, MILLI)
                .with(List.of(step(1, 1, 0)), 1, 1, Optional.of(new GpuUse(0.5, 300, 2_000_000_000)));
        metrics = Metrics.of(List.of(cpu), Limits.NONE);
        assertFalse(metrics.containsKey("device_idle_share"));
        assertEquals(0.5, metrics.get("gpu_utilization"));
        assertEquals(300, metrics.get("gpu_power_w"));
        assertEquals(2, metrics.get("max_gpu_memory_gb"));
    }

    @Test
    void goodputCountsRequestsThatKeepEveryLimit() {
        RequestTrace[] traces = {trace(0, 200, 210), trace(0, 201, 211), trace(0, 100, 111)};
        OptionalDouble none = OptionalDouble.empty();
        assertEquals(1, goodput(new Limits(OptionalDouble.of(200), OptionalDouble.of(10), none), traces));
        assertEquals(2, goodput(new Limits(OptionalDouble.of(200), none, none), traces));
        assertEquals(2, goodput(new Limits(none, OptionalDouble.of(10), none), traces));
        assertEquals(1, goodput(new Limits(none, none, OptionalDouble.of(111)), traces));
    }

    private static double goodput(Limits limits, RequestTrace... traces) {
        return Metrics.of(List.of(Measurement.of(List.of(traces), 0, 1_000 * MILLI)), limits)
                .get("request_goodput");
    }
}
