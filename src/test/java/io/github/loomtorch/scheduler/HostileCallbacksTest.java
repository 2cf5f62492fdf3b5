package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.RecordingListener;
import io.github.loomtorch.testing.StepGate;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** User code that throws, blocks, spins or calls back does not affect the engine or other requests. */
@Timeout(60)
class HostileCallbacksTest {
    private final StepGate gate = new StepGate();
    private ContinuousScheduler scheduler;
    private volatile boolean spinning = true;
    private int batchSize = 64;

    private void start(EngineListener listener, QueueOptions queue) throws IOException {
        scheduler = new ContinuousScheduler(
                () -> new Engine(
                        FakeCausalLm.ofBatch(batchSize).onAwait(chunks -> gate.pass()),
                        new FakeTokenizer(),
                        EngineOptions.builder().listener(listener).build()),
                queue);
    }

    private void start(EngineListener listener) throws IOException {
        start(listener, QueueOptions.defaults());
        gate.open();
    }

    @AfterEach
    void close() {
        spinning = false;
        gate.open();
        scheduler.closeNow();
    }

    @Test
    void engineListenerThatThrowsAnErrorIsLoggedOnly() throws IOException {
        start(stats -> {
            throw new StackOverflowError();
        });
        assertYield(request(3, 9), scheduler.submit(request(3, 9)).join());
    }

    @Test
    void engineListenerThatBlocksHoldsNothingUp() throws IOException {
        CountDownLatch never = new CountDownLatch(1);
        start(stats -> {
            try {
                never.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        assertYield(request(3, 9), scheduler.submit(request(3, 9)).join());
        scheduler.close();
        never.countDown();
    }

    @Test
    void engineListenerCanSubmitJoinAndClose() throws IOException {
        CompletableFuture<Generation> submitted = new CompletableFuture<>();
        CompletableFuture<Void> closed = new CompletableFuture<>();
        start(stats -> {
            if (!submitted.isDone()) {
                Generation generation = scheduler.submit(request(4, 5));
                generation.join();
                submitted.complete(generation);
                scheduler.close();
                closed.complete(null);
            }
        });
        assertYield(request(3, 9), scheduler.submit(request(3, 9)).join());
        assertYield(request(4, 5), submitted.join().join());
        closed.join();
        assertThrows(IllegalStateException.class, () -> scheduler.submit(request(1, 1)));
    }

    @Test
    void listenersThatSpinOnAllCarrierThreadsDoNotHoldBackOthers() throws IOException {
        start(stats -> {});
        int carriers = 2 * Runtime.getRuntime().availableProcessors();
        CountDownLatch spinners = new CountDownLatch(Runtime.getRuntime().availableProcessors());
        List<Generation> spin = new ArrayList<>();
        for (int i = 0; i < carriers; i++) {
            spin.add(scheduler.submit(request(3, 9), event -> {
                spinners.countDown();
                while (spinning) {
                    Thread.onSpinWait();
                }
            }));
        }
        assertDoneWithin(spinners);
        RecordingListener listener = new RecordingListener();
        Generation heard = scheduler.submit(request(4, 5), listener);
        assertYield(request(4, 5), heard.join());
        assertEquals(5, listener.events().size());
        assertYield(request(5, 5), scheduler.submit(request(5, 5)).join());
        Generation expiring = scheduler.submit(request(3, 60).withTimeout(Duration.ofNanos(1)));
        assertEquals(FinishReason.DEADLINE, expiring.join().finishReason());
        spinning = false;
        spin.forEach(Generation::join);
    }

    private static void assertDoneWithin(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void blockedSubmitReturnsAtItsDeadline() throws Exception {
        batchSize = 1;
        start(
                EngineListener.NONE,
                QueueOptions.builder()
                        .maxQueuedRequests(1)
                        .whenFull(QueueOptions.WhenFull.BLOCK)
                        .build());
        Generation running = scheduler.submit(request(3, 4));
        gate.awaitStep();
        Generation waiting = scheduler.submit(request(4, 4));
        Generation late = scheduler.submit(request(5, 4).withTimeout(Duration.ofMillis(30)));
        assertEquals(FinishReason.DEADLINE, late.join().finishReason());
        assertEquals(0, late.join().outputTokenIds().length);
        assertEquals(1, scheduler.queuedRequests());
        gate.open();
        assertYield(request(3, 4), running.join());
        assertYield(request(4, 4), waiting.join());
    }
}
