package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeClock;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.Requests;
import io.github.loomtorch.testing.StepGate;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.Parameter;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(20)
@ParameterizedClass
@ValueSource(booleans = {false, true})
class ContinuousSchedulerTest {
    @Parameter
    private boolean ahead;

    private final FakeClock clock = new FakeClock();
    private final StepGate gate = new StepGate();
    private final List<StepStats> stats = Collections.synchronizedList(new ArrayList<>());
    private final EngineOptions.Builder config = EngineOptions.builder().listener(stats::add);
    private final AtomicReference<Thread> engineThread = new AtomicReference<>();
    private volatile FakeCausalLm lm;
    private volatile Engine engine;
    private ContinuousScheduler scheduler;

    private void start(QueueOptions queue, UnaryOperator<FakeCausalLm> hooks) throws IOException {
        scheduler = new ContinuousScheduler(
                () -> {
                    engineThread.set(Thread.currentThread());
                    lm = hooks.apply(new FakeCausalLm(2, 4, 32, 64)).runningAhead(ahead);
                    engine = new Engine(lm, new FakeTokenizer(), config.build(), clock, Runnable::run);
                    return engine;
                },
                queue);
    }

    /** Two slots, steps that end when the gate lets them. */
    private void start() throws IOException {
        start(QueueOptions.unbounded());
    }

    private void start(QueueOptions queue) throws IOException {
        start(queue, model -> model.onAwait(chunks -> gate.pass()));
    }

    @AfterEach
    void close() {
        gate.open();
        scheduler.closeNow();
        assertEquals(1, lm.closes());
        assertFalse(engineThread.get().isAlive());
        assertEquals(lm.pageCount(), engine.availablePages());
        assertEquals(0, engine.runningTokens());
        assertEquals(0, scheduler.queuedRequests());
    }

    /** Fills both slots, for longer than the test steps. */
    private List<Generation> fillSlots() throws InterruptedException {
        Generation first = scheduler.submit(request(3, 40));
        gate.awaitStep();
        Generation second = scheduler.submit(request(4, 40));
        gate.nextStep();
        return List.of(first, second);
    }

    /** Ends the step that was launched before the scheduler could know of the last request, if the model runs ahead. */
    private void endStepAhead() throws InterruptedException {
        if (ahead) {
            gate.nextStep();
        }
    }

    @Test
    void admitsWaitingSequenceWhenSlotIsFreed() throws Exception {
        start();
        Generation shortOne = scheduler.submit(request(3, 3));
        Generation longOne = scheduler.submit(request(4, 30));
        Generation waiting = scheduler.submit(request(5, 2));
        gate.open();
        assertYield(request(3, 3), shortOne.join());
        assertYield(request(5, 2), waiting.join());
        assertYield(request(4, 30), longOne.join());
        assertTrue(waiting.join().timings().startedNanos()
                <= longOne.join().timings().finishedNanos());
        assertTrue(lm.steps() < 3 + 30, "steps " + lm.steps());
        assertEquals(0, waiting.join().batchNumber());
    }

    @Test
    void newcomerJoinsTheRunningBatch() throws Exception {
        start();
        Generation first = scheduler.submit(request(3, 5));
        gate.awaitStep();
        Generation second = scheduler.submit(request(4, 1));
        gate.nextStep();
        endStepAhead();
        gate.nextStep();
        assertYield(request(4, 1), second.join());
        assertFalse(first.completion().isDone());
    }

    @Test
    void parksForEverWhenIdle() throws Exception {
        start();
        gate.open();
        assertEquals(Long.MAX_VALUE, clock.awaitParked());
        scheduler.submit(request(3, 4)).join();
        assertEquals(Long.MAX_VALUE, clock.awaitParked());
        int steps = lm.steps();
        clock.advance(Duration.ofDays(1));
        assertEquals(Long.MAX_VALUE, clock.awaitParked());
        assertEquals(steps, lm.steps());
    }

    /** The order in which these come out of a scheduler with one free slot. */
    private List<Generation> order(List<Generation> generations) {
        List<Generation> order = Collections.synchronizedList(new ArrayList<>(generations));
        gate.open();
        generations.forEach(Generation::join);
        order.sort((a, b) -> Integer.compare(startOf(a), startOf(b)));
        return order;
    }

    private static int startOf(Generation generation) {
        return (int) generation.join().timings().startedNanos();
    }

    @Test
    void runsHigherPrioritiesFirstAndEqualOnesInOrder() throws Exception {
        start(
                QueueOptions.unbounded(),
                model -> model.onAwait(chunks -> {
                    gate.pass();
                    clock.advance(Duration.ofNanos(1));
                }));
        // Nothing gives way to the waiting: both that run have a higher priority.
        Generation a = scheduler.submit(request(3, 2).withPriority(9));
        Generation b = scheduler.submit(request(4, 30).withPriority(9));
        gate.awaitStep();
        Generation low = scheduler.submit(request(5, 2).withPriority(-1));
        Generation first = scheduler.submit(request(6, 2));
        Generation second = scheduler.submit(request(7, 2));
        Generation high = scheduler.submit(request(8, 2).withPriority(1));
        gate.nextStep();
        assertEquals(List.of(high, first, second, low), order(List.of(low, first, second, high)));
        a.join();
        b.join();
    }

    @Test
    void waitingMakesRequestMoreUrgent() throws Exception {
        start(
                QueueOptions.unbounded(),
                model -> model.onAwait(chunks -> {
                    gate.pass();
                    clock.advance(Duration.ofNanos(1));
                }));
        scheduler.submit(request(3, 2).withPriority(9));
        scheduler.submit(request(4, 40).withPriority(9));
        gate.awaitStep();
        Generation old = scheduler.submit(request(5, 2));
        clock.advance(Duration.ofSeconds(11));
        Generation plusOne = scheduler.submit(request(6, 2).withPriority(1));
        Generation plusTwo = scheduler.submit(request(7, 2).withPriority(2));
        gate.nextStep();
        assertEquals(List.of(plusTwo, old, plusOne), order(List.of(old, plusOne, plusTwo)));
    }

    @Test
    void higherPriorityPreemptsRunningSequenceWhichGoesOnLater() throws Exception {
        start();
        List<Generation> running = fillSlots();
        Generation high = scheduler.submit(request(5, 2).withPriority(1));
        gate.nextStep();
        endStepAhead();
        gate.nextStep();
        gate.nextStep();
        assertYield(request(5, 2), high.join());
        running.forEach(generation -> assertFalse(generation.completion().isDone()));
        gate.open();
        assertYield(request(3, 40), running.get(0).join());
        assertYield(request(4, 40), running.get(1).join());
    }

    @Test
    void preemptsNobodyForARequestThatWouldNotFitEvenThen() throws Exception {
        start(QueueOptions.unbounded(), model -> new FakeCausalLm(4, 4, 16, 64).onAwait(chunks -> gate.pass()));
        Generation highest = scheduler.submit(request(35, 8).withPriority(9));
        gate.awaitStep();
        Generation low = scheduler.submit(request(6, 3));
        gate.nextStep();
        Generation high = scheduler.submit(request(47, 8).withPriority(1));
        gate.open();
        assertYield(request(47, 8), high.join());
        assertYield(request(35, 8), highest.join());
        assertYield(request(6, 3), low.join());
        assertEquals(35 + 7 + 6 + 2 + 47 + 7, lm.computedTokens()); // nothing twice
    }

    @Test
    void preemptsForPagesAndLosesNoToken() throws Exception {
        start(QueueOptions.unbounded(), model -> new FakeCausalLm(4, 4, 16, 64).onAwait(chunks -> gate.pass()));
        List<Generation> generations = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            generations.add(scheduler.submit(request(8 + i, 40)));
        }
        gate.open(); // the first of them has not ended before the last is there
        for (int i = 0; i < 8; i++) {
            assertYield(request(8 + i, 40), generations.get(i).join());
        }
        assertTrue(stats.stream().anyMatch(step -> step.preemptedSequences() > 0));
    }

    @Test
    void requestsOfOnePromptShareItsPrefill() throws Exception {
        start(QueueOptions.unbounded(), model -> model);
        List<Generation> generations = scheduler.submitCopies(request(40, 3), 2);
        generations.forEach(generation -> assertYield(request(40, 3), generation.join()));
        clock.awaitParked();
        assertEquals(40 + 2 + 4 + 2, lm.computedTokens());
    }

    @Test
    void deferredRequestsLetOthersPass() throws Exception {
        config.maxPrefillTokensPerStep(8);
        start();
        Generation first = scheduler.submit(request(40, 3));
        gate.awaitStep();
        Generation same = scheduler.submit(request(40, 3));
        Generation other = scheduler.submit(request(1, 1));
        gate.nextStep(); // the other runs beside the prefill of the first
        endStepAhead();
        gate.nextStep();
        assertYield(request(1, 1), other.join());
        gate.open();
        assertYield(request(40, 3), first.join());
        assertYield(request(40, 3), same.join());
    }

    @Test
    void rejectsWhenTooManyRequestsWait() throws Exception {
        start(QueueOptions.builder().maxQueuedRequests(2).build());
        fillSlots();
        scheduler.submit(request(1, 1));
        scheduler.submit(request(1, 1));
        assertEquals(2, scheduler.queuedRequests());
        assertEquals(
                "queue is full: 2 requests waiting (maxQueuedRequests=2)",
                assertThrows(RejectedExecutionException.class, () -> scheduler.submit(request(1, 1)))
                        .getMessage());
    }

    @Test
    void cancelsTheFirstOfSeveralCompletionsIfOneIsRejected() throws Exception {
        start(QueueOptions.builder().maxQueuedRequests(2).build());
        fillSlots();
        assertThrows(RejectedExecutionException.class, () -> scheduler.submitCopies(request(1, 1), 3));
        gate.nextStep();
        assertEquals(0, scheduler.queuedRequests());
    }

    @Test
    void rejectsWhenTooManyTokensWaitUnlessNobodyWaits() throws Exception {
        start(QueueOptions.builder().maxQueuedRequests(9).maxQueuedTokens(20).build());
        fillSlots();
        Generation big = scheduler.submit(request(20, 5));
        assertEquals(
                "queue is full: 25 tokens waiting and 2 more asked for (maxQueuedTokens=20)",
                assertThrows(RejectedExecutionException.class, () -> scheduler.submit(request(1, 1)))
                        .getMessage());
        big.cancel();
        gate.nextStep();
        scheduler.submit(request(10, 10));
        assertThrows(RejectedExecutionException.class, () -> scheduler.submit(request(1, 1)));
    }

    @Test
    void blocksUntilThereIsRoom() throws Exception {
        start(QueueOptions.builder()
                .maxQueuedRequests(1)
                .whenFull(QueueOptions.WhenFull.BLOCK)
                .build());
        List<Generation> running = fillSlots();
        scheduler.submit(request(5, 3));
        AtomicReference<Generation> blocked = new AtomicReference<>();
        Thread submitter = Thread.ofPlatform().start(() -> blocked.set(scheduler.submit(request(6, 3))));
        awaitWaiting(submitter);
        running.getFirst().cancel();
        gate.open();
        submitter.join();
        assertYield(request(6, 3), blocked.get().join());
    }

    private static void awaitWaiting(Thread thread) {
        while (thread.getState() != Thread.State.WAITING) {
            Thread.onSpinWait();
        }
    }

    @Test
    void interruptedSubmitTakesNoRequest() throws Exception {
        start(QueueOptions.builder()
                .maxQueuedRequests(1)
                .whenFull(QueueOptions.WhenFull.BLOCK)
                .build());
        fillSlots();
        scheduler.submit(request(5, 3));
        AtomicReference<String> message = new AtomicReference<>();
        Thread submitter = Thread.ofVirtual().start(() -> {
            message.set(assertThrows(CancellationException.class, () -> scheduler.submit(request(6, 3)))
                    .getMessage());
            assertTrue(Thread.currentThread().isInterrupted());
        });
        submitter.interrupt();
        submitter.join();
        assertEquals("interrupted while waiting for room in the queue", message.get());
        assertEquals(1, scheduler.queuedRequests());
    }

    @Test
    void blockedSubmitEndsWhenTheSchedulerCloses() throws Exception {
        start(QueueOptions.builder()
                .maxQueuedRequests(1)
                .whenFull(QueueOptions.WhenFull.BLOCK)
                .build());
        fillSlots();
        scheduler.submit(request(5, 3));
        AtomicReference<String> message = new AtomicReference<>();
        Thread submitter = Thread.ofPlatform()
                .start(() ->
                        message.set(assertThrows(IllegalStateException.class, () -> scheduler.submit(request(6, 3)))
                                .getMessage()));
        awaitWaiting(submitter);
        Thread closing = Thread.startVirtualThread(scheduler::close);
        submitter.join();
        assertEquals("scheduler is closed", message.get());
        gate.open();
        closing.join();
    }

    @Test
    void cancelsAndExpiresWaitingAndRunningRequests() throws Exception {
        start();
        List<Generation> running = List.of(
                scheduler.submit(request(3, 40)),
                scheduler.submit(request(4, 40).withTimeout(Duration.ofMillis(10))));
        gate.awaitStep();
        gate.nextStep();
        Generation cancelled = scheduler.submit(request(5, 4));
        Generation expired = scheduler.submit(request(6, 4).withTimeout(Duration.ofMillis(10)));
        Generation patient = scheduler.submit(request(7, 4).withTimeout(Duration.ofDays(100_000)));
        running.getFirst().cancel();
        cancelled.cancel();
        clock.advance(Duration.ofMillis(10));
        gate.open();
        assertEquals(FinishReason.CANCELLED, running.get(0).join().finishReason());
        assertEquals(FinishReason.DEADLINE, running.get(1).join().finishReason());
        assertEquals(FinishReason.CANCELLED, cancelled.join().finishReason());
        assertEquals(FinishReason.DEADLINE, expired.join().finishReason());
        assertYield(request(7, 4), patient.join());
        assertEquals(0, expired.join().outputTokenIds().length);
    }

    @Test
    void stepThatRunsOutOfMemoryCostsTimeOnly() throws Exception {
        RuntimeException cause = new IllegalStateException("out of memory");
        AtomicReference<RuntimeException> next = new AtomicReference<>();
        start(
                QueueOptions.unbounded(),
                model -> model.onAwait(chunks -> {
                    gate.pass();
                    RuntimeException failure = next.getAndSet(null);
                    if (failure != null) {
                        throw failure;
                    }
                }));
        List<Generation> running = fillSlots();
        Generation waiting = scheduler.submit(request(5, 4));
        next.set(cause);
        gate.open();
        assertYield(request(3, 40), running.get(0).join());
        assertYield(request(4, 40), running.get(1).join());
        assertYield(request(5, 4), waiting.join());
        assertYield(request(3, 40), scheduler.submit(request(3, 40)).join());
        clock.awaitParked();
        assertEquals(1, stats.stream().filter(StepStats::failed).count());
    }

    private static boolean isPoison(GenerationRequest request) {
        return request.promptTokenIds()[0] == 77;
    }

    private static GenerationRequest poison(int length) {
        int[] prompt = new int[length];
        prompt[0] = 77;
        return new GenerationRequest(prompt, request(1, 9).sampling());
    }

    @Test
    void requestThatMakesStepsFailRunsAloneAndFailsAlone() throws Exception {
        RuntimeException cause = new IllegalStateException("illegal instruction");
        List<Integer> failing = Collections.synchronizedList(new ArrayList<>());
        start(
                QueueOptions.unbounded(),
                model -> model.onAwait(chunks -> {
                    gate.pass();
                    if (chunks.stream()
                            .anyMatch(chunk -> isPoison(chunk.sequence().request()))) {
                        failing.add(chunks.size());
                        throw cause;
                    }
                }));
        Generation good = scheduler.submit(request(3, 40));
        gate.awaitStep();
        Generation bad = scheduler.submit(poison(4));
        gate.open();
        assertSame(cause, assertThrows(CompletionException.class, bad::join).getCause());
        assertYield(request(3, 40), good.join());
        assertEquals(ahead ? List.of(2, 2, 2, 2, 2, 2, 1, 1) : List.of(2, 2, 2, 1), failing); // with those in flight
        assertEquals(new SchedulerState.Running(1, 1), scheduler.state());
    }

    @Test
    void requestThatFailsWhenItDecodesIsFoundToo() throws Exception {
        RuntimeException cause = new IllegalStateException("illegal instruction");
        start(
                QueueOptions.unbounded(),
                model -> model.onAwait(chunks -> {
                    if (chunks.stream()
                            .anyMatch(chunk -> chunk.count() == 1
                                    && isPoison(chunk.sequence().request()))) {
                        throw cause;
                    }
                }));
        Generation bad = scheduler.submit(poison(4));
        Generation good = scheduler.submit(request(3, 40));
        assertSame(cause, assertThrows(CompletionException.class, bad::join).getCause());
        assertYield(request(3, 40), good.join());
    }

    @Test
    void stepsThatFailNowAndThenLoseNoToken() throws Exception {
        Random random = new Random(11);
        start(
                QueueOptions.unbounded(),
                model -> new FakeCausalLm(6, 3, 40, 64).onAwait(chunks -> {
                    if (random.nextInt(5) == 0) {
                        throw new IllegalStateException("now and then");
                    }
                }));
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            requests.add(Requests.random(random));
        }
        List<Generation> generations = requests.stream().map(scheduler::submit).toList();
        int failed = 0;
        for (int i = 0; i < requests.size(); i++) {
            try {
                assertYield(requests.get(i), generations.get(i).join());
            } catch (CompletionException e) {
                failed++; // it ran alone in a step that failed by chance
            }
        }
        assertTrue(failed < 20, "failed " + failed);
    }

    @Test
    void blockedSubmitEndsWhenTheEngineIsLost() throws Exception {
        start(
                QueueOptions.builder()
                        .maxQueuedRequests(1)
                        .whenFull(QueueOptions.WhenFull.BLOCK)
                        .build(),
                model -> model.onAwait(chunks -> {
                    gate.pass();
                    throw new StackOverflowError();
                }));
        scheduler.submit(request(3, 40));
        gate.awaitStep();
        scheduler.submit(request(4, 40)); // for which a slot is free
        scheduler.submit(request(5, 40));
        AtomicReference<String> message = new AtomicReference<>();
        Thread submitter = Thread.ofPlatform()
                .start(() ->
                        message.set(assertThrows(IllegalStateException.class, () -> scheduler.submit(request(6, 3)))
                                .getMessage()));
        awaitWaiting(submitter);
        gate.open();
        submitter.join();
        assertEquals("engine is lost: engine thread failed: java.lang.StackOverflowError", message.get());
    }

    @Test
    void failingRowFailsItsGenerationOnly() throws Exception {
        RuntimeException cause = new IllegalStateException("no finite logit");
        start(
                QueueOptions.unbounded(),
                model -> model.failing(sequence -> sequence.promptLength() == 3 ? cause : null));
        gate.open();
        Generation bad = scheduler.submit(request(3, 4));
        Generation good = scheduler.submit(request(4, 4));
        assertSame(cause, assertThrows(CompletionException.class, bad::join).getCause());
        assertYield(request(4, 4), good.join());
    }

    @Test
    void errorFailsEverythingAndIsReportedToLaterCallers() throws Exception {
        Error error = new NoClassDefFoundError("kernel");
        start(
                QueueOptions.unbounded(),
                model -> model.onAwait(chunks -> {
                    gate.pass();
                    throw error;
                }));
        List<Generation> generations = new ArrayList<>();
        generations.add(scheduler.submit(request(3, 4)));
        gate.awaitStep();
        for (int i = 0; i < 5; i++) {
            generations.add(scheduler.submit(request(3, 4)));
        }
        gate.open();
        for (Generation generation : generations) {
            Throwable cause =
                    assertThrows(CompletionException.class, generation::join).getCause();
            assertSame(error, cause.getCause());
        }
        engineThread.get().join();
        IllegalStateException refused =
                assertThrows(IllegalStateException.class, () -> scheduler.submit(request(3, 4)));
        assertEquals(
                "engine is lost: engine thread failed: java.lang.NoClassDefFoundError: kernel", refused.getMessage());
    }

    @Test
    void closeFinishesWhatRunsAndWaits() throws Exception {
        start(QueueOptions.unbounded(), model -> model);
        List<Generation> generations = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            generations.add(scheduler.submit(request(1 + i, 10)));
        }
        Thread other = Thread.startVirtualThread(scheduler::close);
        scheduler.close();
        other.join();
        for (int i = 0; i < 20; i++) {
            assertYield(request(1 + i, 10), generations.get(i).join());
        }
        assertEquals(
                "scheduler is closed",
                assertThrows(IllegalStateException.class, () -> scheduler.submit(request(3, 4)))
                        .getMessage());
    }

    @Test
    void closeWithCallsInFlightCompletesAllThatWereTaken() throws Exception {
        start(
                QueueOptions.builder()
                        .maxQueuedRequests(5)
                        .whenFull(QueueOptions.WhenFull.BLOCK)
                        .build(),
                model -> model);
        List<Generation> taken = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch done = new CountDownLatch(300);
        for (int i = 0; i < 300; i++) {
            Thread.startVirtualThread(() -> {
                try {
                    taken.add(scheduler.submit(request(3, 4)));
                } catch (IllegalStateException e) {
                    assertEquals("scheduler is closed", e.getMessage());
                } finally {
                    done.countDown();
                }
            });
        }
        scheduler.close();
        done.await();
        taken.forEach(generation -> assertYield(request(3, 4), generation.join()));
    }

    @Test
    void listenerCanCloseTheScheduler() throws Exception {
        start(QueueOptions.unbounded(), model -> model);
        Generation generation = scheduler.submit(request(3, 9), event -> scheduler.close());
        assertYield(request(3, 9), generation.join());
    }

    @Test
    void yieldsWhatEachRequestYieldsAloneInAnyOrder() throws Exception {
        start(QueueOptions.unbounded(), model -> new FakeCausalLm(6, 3, 40, 64));
        Random random = new Random(6);
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < 300; i++) {
            requests.add(Requests.random(random));
        }
        for (int round = 0; round < 2; round++) {
            Collections.shuffle(requests, random);
            List<Generation> generations =
                    requests.stream().map(scheduler::submit).toList();
            for (int i = 0; i < requests.size(); i++) {
                assertYield(requests.get(i), generations.get(i).join());
            }
        }
        assertEquals(6, lm.largestBatch());
    }

    @Test
    void refusesLimitsOutOfRange() throws IOException {
        start();
        assertEquals(
                "maxQueuedRequests must be >= 1, got 0",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> QueueOptions.builder()
                                        .maxQueuedRequests(0)
                                        .maxQueuedTokens(1)
                                        .build())
                        .getMessage());
        assertEquals(
                "maxQueuedTokens must be >= 1, got 0",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> QueueOptions.builder()
                                        .maxQueuedRequests(1)
                                        .maxQueuedTokens(0)
                                        .build())
                        .getMessage());
    }
}
