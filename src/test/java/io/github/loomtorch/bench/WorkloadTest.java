package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import java.io.IOException;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class WorkloadTest {
    private static Workload workload(int count, double requestsPerSecond) {
        SplittableRandom random = new SplittableRandom(7);
        return Workload.of(
                count,
                () -> random.ints(10, 0, FakeCausalLm.VOCAB_SIZE).toArray(),
                2,
                5,
                requestsPerSecond,
                SamplingParams.greedy(1),
                random);
    }

    private static Engine engine() {
        return new Engine(FakeCausalLm.ofBatch(4), EngineOptions.defaults());
    }

    @Test
    void requestsHaveTheLengthsAskedForAndNeverEndEarly() {
        Workload workload = workload(200, Double.POSITIVE_INFINITY);
        assertTrue(workload.requests().stream().allMatch(request -> request.promptTokenIds().length == 10));
        assertTrue(workload.requests().stream()
                .allMatch(request -> request.sampling().ignoreEos()));
        int[] outputs = workload.requests().stream()
                .mapToInt(request -> request.sampling().maxNewTokens())
                .distinct()
                .sorted()
                .toArray();
        assertArrayEquals(new int[] {2, 3, 4, 5}, outputs);
        GenerationRequest first = workload.requests().get(0);
        assertNotEquals(
                Arrays.toString(first.promptTokenIds()),
                Arrays.toString(workload.requests().get(1).promptTokenIds()));
    }

    @Test
    void withoutARateAllArriveAtOnce() {
        assertTrue(Arrays.stream(workload(50, Double.POSITIVE_INFINITY).arrivalNanos())
                .allMatch(nanos -> nanos == 0));
    }

    @Test
    void aRateIsTheMeanOfAPoissonProcess() {
        long[] arrivals = workload(10_000, 500).arrivalNanos();
        double[] gaps = new double[arrivals.length - 1];
        Arrays.setAll(gaps, i -> (arrivals[i + 1] - arrivals[i]) / 1e9);
        double mean = Arrays.stream(gaps).average().orElseThrow();
        double variance = Arrays.stream(gaps)
                .map(gap -> (gap - mean) * (gap - mean))
                .average()
                .orElseThrow();
        assertEquals(1 / 500.0, mean, 0.05 / 500);
        assertEquals(mean, Math.sqrt(variance), 0.05 * mean); // exponential gaps
    }

    @Test
    void everyTokenOfEveryRequestIsSeenByAnyScheduler() throws IOException {
        try (Scheduler scheduler = new ContinuousScheduler(WorkloadTest::engine)) {
            assertAllSeen(scheduler);
        }
        try (Scheduler scheduler = new NaiveScheduler(engine(), 4)) { // 10 requests: the last batch is flushed
            assertAllSeen(scheduler);
        }
    }

    private static void assertAllSeen(Scheduler scheduler) {
        Workload workload = workload(10, 10_000);
        AtomicInteger finished = new AtomicInteger();
        Workload.Outcome outcome = workload.run(scheduler, finished::incrementAndGet);
        assertEquals(10, finished.get());
        assertEquals(0, outcome.failures().size());
        for (int i = 0; i < 10; i++) {
            RequestTrace trace = outcome.traces().get(i);
            assertEquals(workload.requests().get(i).sampling().maxNewTokens(), trace.tokenNanos().length);
            assertTrue(trace.ttftNanos() > 0 && trace.e2elNanos() >= trace.ttftNanos());
            assertTrue(trace.e2elNanos() <= outcome.durationNanos());
        }
    }

    @Test
    void aFailedStepIsCountedAndDoesNotEndTheMeasurement() throws IOException {
        FakeCausalLm lm = FakeCausalLm.ofBatch(4);
        AtomicInteger steps = new AtomicInteger();
        lm.onLaunch(chunks -> {
            if (steps.incrementAndGet() == 1) {
                throw new IllegalStateException("first step fails");
            }
        });
        try (Scheduler scheduler = new NaiveScheduler(new Engine(lm, EngineOptions.defaults()), 4)) {
            Workload.Outcome outcome = workload(10, Double.POSITIVE_INFINITY).run(scheduler, () -> {});
            assertEquals(4, outcome.failures().size());
            assertEquals(6, outcome.traces().size());
            assertEquals(
                    "first step fails", outcome.failures().get(0).getCause().getMessage());
        }
    }
}
