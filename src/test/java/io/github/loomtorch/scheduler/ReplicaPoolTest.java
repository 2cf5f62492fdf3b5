package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeClock;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.StepGate;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class ReplicaPoolTest {
    /** A replica with two slots whose steps the test can hold and fail. */
    private static final class Replica {
        final StepGate gate = new StepGate();
        final FakeClock clock = new FakeClock();
        int batchSize = 2;
        volatile RuntimeException failure;
        final AtomicInteger failingSteps = new AtomicInteger(); // that are still to come, beside those for ever
        volatile boolean lost;
        volatile FakeCausalLm lm;
        volatile Thread thread;

        ContinuousScheduler start(QueueOptions queue) throws IOException {
            return new ContinuousScheduler(
                    () -> {
                        thread = Thread.currentThread();
                        lm = FakeCausalLm.ofBatch(batchSize).onAwait(chunks -> {
                            gate.pass();
                            if (failure != null) {
                                throw failure;
                            }
                            if (failingSteps.getAndUpdate(steps -> Math.max(0, steps - 1)) > 0
                                    || chunks.stream()
                                            .anyMatch(chunk -> chunk.sequence().tokens()[0] == 77)) {
                                throw new IllegalStateException("step failed");
                            }
                        });
                        ForwardingLm mayBeLost = new ForwardingLm(lm) {
                            @Override
                            public boolean isLost() {
                                return lost;
                            }
                        };
                        return new Engine(
                                mayBeLost, new FakeTokenizer(), EngineOptions.defaults(), clock, Runnable::run);
                    },
                    queue);
        }
    }

    private final Replica a = new Replica();
    private final Replica b = new Replica();
    private final RuntimeException cause = new IllegalStateException("device lost");
    private ReplicaPool pool;

    private void start(QueueOptions queue) throws IOException {
        pool = new ReplicaPool(List.of(a.start(queue), b.start(queue)));
    }

    private void start() throws IOException {
        start(QueueOptions.unbounded());
    }

    /** Replicas that run one request at a time. */
    private void startWithOneSlot(QueueOptions queue) throws IOException {
        a.batchSize = 1;
        b.batchSize = 1;
        start(queue);
    }

    @AfterEach
    void close() {
        a.gate.open();
        b.gate.open();
        if (pool != null) {
            pool.closeNow();
            assertEquals(1, a.lm.closes());
            assertEquals(1, b.lm.closes());
            assertFalse(a.thread.isAlive());
            assertFalse(b.thread.isAlive());
        }
    }

    @Test
    void givesRequestToTheReplicaWithTheFewestOutstandingTokens() throws Exception {
        start();
        Generation large = pool.submit(request(20, 20)); // a: 40
        a.gate.awaitStep();
        pool.submit(request(5, 10)); // b: 15
        b.gate.awaitStep();
        Generation second = pool.submit(request(6, 10)); // b: 31
        Generation third = pool.submit(request(7, 10)); // b: 48
        Generation fourth = pool.submit(request(8, 1)); // a
        a.gate.open();
        assertYield(request(8, 1), fourth.join());
        assertYield(request(20, 20), large.join());
        assertFalse(second.completion().isDone() || third.completion().isDone());
        b.gate.open();
        assertYield(request(6, 10), second.join());
        assertYield(request(7, 10), third.join());
    }

    @Test
    void fullReplicaPassesRequestToTheNext() throws Exception {
        startWithOneSlot(QueueOptions.builder().maxQueuedRequests(1).build());
        for (int i = 0; i < 2; i++) {
            pool.submit(request(3 + i, 2)); // a, then b
        }
        a.gate.awaitStep();
        b.gate.awaitStep();
        for (int i = 0; i < 2; i++) {
            pool.submit(request(3 + i, 30));
            assertEquals(1 + i, pool.queuedRequests());
        }
        assertEquals(
                "queue is full: 1 requests waiting (maxQueuedRequests=1)",
                assertThrows(RejectedExecutionException.class, () -> pool.submit(request(3, 2)))
                        .getMessage());
    }

    /** One runs and one waits in each replica, and no more may wait; b has more to do. */
    private void startFull() throws Exception {
        startWithOneSlot(QueueOptions.builder()
                .maxQueuedRequests(1)
                .whenFull(QueueOptions.WhenFull.BLOCK)
                .build());
        pool.submit(request(3, 2)); // a
        a.gate.awaitStep();
        pool.submit(request(4, 2)); // b
        b.gate.awaitStep();
        pool.submit(request(5, 2)); // a
        pool.submit(request(6, 30)); // b
    }

    /** A submit on a thread of its own, which waits when this is made. */
    private final class BlockedSubmit {
        final Thread thread = Thread.ofPlatform().start(this::run);
        volatile Generation generation;
        volatile RuntimeException refusal;
        volatile boolean interrupted;

        BlockedSubmit() {
            while (thread.getState() != Thread.State.WAITING) {
                Thread.onSpinWait();
            }
        }

        private void run() {
            try {
                generation = pool.submit(request(7, 3));
            } catch (RuntimeException e) {
                interrupted = Thread.currentThread().isInterrupted();
                refusal = e;
            }
        }
    }

    @Test
    void blockedSubmitTakesTheFirstRoomInAnyReplica() throws Exception {
        startFull();
        BlockedSubmit blocked = new BlockedSubmit();
        b.gate.nextStep();
        b.gate.nextStep(); // what ran has its 2 tokens, and what waited runs
        blocked.thread.join();
        b.gate.open();
        assertYield(request(7, 3), blocked.generation.join());
        assertEquals(1, a.lm.steps());
    }

    @Test
    void interruptedSubmitTakesNoRequest() throws Exception {
        startFull();
        BlockedSubmit blocked = new BlockedSubmit();
        blocked.thread.interrupt();
        blocked.thread.join();
        assertEquals(CancellationException.class, blocked.refusal.getClass());
        assertEquals("interrupted while waiting for room in the queue", blocked.refusal.getMessage());
        assertTrue(blocked.interrupted);
    }

    @Test
    void blockedSubmitEndsWhenThePoolCloses() throws Exception {
        startFull();
        BlockedSubmit blocked = new BlockedSubmit();
        Thread closing = Thread.startVirtualThread(pool::close);
        blocked.thread.join();
        assertEquals("scheduler is closed", blocked.refusal.getMessage());
        a.gate.open();
        b.gate.open();
        closing.join();
    }

    @Test
    void blockedSubmitEndsWhenTheLastReplicaIsLost() throws Exception {
        startFull();
        BlockedSubmit blocked = new BlockedSubmit();
        for (Replica replica : List.of(a, b)) {
            assertNull(blocked.refusal);
            replica.lost = true;
            replica.failure = cause;
            replica.gate.open();
            replica.thread.join();
        }
        blocked.thread.join();
        assertEquals("engine is lost: device lost", blocked.refusal.getMessage());
        assertSame(cause, blocked.refusal.getCause());
    }

    @Test
    void waitingRequestsOfLostReplicaMoveToTheOthers() throws Exception {
        start();
        List<Generation> onB = new ArrayList<>();
        Generation busy = pool.submit(request(30, 30)); // a
        a.gate.awaitStep();
        for (int i = 0; i < 10; i++) {
            onB.add(pool.submit(request(1, 2)));
        }
        b.gate.awaitStep();
        Generation cancelled = onB.getLast();
        b.failure = cause;
        b.gate.open();
        b.thread.join();
        assertEquals(new SchedulerState.Running(1, 2), pool.state());
        cancelled.cancel();
        a.gate.open();

        assertYield(request(30, 30), busy.join());
        assertEquals(FinishReason.CANCELLED, cancelled.join().finishReason());
        for (Generation generation : onB.subList(0, 9)) {
            assertYield(request(1, 2), generation.join()); // what ran there too
        }
        assertYield(request(2, 2), pool.submit(request(2, 2)).join());
        assertEquals(1, b.lm.closes());
    }

    @Test
    void requestsFailWhenAllReplicasAreLost() throws Exception {
        start();
        a.failure = cause;
        b.failure = cause;
        List<Generation> generations = pool.submitCopies(request(3, 4), 40);
        a.gate.open();
        b.gate.open();
        for (Generation generation : generations) {
            assertSame(
                    cause,
                    assertThrows(CompletionException.class, generation::join).getCause());
        }
        a.thread.join();
        b.thread.join();
        assertEquals(new SchedulerState.Lost(cause), pool.state());
        assertEquals(
                "engine is lost: device lost",
                assertThrows(IllegalStateException.class, () -> pool.submit(request(3, 4)))
                        .getMessage());
    }

    @Test
    void replicaThatFailsNowAndThenIsKept() throws Exception {
        start();
        a.gate.open();
        b.gate.open();
        for (int i = 0; i < 6; i++) {
            a.failingSteps.set(2);
            assertYield(request(3, 1), pool.submit(request(3, 1)).join());
            a.clock.awaitParked();
        }
        a.failingSteps.set(3); // three in a row: then it computes the token of a probe
        assertYield(request(3, 1), pool.submit(request(3, 1)).join());
        assertEquals(new SchedulerState.Running(2, 2), pool.state());
    }

    @Test
    void sixRequestsThatMakeStepsFailLoseNoReplica() throws Exception {
        start();
        a.gate.open();
        b.gate.open();
        int[] poison = {77, 1, 2};
        List<Generation> bad = new ArrayList<>();
        List<Generation> good = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            bad.add(pool.submit(new GenerationRequest(poison, request(1, 4).sampling())));
            good.add(pool.submit(request(3 + i, 10)));
        }
        for (Generation generation : bad) {
            assertThrows(CompletionException.class, generation::join);
        }
        for (int i = 0; i < 6; i++) {
            assertYield(request(3 + i, 10), good.get(i).join());
        }
        assertEquals(new SchedulerState.Running(2, 2), pool.state());
    }

    @Test
    void closeDrainsAllReplicas() throws Exception {
        start();
        a.gate.open();
        b.gate.open();
        List<Generation> generations = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            generations.add(pool.submit(request(1 + i, 10)));
        }
        pool.close();
        for (int i = 0; i < 40; i++) {
            assertYield(request(1 + i, 10), generations.get(i).join());
        }
        assertTrue(a.lm.steps() > 0 && b.lm.steps() > 0);
        assertEquals(
                "scheduler is closed",
                assertThrows(IllegalStateException.class, () -> pool.submit(request(3, 4)))
                        .getMessage());
    }

    @Test
    void refusesNoReplicasAndDifferentModels() throws IOException {
        assertEquals(
                "replicas must hold at least one scheduler, got none",
                assertThrows(IllegalArgumentException.class, () -> new ReplicaPool(List.of()))
                        .getMessage());
        try (ContinuousScheduler first = new ContinuousScheduler(
                        () -> new Engine(new FakeCausalLm(2, 4, 32, 64), EngineOptions.defaults()));
                ContinuousScheduler other = new ContinuousScheduler(
                        () -> new Engine(new FakeCausalLm(2, 4, 32, 32), EngineOptions.defaults()))) {
            assertEquals(
                    "replicas must have the same model, got another vocabulary, context or page size at 1",
                    assertThrows(IllegalArgumentException.class, () -> new ReplicaPool(List.of(first, other)))
                            .getMessage());
        }
    }
}
