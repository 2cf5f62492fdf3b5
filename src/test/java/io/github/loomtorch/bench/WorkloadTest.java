package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.bench.RequestTrace.Status;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.RequestTimings;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.SimulatedClock;
import io.github.loomtorch.testing.StepGate;
import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class WorkloadTest {
    private static final long MILLI = 1_000_000;
    private static final int CONTEXT = 64; // of the fake

    private static Workload workload(List<PlannedRequest> plan, int maxConcurrency) {
        SplittableRandom random = new SplittableRandom(7);
        IntFunction<int[]> prompts = Workload.randomPrompts(FakeCausalLm.VOCAB_SIZE, CONTEXT, 0, random);
        return Workload.of(plan, prompts, CONTEXT, maxConcurrency, SamplingParams.greedy(1), random);
    }

    private static Workload workload(int count) {
        return workload(
                Arrivals.at(10_000, 1)
                        .draw(count, new Lengths.Fixed(10), new Lengths.Uniform(2, 5), new SplittableRandom(7)),
                Integer.MAX_VALUE);
    }

    private static Engine engine() {
        return new Engine(FakeCausalLm.ofBatch(4), EngineOptions.defaults());
    }

    /** Answers one request after the other: first token after 10 ms, each other after 5 ms. */
    private static final class SlowServer implements Target {
        private final SimulatedClock clock;
        private long freeNanos;
        private boolean flushed;

        SlowServer(SimulatedClock clock) {
            this.clock = clock;
        }

        @Override
        public void send(GenerationRequest request, Receiver receiver) {
            long started = Math.max(freeNanos, clock.nanoTime());
            int tokens = request.sampling().maxNewTokens();
            long at = started + 10 * MILLI;
            for (int i = 0; i < tokens; i++) {
                clock.after(Duration.ofNanos(at + i * 5 * MILLI - clock.nanoTime()), receiver::onTokens);
            }
            freeNanos = at + (tokens - 1) * 5 * MILLI;
            clock.after(
                    Duration.ofNanos(freeNanos - clock.nanoTime()),
                    () -> receiver.onEnd(
                            Status.COMPLETED,
                            "",
                            Optional.of(new RequestTimings(started, started, started, started, List.of())),
                            request.promptTokenIds().length,
                            tokens));
        }

        @Override
        public void flush() {
            flushed = true;
        }
    }

    private static final List<PlannedRequest> THREE =
            List.of(new PlannedRequest(0, 1, 3), new PlannedRequest(0.005, 1, 3), new PlannedRequest(1, 1, 1));

    @Test
    void requestsAreSentWhenTheyArriveWhateverTheOthersDo() {
        SimulatedClock clock = new SimulatedClock();
        SlowServer server = new SlowServer(clock);
        AtomicInteger finished = new AtomicInteger();
        Measurement run = workload(THREE, Integer.MAX_VALUE).run(server, clock, finished::incrementAndGet);
        assertEquals(3, finished.get());
        assertTrue(server.flushed);
        assertArrayEquals(
                new long[] {0, 5 * MILLI, 1_000 * MILLI},
                run.requests().stream().mapToLong(RequestTrace::sentNanos).toArray());
        assertArrayEquals(
                new long[] {10 * MILLI, 25 * MILLI, 10 * MILLI},
                run.requests().stream().mapToLong(RequestTrace::ttftNanos).toArray());
        assertEquals(1_010 * MILLI, run.durationNanos());
        assertEquals(2.0, Metrics.of(List.of(run), Limits.NONE).get("max_concurrent_requests"));
    }

    @Test
    void latencyCountsFromTheArrivalEvenIfTheRequestIsSentLater() {
        SimulatedClock clock = new SimulatedClock();
        Measurement run = workload(THREE, 1).run(new SlowServer(clock), clock, () -> {});
        assertArrayEquals(
                new long[] {0, 20 * MILLI, 1_000 * MILLI},
                run.requests().stream().mapToLong(RequestTrace::sentNanos).toArray());
        assertArrayEquals(
                new long[] {10 * MILLI, 25 * MILLI, 10 * MILLI},
                run.requests().stream().mapToLong(RequestTrace::ttftNanos).toArray());
        assertEquals(1.0, Metrics.of(List.of(run), Limits.NONE).get("max_concurrent_requests"));
    }

    @Test
    void aCompletedRequestWithoutTokensHasFailed() {
        SimulatedClock clock = new SimulatedClock();
        Target empty = new Target() {
            @Override
            public void send(GenerationRequest request, Receiver receiver) {
                receiver.onEnd(Status.COMPLETED, "", Optional.empty(), 1, 0);
            }

            @Override
            public void flush() {}
        };
        RequestTrace trace =
                workload(THREE, 1).run(empty, clock, () -> {}).requests().getFirst();
        assertEquals(Status.FAILED, trace.status());
        assertEquals("no output token came", trace.failure());
    }

    @Test
    void lengthsAreCutToTheContextAndRequestsNeverEndEarly() {
        Workload workload = workload(
                List.of(
                        new PlannedRequest(0, 10, 5),
                        new PlannedRequest(0, CONTEXT - 2, 5),
                        new PlannedRequest(0, CONTEXT + 7, 5)),
                1);
        int[] inputs = workload.requests().stream()
                .mapToInt(request -> request.promptTokenIds().length)
                .toArray();
        int[] outputs = workload.requests().stream()
                .mapToInt(request -> request.sampling().maxNewTokens())
                .toArray();
        assertArrayEquals(new int[] {10, CONTEXT - 2, CONTEXT - 1}, inputs);
        assertArrayEquals(new int[] {5, 2, 1}, outputs);
        assertTrue(workload.requests().stream()
                .allMatch(request -> request.sampling().ignoreEos()));
        assertNotEquals(
                workload.requests().get(0).sampling().seed(),
                workload.requests().get(1).sampling().seed());
    }

    @Test
    void aShareOfEachPromptIsTheSame() {
        IntFunction<int[]> prompts = Workload.randomPrompts(50_000, 1_000, 0.25, new SplittableRandom(1));
        int[] first = prompts.apply(400);
        int[] second = prompts.apply(1_000);
        int same = (int)
                IntStream.range(0, 400).takeWhile(i -> first[i] == second[i]).count();
        assertEquals(100, same);
        assertEquals(250, Arrays.mismatch(second, prompts.apply(1_000)));
    }

    @Test
    void warmUpRepeatsThePlanAtOnce() {
        assertEquals(
                List.of(new PlannedRequest(0, 1, 3), new PlannedRequest(0, 1, 3), new PlannedRequest(0, 1, 1)),
                PlannedRequest.repeat(THREE, 3));
        assertEquals(4, PlannedRequest.repeat(THREE, 4).size());
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
        Workload workload = workload(10);
        AtomicInteger finished = new AtomicInteger();
        Measurement run = workload.run(new SchedulerTarget(scheduler), Clock.system(), finished::incrementAndGet);
        assertEquals(10, finished.get());
        for (int i = 0; i < 10; i++) {
            RequestTrace trace = run.requests().get(i);
            int tokens = workload.requests().get(i).sampling().maxNewTokens();
            assertTrue(trace.isCompleted());
            assertEquals(10, trace.inputTokens());
            assertEquals(tokens, trace.outputTokens());
            assertEquals(tokens, trace.tokenNanos().length);
            assertTrue(trace.arrivalNanos() <= trace.sentNanos()
                    && trace.sentNanos() <= trace.timings().orElseThrow().startedNanos());
            assertTrue(trace.ttftNanos() > 0 && trace.e2elNanos() >= trace.ttftNanos());
            assertTrue(trace.endNanos() - run.startNanos() <= run.durationNanos());
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
            Measurement run = workload(10).run(new SchedulerTarget(scheduler), Clock.system(), () -> {});
            List<RequestTrace> failed = run.requests().stream()
                    .filter(trace -> !trace.isCompleted())
                    .toList();
            assertEquals(4, failed.size());
            assertEquals(Status.FAILED, failed.getFirst().status());
            assertEquals("first step fails", failed.getFirst().failure());
        }
    }

    @Test
    void aFullQueueRejectsAndAClosedSchedulerFails() throws Exception {
        QueueOptions one = QueueOptions.builder().maxQueuedRequests(1).build();
        StepGate gate = new StepGate();
        FakeCausalLm lm = FakeCausalLm.ofBatch(1).onAwait(chunks -> gate.pass());
        Workload three = workload(PlannedRequest.repeat(THREE, 3), Integer.MAX_VALUE);
        Scheduler scheduler = new ContinuousScheduler(() -> new Engine(lm, EngineOptions.defaults()), one);
        try (scheduler) {
            scheduler.submit(new GenerationRequest(new int[] {1}, SamplingParams.greedy(1)));
            gate.awaitStep(); // so the next waits, and those after it find a full queue
            AtomicInteger ended = new AtomicInteger();
            Runnable openAfterTwo = () -> {
                if (ended.incrementAndGet() == 2) {
                    gate.open();
                }
            };
            Measurement run = three.run(new SchedulerTarget(scheduler), Clock.system(), openAfterTwo);
            assertEquals(List.of(Status.COMPLETED, Status.REJECTED, Status.REJECTED), statuses(run));
        }
        Measurement late = three.run(new SchedulerTarget(scheduler), Clock.system(), () -> {});
        assertEquals(List.of(Status.FAILED, Status.FAILED, Status.FAILED), statuses(late));
    }

    private static List<Status> statuses(Measurement run) {
        return run.requests().stream().map(RequestTrace::status).toList();
    }
}
