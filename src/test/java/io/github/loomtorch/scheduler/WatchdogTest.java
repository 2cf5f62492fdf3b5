package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.request.StepTimeoutException;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.StepGate;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Steps that do not return. */
@Timeout(60)
class WatchdogTest {
    private static final Duration TIMEOUT = Duration.ofMillis(200);

    /** A replica with two slots whose steps hang until its gate is opened. */
    private static final class Replica {
        final StepGate gate = new StepGate();
        volatile boolean hangs;
        volatile FakeCausalLm lm;
        volatile Thread thread;

        ContinuousScheduler start(Duration stepTimeout) throws IOException {
            return new ContinuousScheduler(
                    () -> {
                        thread = Thread.currentThread();
                        lm = FakeCausalLm.ofBatch(2).onAwait(chunks -> {
                            if (hangs) {
                                gate.pass();
                            }
                        });
                        return new Engine(
                                lm,
                                new FakeTokenizer(),
                                EngineOptions.builder().stepTimeout(stepTimeout).build());
                    },
                    QueueOptions.unbounded());
        }

        /** Lets the hanging step return, and waits until its thread has freed the model. */
        void recover() throws InterruptedException {
            gate.open();
            thread.join();
            assertEquals(1, lm.closes());
        }
    }

    private final Replica a = new Replica();
    private final Replica b = new Replica();

    @AfterEach
    void open() {
        a.gate.open();
        b.gate.open();
    }

    private static String failure(Generation generation) {
        return assertInstanceOf(
                        StepTimeoutException.class,
                        assertThrows(CompletionException.class, generation::join)
                                .getCause())
                .getMessage();
    }

    @Test
    void stepThatHangsIsNamedAndFailsWhatRunsAndWaits() throws Exception {
        ContinuousScheduler scheduler = a.start(TIMEOUT);
        assertYield(request(3, 4), scheduler.submit(request(3, 4)).join()); // warm-up
        a.hangs = true;
        List<Generation> running = List.of(scheduler.submit(request(3, 40)), scheduler.submit(request(4, 40)));
        a.gate.awaitStep();
        Generation waiting = scheduler.submit(request(5, 4));
        String message = failure(running.get(0));
        assertTrue(
                message.matches(
                        "await of a prefill step of [12] sequences? has not returned for \\d+ ms "
                                + "\\(stepTimeout PT0.2S\\); thread engine-fake:0 and the native memory of its model are abandoned"),
                message);
        failure(running.get(1));
        failure(waiting);
        assertInstanceOf(SchedulerState.Lost.class, scheduler.state());
        assertThrows(IllegalStateException.class, () -> scheduler.submit(request(1, 1)));
        scheduler.close(); // does not wait for the step
        assertTrue(a.thread.isAlive());
        a.recover();
    }

    /** How many generations failed; the others must yield what the request asks for. */
    private static int failed(GenerationRequest request, List<Generation> generations) {
        int failed = 0;
        for (Generation generation : generations) {
            try {
                assertYield(request, generation.join());
            } catch (CompletionException e) {
                assertInstanceOf(StepTimeoutException.class, e.getCause());
                failed++;
            }
        }
        return failed;
    }

    @Test
    void poolMovesTheQueueOfAReplicaThatHangs() throws Exception {
        List<ContinuousScheduler> replicas = List.of(a.start(TIMEOUT), b.start(TIMEOUT));
        ReplicaPool pool = new ReplicaPool(replicas);
        List<Generation> warmUp = List.of(pool.submit(request(3, 4)), pool.submit(request(3, 4)));
        warmUp.forEach(Generation::join);
        for (ContinuousScheduler replica : replicas) {
            while (replica.thread().submissions().outstandingTokens() > 0) { // until it knows that it is idle
                Thread.onSpinWait();
            }
        }
        a.hangs = true;
        List<Generation> first = pool.submitCopies(request(3, 4), 2); // one for each replica
        a.gate.awaitStep();
        List<Generation> others = pool.submitCopies(request(4, 9), 20);
        assertEquals(1, failed(request(3, 4), first));
        int failed = failed(request(4, 9), others);
        assertTrue(failed <= 1, "failed " + failed); // beside the first in the step that hangs
        assertEquals(new SchedulerState.Running(1, 2), pool.state());
        pool.close();
        a.recover();
    }

    @Test
    void requestPastItsDeadlineDoesNotWaitForAStepThatIsLate() throws Exception {
        ContinuousScheduler scheduler = a.start(Duration.ofMillis(1000));
        scheduler.submit(request(3, 4)).join();
        a.hangs = true;
        Generation running = scheduler.submit(request(3, 40).withTimeout(Duration.ofMillis(100)));
        a.gate.awaitStep();
        Generation waiting = scheduler.submit(request(4, 40).withTimeout(Duration.ofMillis(100)));
        assertTrue(failure(running).startsWith("the deadline passed while await of a prefill step of 1 sequence"));
        failure(waiting);
        assertEquals(new SchedulerState.Running(1, 1), scheduler.state());
        a.hangs = false;
        a.gate.open(); // in time: the engine goes on
        assertYield(request(5, 4), scheduler.submit(request(5, 4)).join());
        scheduler.close();
        assertEquals(1, a.lm.closes());
    }

    @Test
    void closeNowReturnsThoughAStepHangs() throws Exception {
        ContinuousScheduler scheduler = a.start(Duration.ofDays(1));
        a.hangs = true;
        Generation running = scheduler.submit(request(3, 40));
        a.gate.awaitStep();
        long start = System.nanoTime();
        scheduler.closeNow();
        assertTrue(System.nanoTime() - start < Duration.ofSeconds(5).toNanos());
        assertTrue(failure(running).contains("(closing now)"));
        assertEquals(0, a.lm.closes());
        a.recover();
    }

    @Test
    void stepsWithinTheTimeoutAreLeftAlone() throws Exception {
        ContinuousScheduler scheduler = a.start(TIMEOUT);
        for (int i = 0; i < 20; i++) {
            assertYield(request(3, 40), scheduler.submit(request(3, 40)).join());
        }
        scheduler.close();
        assertFalse(a.thread.isAlive());
        assertEquals(1, a.lm.closes());
    }
}
