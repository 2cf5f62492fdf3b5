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
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
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
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class AsyncNaiveSchedulerTest {
    private static final Duration TIMEOUT = Duration.ofMillis(50);

    private final FakeClock clock = new FakeClock();
    private final AtomicReference<Thread> engineThread = new AtomicReference<>();
    private final StepGate gate = new StepGate();
    private volatile FakeCausalLm lm;
    private AsyncNaiveScheduler scheduler;

    private AsyncNaiveScheduler start(UnaryOperator<FakeCausalLm> hooks) throws IOException {
        scheduler = new AsyncNaiveScheduler(
                () -> {
                    engineThread.set(Thread.currentThread());
                    lm = hooks.apply(FakeCausalLm.ofBatch(4)); // confined to this thread
                    return new Engine(lm, new FakeTokenizer(), EngineOptions.defaults(), clock, Runnable::run);
                },
                3,
                TIMEOUT);
        return scheduler;
    }

    private AsyncNaiveScheduler start() throws IOException {
        return start(model -> model);
    }

    @AfterEach
    void close() {
        gate.open();
        if (scheduler != null) {
            scheduler.closeNow();
            assertEquals(0, scheduler.queuedRequests());
            assertEquals(1, lm.closes());
            assertFalse(engineThread.get().isAlive());
        }
    }

    @Test
    void runsOnTheThreadThatMadeTheEngineAndIsNamedAfterItsDevice() throws IOException {
        start();
        assertEquals("engine-fake:0", engineThread.get().getName());
        assertFalse(engineThread.get().isVirtual());
    }

    @Test
    void runsFullBatchAtOnce() throws Exception {
        start();
        Generation first = scheduler.submit(request(3, 4));
        Generation second = scheduler.submit(request(4, 6));
        clock.awaitParked();
        assertFalse(first.completion().isDone());
        assertEquals(2, scheduler.queuedRequests());
        Generation third = scheduler.submit(request(5, 2));
        assertYield(request(3, 4), first.join());
        assertYield(request(4, 6), second.join());
        assertYield(request(5, 2), third.join());
        assertEquals(0, first.join().timings().startedNanos());
        assertEquals(1, scheduler.batches());
        assertEquals(1, third.join().batchNumber());
    }

    @Test
    void runsIncompleteBatchWhenTheTimeoutOfItsFirstRequestHasPassed() throws Exception {
        start();
        clock.advance(Duration.ofMillis(1000));
        Generation first = scheduler.submit(request(3, 4));
        assertEquals(Duration.ofMillis(1050).toNanos(), clock.awaitParked());
        clock.advance(Duration.ofMillis(49));
        Generation second = scheduler.submit(request(4, 4));
        assertEquals(Duration.ofMillis(1050).toNanos(), clock.awaitParked()); // the second does not restart it
        assertEquals(0, scheduler.batches());
        clock.advance(Duration.ofMillis(1));
        assertEquals(1, first.join().batchNumber());
        assertEquals(1, second.join().batchNumber());
        assertEquals(TIMEOUT.toNanos(), first.join().timings().e2elNanos());
    }

    @Test
    void timeoutOfTheNextBatchCountsFromItsOwnFirstRequest() throws Exception {
        start(model -> model.onAwait(chunks -> gate.pass()));
        List<Generation> first = scheduler.submitCopies(request(3, 1), 3);
        gate.awaitStep();
        clock.advance(Duration.ofMillis(20));
        Generation late = scheduler.submit(request(4, 1));
        clock.advance(Duration.ofMillis(20));
        gate.open();
        first.forEach(Generation::join);
        assertEquals(Duration.ofMillis(70).toNanos(), clock.awaitParked());
        clock.advance(Duration.ofMillis(30));
        assertEquals(2, late.join().batchNumber());
    }

    @Test
    void admitsTheNextBatchOnlyWhenNoSequenceRuns() throws Exception {
        start(model -> model.onAwait(chunks -> gate.pass()));
        Generation shortOne = scheduler.submit(request(3, 1));
        List<Generation> longOnes = scheduler.submitCopies(request(4, 3), 2);
        gate.awaitStep();
        List<Generation> next = scheduler.submitCopies(request(5, 1), 3);
        gate.nextStep();
        assertYield(request(3, 1), shortOne.join()); // it leaves at once
        gate.nextStep();
        assertEquals(1, scheduler.batches());
        gate.open();
        longOnes.forEach(generation -> assertEquals(1, generation.join().batchNumber()));
        next.forEach(generation -> assertEquals(2, generation.join().batchNumber()));
    }

    @Test
    void parksForEverWhenIdle() throws Exception {
        start();
        assertEquals(Long.MAX_VALUE, clock.awaitParked());
        scheduler.submitCopies(request(3, 1), 3).forEach(Generation::join);
        assertEquals(Long.MAX_VALUE, clock.awaitParked());
    }

    @Test
    void failingBatchFailsItsOwnGenerationsOnly() throws Exception {
        RuntimeException cause = new IllegalStateException("forward failed");
        start(model -> model.onLaunch(chunks -> {
            if (scheduler.batches() == 1) {
                throw cause;
            }
        }));
        List<Generation> bad = scheduler.submitCopies(request(3, 4), 3);
        for (Generation generation : bad) {
            assertSame(
                    cause,
                    assertThrows(CompletionException.class, generation::join).getCause());
        }
        scheduler.submitCopies(request(3, 4), 3).forEach(generation -> assertYield(request(3, 4), generation.join()));
    }

    @Test
    void cancelsAndExpiresRequestsThatWaitForOthers() throws Exception {
        start();
        Generation cancelled = scheduler.submit(request(3, 4));
        Generation expiring = scheduler.submit(request(4, 4).withTimeout(Duration.ofMillis(10)));
        cancelled.cancel();
        assertEquals(FinishReason.CANCELLED, cancelled.join().finishReason());
        assertEquals(Duration.ofMillis(10).toNanos(), clock.awaitParked());
        clock.advance(Duration.ofMillis(10));
        assertEquals(FinishReason.DEADLINE, expiring.join().finishReason());
        assertEquals(Long.MAX_VALUE, clock.awaitParked());
        assertEquals(0, scheduler.batches());
    }

    @Test
    void cancelsAndExpiresRequestsThatWaitForTheBatchToEnd() throws Exception {
        start(model -> model.onAwait(chunks -> gate.pass()));
        List<Generation> running = scheduler.submitCopies(request(3, 5), 3);
        gate.awaitStep();
        Generation cancelled = scheduler.submit(request(3, 4));
        Generation expiring = scheduler.submit(request(4, 4).withTimeout(Duration.ofMillis(10)));
        cancelled.cancel();
        clock.advance(Duration.ofMillis(10));
        gate.nextStep();
        assertEquals(FinishReason.CANCELLED, cancelled.join().finishReason());
        assertEquals(FinishReason.DEADLINE, expiring.join().finishReason());
        running.forEach(generation -> assertFalse(generation.completion().isDone()));
    }

    @Test
    void closeDrainsAndRefusesLaterRequests() throws IOException {
        start();
        List<Generation> generations = scheduler.submitCopies(request(3, 4), 5);
        scheduler.close();
        generations.forEach(generation -> assertYield(request(3, 4), generation.join()));
        scheduler.close();
        assertEquals(
                "scheduler is closed",
                assertThrows(IllegalStateException.class, () -> scheduler.submit(request(3, 4)))
                        .getMessage());
    }

    @Test
    void closeNowCancelsWhatRunsAndWaits() throws Exception {
        start(model -> model.onAwait(chunks -> gate.pass()));
        List<Generation> generations = scheduler.submitCopies(request(3, 40), 5);
        gate.awaitStep();
        Thread closing = Thread.ofPlatform().start(scheduler::closeNow);
        while (closing.getState() != Thread.State.TIMED_WAITING) { // for the end
            Thread.onSpinWait();
        }
        gate.open();
        for (Generation generation : generations) {
            assertEquals(FinishReason.CANCELLED, generation.join().finishReason());
        }
        closing.join();
        assertTrue(lm.steps() < 10);
    }

    @Test
    void closeWaitsForCallsInFlight() throws Exception {
        start();
        CountDownLatch done = new CountDownLatch(200);
        List<Generation> generations = Collections.synchronizedList(new ArrayList<>());
        for (int i = 0; i < 200; i++) {
            Thread.startVirtualThread(() -> {
                try {
                    generations.add(scheduler.submit(request(3, 4)));
                } catch (IllegalStateException e) {
                    assertEquals("scheduler is closed", e.getMessage());
                }
                done.countDown();
            });
        }
        scheduler.close();
        done.await();
        generations.forEach(generation -> assertYield(request(3, 4), generation.join()));
    }

    @Test
    void interruptedCloseCancelsAndKeepsTheFlag() throws Exception {
        AtomicReference<Boolean> flag = new AtomicReference<>();
        Thread closing = Thread.ofPlatform().unstarted(() -> {
            Thread.currentThread().interrupt();
            scheduler.close();
            flag.set(Thread.currentThread().isInterrupted());
        });
        start(model -> model.onAwait(chunks -> {
            while (closing.getState() != Thread.State.TIMED_WAITING) { // for the end, having taken the interrupt
                Thread.onSpinWait();
            }
        }));
        List<Generation> generations = scheduler.submitCopies(request(3, 40), 3);
        closing.start();
        closing.join();
        assertTrue(flag.get());
        for (Generation generation : generations) {
            assertEquals(FinishReason.CANCELLED, generation.join().finishReason());
        }
    }

    @Test
    void interruptedEngineThreadGoesOn() throws Exception {
        start();
        clock.awaitParked();
        engineThread.get().interrupt();
        scheduler.submitCopies(request(3, 4), 3).forEach(generation -> assertYield(request(3, 4), generation.join()));
        assertEquals(Long.MAX_VALUE, clock.awaitParked());
    }

    @Test
    void failureToMakeTheEngineReachesTheCaller() {
        IOException missing = new IOException("no such file");
        EngineFactory failing = () -> {
            throw missing;
        };
        assertSame(missing, assertThrows(IOException.class, () -> new AsyncNaiveScheduler(failing, 1, TIMEOUT)));
        EngineFactory broken = () -> {
            throw new UnsatisfiedLinkError("no libtorch");
        };
        assertThrows(UnsatisfiedLinkError.class, () -> new AsyncNaiveScheduler(broken, 1, TIMEOUT));
    }

    @Test
    void refusesWhatIsOutOfRangeAndClosesTheEngineItMade() {
        FakeCausalLm model = FakeCausalLm.ofBatch(4).unconfined();
        EngineFactory factory = () -> new Engine(model, EngineOptions.defaults());
        assertEquals(
                "batchSize must be in [1, 4], got 5",
                assertThrows(IllegalArgumentException.class, () -> new AsyncNaiveScheduler(factory, 5, TIMEOUT))
                        .getMessage());
        assertEquals(1, model.closes());
        assertEquals(
                "timeout must be >= 0, got PT-1S",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> new AsyncNaiveScheduler(factory, 1, Duration.ofSeconds(-1)))
                        .getMessage());
    }

    @Test
    void runsOnTheSystemsClock() throws IOException {
        EngineFactory factory = () -> new Engine(FakeCausalLm.ofBatch(4), EngineOptions.defaults());
        try (AsyncNaiveScheduler real = new AsyncNaiveScheduler(factory, 4, Duration.ofMillis(1))) {
            assertYield(request(3, 4), real.submit(request(3, 4)).join());
        }
    }

    @Test
    void yieldsWhatEachRequestYieldsAlone() throws IOException {
        start();
        Random random = new Random(5);
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            requests.add(Requests.random(random));
        }
        List<Generation> generations = requests.stream().map(scheduler::submit).toList();
        scheduler.close();
        for (int i = 0; i < requests.size(); i++) {
            assertYield(requests.get(i), generations.get(i).join());
        }
    }
}
