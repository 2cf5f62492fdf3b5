package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.QueueOptions.WhenFull;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.RecordingListener;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class SubmissionQueueTest {
    private final Engine engine = new Engine(FakeCausalLm.ofBatch(4), EngineOptions.defaults());
    private final AtomicInteger wakes = new AtomicInteger();

    private SubmissionQueue queue(QueueOptions.Builder limits) {
        return new SubmissionQueue(limits.build(), 0, wakes::incrementAndGet);
    }

    private QueuedRequest queued(int promptLength, int maxNewTokens) {
        return new QueuedRequest(
                engine.newSequence(request(promptLength, maxNewTokens), new RecordingListener()), cause -> {});
    }

    @Test
    void numbersRequestsByArrivalAndWakesTheEngineForTheFirst() {
        SubmissionQueue queue = queue(QueueOptions.builder());
        QueuedRequest first = queued(1, 1);
        QueuedRequest second = queued(1, 1);
        queue.offer(first);
        queue.offer(second);
        assertEquals(1, wakes.get());
        assertEquals(List.of(first, second), queue.take().requests());
        assertEquals(1, QueuedRequest.BY_ARRIVAL.compare(second, first));
        assertEquals(List.of(), queue.take().requests());
        queue.offer(queued(1, 1));
        assertEquals(2, wakes.get());
    }

    /** The engine thread would wait for the lock at once, and be woken twice. */
    @Test
    void wakesTheEngineWhenTheQueueIsUnlocked() {
        List<QueuedRequest> taken = new ArrayList<>();
        AtomicReference<SubmissionQueue> queue = new AtomicReference<>();
        queue.set(new SubmissionQueue(
                QueueOptions.defaults(),
                0,
                () -> CompletableFuture.runAsync(
                                () -> taken.addAll(queue.get().take().requests()))
                        .join()));
        QueuedRequest request = queued(1, 1);
        queue.get().offer(request);
        assertEquals(List.of(request), taken);
        queue.get().close(false);
    }

    @Test
    void takenRequestsCountUntilTheEngineThreadSaysHowManyWait() {
        SubmissionQueue queue = queue(QueueOptions.builder().maxQueuedRequests(2));
        WaitingQueue waiting = new WaitingQueue(QueuedRequest.BY_ARRIVAL);
        queue.offer(queued(1, 1));
        queue.offer(queued(1, 1));
        assertThrows(RejectedExecutionException.class, () -> queue.offer(queued(1, 1)));
        waiting.add(queue.take().requests().getFirst()); // the other one runs
        assertEquals(2, queue.queuedRequests());
        queue.updateLoad(waiting, 10, 0);
        assertEquals(1, queue.queuedRequests());
        assertEquals(2 + 10, queue.outstandingTokens());
        assertTrue(queue.offer(queued(1, 1)));
        assertThrows(RejectedExecutionException.class, () -> queue.offer(queued(1, 1)));
    }

    @Test
    void requestsThatFindAFreeSlotDoNotCount() {
        QueueOptions limits =
                QueueOptions.builder().maxQueuedRequests(1).maxQueuedTokens(10).build();
        SubmissionQueue queue = new SubmissionQueue(limits, 3, () -> {});
        for (int i = 0; i < 3; i++) {
            assertTrue(queue.offer(queued(4, 4)));
        }
        assertEquals(
                "queue is full: 24 tokens waiting and 8 more asked for (maxQueuedTokens=10)",
                assertThrows(RejectedExecutionException.class, () -> queue.offer(queued(4, 4)))
                        .getMessage());
        WaitingQueue waiting = new WaitingQueue(QueuedRequest.BY_ARRIVAL);
        queue.take();
        queue.updateLoad(waiting, 0, 1);
        assertTrue(queue.offer(queued(1, 1))); // runs with the next step
        assertTrue(queue.offer(queued(1, 1)));
        assertEquals(
                "queue is full: 1 requests waiting (maxQueuedRequests=1)",
                assertThrows(RejectedExecutionException.class, () -> queue.offer(queued(1, 1)))
                        .getMessage());
        waiting.add(queue.take().requests().getFirst());
        queue.updateLoad(waiting, 0, 1); // a slot is free, but not for the request that waits: pages are lacking
        assertThrows(RejectedExecutionException.class, () -> queue.offer(queued(1, 1)));
    }

    @Test
    void tokensAreBoundedButAnEmptyQueueTakesAnyRequest() {
        SubmissionQueue queue = queue(QueueOptions.builder().maxQueuedTokens(10).whenFull(WhenFull.BLOCK));
        assertTrue(queue.offer(queued(10, 10)));
        assertFalse(queue.offer(queued(1, 1)));
    }

    @Test
    void adoptsBeyondTheLimitsUntilItHasEnded() {
        SubmissionQueue queue = queue(QueueOptions.builder().maxQueuedRequests(1));
        queue.offer(queued(1, 1));
        assertTrue(queue.adopt(queued(1, 1)));
        queue.close(false);
        assertTrue(queue.adopt(queued(1, 1)));
        assertFalse(queue.endIfDrained());
        assertEquals(3, queue.take().requests().size());
        assertTrue(queue.endIfDrained());
        assertFalse(queue.adopt(queued(1, 1)));
    }

    @Test
    void stateFollowsCloseAndLoss() {
        SubmissionQueue queue = queue(QueueOptions.builder());
        assertEquals(new SchedulerState.Running(1, 1), queue.state());
        queue.close(false);
        assertEquals(new SchedulerState.Draining(), queue.state());
        assertEquals(Long.MAX_VALUE, queue.outstandingTokens());
        assertThrows(IllegalStateException.class, () -> queue.offer(queued(1, 1)));
        RuntimeException cause = new IllegalStateException("device lost");
        QueuedRequest left = queued(1, 1);
        queue.adopt(left);
        assertEquals(List.of(left), queue.lose(cause));
        assertEquals(new SchedulerState.Lost(cause), queue.state());
        assertEquals(
                "engine is lost: device lost",
                assertThrows(IllegalStateException.class, () -> queue.offer(queued(1, 1)))
                        .getMessage());
    }
}
