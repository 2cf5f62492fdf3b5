package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.SequenceListener;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenListener;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.RecordingListener;
import io.github.loomtorch.testing.StepGate;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class EngineThreadTest {
    private static final AdmissionRule NOBODY = (running, waiting, now, closing) -> Long.MAX_VALUE;

    private final StepGate gate = new StepGate();
    private final AtomicReference<Throwable> uncaught = new AtomicReference<>();
    private volatile boolean lost;
    private FakeCausalLm lm;
    private EngineThread thread;

    private void start(UnaryOperator<FakeCausalLm> hooks, Comparator<QueuedRequest> turn, AdmissionRule rule)
            throws IOException {
        thread = new EngineThread(
                () -> {
                    Thread.currentThread().setUncaughtExceptionHandler((t, e) -> uncaught.set(e));
                    lm = hooks.apply(new FakeCausalLm(4, 4, 16, 64));
                    ForwardingLm mayBeLost = new ForwardingLm(lm) {
                        @Override
                        public boolean isLost() {
                            return lost;
                        }
                    };
                    return new Engine(mayBeLost, new FakeTokenizer(), EngineOptions.defaults());
                },
                QueueOptions.unbounded(),
                turn,
                rule,
                false);
    }

    @AfterEach
    void close() {
        gate.open();
        thread.close(true);
        assertEquals(1, lm.closes());
    }

    private static long admitAll(RunningRequests running, WaitingQueue waiting, long now, boolean closing) {
        for (Iterator<QueuedRequest> turn = waiting.iterator(); turn.hasNext(); ) {
            if (running.tryAdmit(turn.next()) == Engine.Admission.ADMITTED) {
                turn.remove();
            }
        }
        return Long.MAX_VALUE;
    }

    @Test
    void endsRequestThatIsCancelledWhileTheOneBeforeItIsTaken() throws Exception {
        CompletableFuture<Generation> second = new CompletableFuture<>();
        AtomicBoolean submitted = new AtomicBoolean();
        Comparator<QueuedRequest> turn = (a, b) -> {
            if (!submitted.getAndSet(true)) { // the engine thread has just emptied its inbox
                Generation generation = thread.submit(request(3, 4), TokenListener.NONE);
                generation.cancel();
                second.complete(generation);
            }
            return Long.compare(a.arrival(), b.arrival());
        };
        start(model -> model, turn, NOBODY);
        Generation first = thread.submit(request(3, 4), TokenListener.NONE);
        assertEquals(FinishReason.CANCELLED, second.get().completion().get().finishReason());
        first.cancel();
        assertEquals(FinishReason.CANCELLED, first.completion().get().finishReason());
    }

    @Test
    void takesRequestThoughTheThreadSpendsItsPermitToPassOnALock() throws Exception {
        CompletableFuture<Generation> second = new CompletableFuture<>();
        AdmissionRule spending = (running, waiting, now, closing) -> {
            if (waiting.isEmpty() || second.isDone()) {
                return admitAll(running, waiting, now, closing);
            }
            second.complete(thread.submit(request(3, 4), TokenListener.NONE));
            LockSupport.park(); // as a lock does that another thread holds
            return Long.MAX_VALUE;
        };
        start(model -> model, QueuedRequest.BY_ARRIVAL, spending);
        Generation first = thread.submit(request(3, 4), TokenListener.NONE);
        assertYield(request(3, 4), first.completion().get());
        assertYield(request(3, 4), second.get().completion().get());
    }

    @Test
    void endsSequenceThatIsCancelledBeforeItIsPreempted() throws Exception {
        List<QueuedRequest> admitted = new ArrayList<>();
        AdmissionRule oneThatGivesWay = (running, waiting, now, closing) -> {
            if (admitted.isEmpty() && !waiting.isEmpty()) {
                admitted.add(waiting.first());
                admitAll(running, waiting, now, closing);
            } else if (admitted.size() == 1) {
                QueuedRequest first = admitted.getFirst();
                first.sequence().cancel();
                running.preempt(List.of(first));
                waiting.add(first);
                QueuedRequest urgent = new QueuedRequest(
                        thread.engine().newSequence(request(3, 4), new RecordingListener()), cause -> {});
                running.tryAdmit(urgent);
                admitted.add(urgent);
            }
            return Long.MAX_VALUE;
        };
        start(model -> model, QueuedRequest.BY_ARRIVAL, oneThatGivesWay);
        Generation generation = thread.submit(request(3, 40), TokenListener.NONE);
        assertEquals(FinishReason.CANCELLED, generation.completion().get().finishReason());
        assertEquals(1, generation.join().outputTokenIds().length);
    }

    @Test
    void lostDeviceFailsWhatRunsAndWaitsAtOnce() throws Exception {
        RuntimeException cause = new IllegalStateException("device lost");
        start(
                model -> model.onAwait(chunks -> {
                    gate.pass();
                    throw cause;
                }),
                QueuedRequest.BY_ARRIVAL,
                EngineThreadTest::admitAll);
        Generation running = thread.submit(request(50, 4), TokenListener.NONE);
        gate.awaitStep();
        Generation waiting = thread.submit(request(20, 4), TokenListener.NONE);
        lost = true;
        gate.open();
        assertSame(
                cause,
                assertThrows(ExecutionException.class, running.completion()::get)
                        .getCause());
        assertSame(
                cause,
                assertThrows(ExecutionException.class, waiting.completion()::get)
                        .getCause());
        assertEquals(1, lm.steps());
        IllegalStateException refused =
                assertThrows(IllegalStateException.class, () -> thread.submit(request(3, 4), TokenListener.NONE));
        assertEquals("engine is lost: device lost", refused.getMessage());
        assertSame(cause, refused.getCause());
    }

    /** Counts its ends. */
    private static final class Ends implements SequenceListener {
        final List<RuntimeException> failures = Collections.synchronizedList(new ArrayList<>());
        volatile boolean finished;

        @Override
        public void onToken(TokenEvent event) {}

        @Override
        public void onFinished(Completion completion) {
            finished = true;
        }

        @Override
        public void onFailed(RuntimeException cause) {
            failures.add(cause);
        }
    }

    @Test
    void lostDeviceFailsEachRequestOnceWhereverItIs() throws Exception {
        RuntimeException cause = new IllegalStateException("device lost");
        List<Ends> all = new ArrayList<>();
        AtomicBoolean full = new AtomicBoolean();
        start(
                model -> model.onAwait(chunks -> {
                    gate.pass();
                    if (chunks.size() == 3) {
                        full.set(true);
                    } else if (full.get()) { // a sequence has just lost its pages
                        enqueue(request(3, 4), all);
                        lost = true;
                        throw cause;
                    }
                }),
                QueuedRequest.BY_ARRIVAL,
                EngineThreadTest::admitAll);
        enqueue(request(8, 40), all);
        gate.awaitStep();
        enqueue(request(9, 40), all);
        enqueue(request(10, 40), all);
        enqueue(request(50, 4), all); // waits
        Generation last = thread.submit(request(50, 4), TokenListener.NONE);
        gate.open();
        assertThrows(ExecutionException.class, last.completion()::get);
        thread.close(false);
        assertEquals(5, all.size());
        for (Ends ends : all) {
            assertEquals(List.of(cause), ends.failures);
            assertFalse(ends.finished);
        }
        IllegalStateException refused =
                assertThrows(IllegalStateException.class, () -> thread.submit(request(3, 4), TokenListener.NONE));
        assertEquals("engine is lost: device lost", refused.getMessage());
    }

    private void enqueue(GenerationRequest request, List<Ends> all) {
        Ends ends = new Ends();
        all.add(ends);
        thread.submissions().offer(new QueuedRequest(thread.engine().newSequence(request, ends), cause -> {}));
    }

    @Test
    void failsWhatWaitsThoughListenersThrow() throws Exception {
        start(
                model -> model.onAwait(chunks -> {
                    gate.pass();
                    if (chunks.size() == 2) {
                        throw new StackOverflowError();
                    }
                }),
                QueuedRequest.BY_ARRIVAL,
                EngineThreadTest::admitAll);
        IllegalStateException thrown = new IllegalStateException("listener");
        SequenceListener throwing = new SequenceListener() {
            @Override
            public void onToken(TokenEvent event) {}

            @Override
            public void onFinished(Completion completion) {}

            @Override
            public void onFailed(RuntimeException cause) {
                throw thrown;
            }
        };
        thread.submissions()
                .offer(new QueuedRequest(thread.engine().newSequence(request(28, 4), throwing), cause -> {}));
        gate.awaitStep();
        thread.submissions()
                .offer(new QueuedRequest(thread.engine().newSequence(request(20, 4), throwing), cause -> {}));
        gate.nextStep();
        Generation waiting = thread.submit(request(20, 4), TokenListener.NONE);
        gate.open();
        assertThrows(ExecutionException.class, waiting.completion()::get);
        thread.close(true);
        assertSame(thrown, uncaught.get());
    }
}
