package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.RecordingListener;
import io.github.loomtorch.testing.StepGate;
import java.io.IOException;
import java.lang.ref.Reference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class GenerationTest {
    private final StepGate gate = new StepGate();
    private final RuntimeException cause = new IllegalStateException("device failed");
    private volatile boolean failing;
    private ContinuousScheduler scheduler;

    @BeforeEach
    void start() throws IOException {
        scheduler = new ContinuousScheduler(() -> {
            FakeCausalLm lm = FakeCausalLm.ofBatch(4).onAwait(chunks -> {
                gate.pass();
                if (failing) {
                    throw cause;
                }
            });
            return new Engine(lm, new FakeTokenizer(), EngineOptions.defaults());
        });
    }

    @AfterEach
    void close() {
        gate.open();
        scheduler.closeNow();
    }

    private static int[] ids(Iterable<TokenEvent> events) {
        List<Integer> ids = new ArrayList<>();
        events.forEach(event -> ids.add(event.tokenId()));
        return ids.stream().mapToInt(Integer::intValue).toArray();
    }

    /** Puts all that it is told into a queue. */
    private static class Subscriber implements Flow.Subscriber<TokenEvent> {
        final BlockingQueue<Object> signals = new LinkedBlockingQueue<>();
        volatile Flow.Subscription subscription;

        @Override
        public void onSubscribe(Flow.Subscription s) {
            subscription = s;
        }

        @Override
        public void onNext(TokenEvent event) {
            signals.add(event.index());
        }

        @Override
        public void onError(Throwable t) {
            signals.add(t);
        }

        @Override
        public void onComplete() {
            signals.add("complete");
        }
    }

    @Test
    void loopTakesTokensAsTheyCome() throws InterruptedException {
        Generation generation = scheduler.submit(request(3, 3));
        Iterator<TokenEvent> tokens = generation.tokens().iterator();
        gate.awaitStep();
        gate.nextStep();
        gate.nextStep(); // the first token is published by now
        assertEquals(0, tokens.next().index());
        assertFalse(generation.completion().isDone());
        gate.open();
        assertEquals(1, tokens.next().index());
        assertEquals(2, tokens.next().index());
        assertFalse(tokens.hasNext());
        assertEquals(
                "the generation has ended after 3 tokens",
                assertThrows(NoSuchElementException.class, tokens::next).getMessage());
        assertArrayEquals(generation.join().outputTokenIds(), ids(generation.tokens()));
    }

    @Test
    void manyTokensKeepTheirOrder() {
        gate.open();
        Generation generation = scheduler.submit(request(3, 60));
        assertArrayEquals(
                FakeCausalLm.expected(
                        request(3, 60),
                        ((SubmittedGeneration) generation).queued().sequence().seed()),
                ids(generation.tokens()));
    }

    @Test
    void loopThrowsTheFailureAfterTheTokensBeforeIt() throws InterruptedException {
        Generation generation = scheduler.submit(request(3, 9));
        gate.awaitStep();
        gate.nextStep();
        failing = true;
        gate.open();
        Iterator<TokenEvent> tokens = generation.tokens().iterator();
        tokens.next();
        assertSame(
                cause, assertThrows(CompletionException.class, tokens::hasNext).getCause());
        assertSame(
                cause, assertThrows(CompletionException.class, generation::join).getCause());
    }

    @Test
    void interruptedLoopEndsAndTheGenerationGoesOn() throws InterruptedException {
        Generation generation = scheduler.submit(request(3, 3));
        AtomicReference<Exception> thrown = new AtomicReference<>();
        AtomicReference<Boolean> flag = new AtomicReference<>();
        Thread loop = Thread.ofVirtual().start(() -> {
            thrown.set(assertThrows(CancellationException.class, () -> ids(generation.tokens())));
            flag.set(Thread.currentThread().isInterrupted());
        });
        loop.interrupt();
        loop.join();
        assertEquals("interrupted while waiting for a token", thrown.get().getMessage());
        assertTrue(flag.get());
        gate.open();
        assertYield(request(3, 3), generation.join());
    }

    @Test
    void cancelYieldsWhatThereIs() throws InterruptedException {
        Generation generation = scheduler.submit(request(3, 50));
        gate.awaitStep();
        gate.nextStep();
        generation.cancel();
        generation.cancel();
        gate.open();
        assertEquals(FinishReason.CANCELLED, generation.join().finishReason());
        assertEquals(2, generation.join().outputTokenIds().length);
        generation.cancel();
    }

    @Test
    void cancellingTheFutureCancelsTheGeneration() throws InterruptedException {
        RecordingListener listener = new RecordingListener();
        Generation generation = scheduler.submit(request(3, 50), listener);
        gate.awaitStep();
        generation.completion().cancel(true);
        assertThrows(CancellationException.class, generation::join);
        gate.open();
        ids(generation.tokens()); // ends
        assertTrue(listener.events().size() < 3);
    }

    @Test
    void futureThatTimesOutCancelsTheGeneration() {
        Generation generation = scheduler.submit(request(3, 50));
        CompletableFuture<Completion> future = generation.completion().orTimeout(1, TimeUnit.MILLISECONDS);
        assertThrows(CompletionException.class, future::join);
        gate.open();
        assertTrue(ids(generation.tokens()).length < 50);
    }

    @Test
    void completesAfterItsListenerHasSeenAllTokensAndOnlyOnce() throws InterruptedException {
        CountDownLatch slow = new CountDownLatch(1);
        AtomicInteger completions = new AtomicInteger();
        RecordingListener listener = new RecordingListener();
        Generation generation = scheduler.submit(request(3, 5), event -> {
            listener.onToken(event);
            awaitUninterruptibly(slow);
        });
        CompletableFuture<Integer> seen = generation.completion().thenApply(completion -> {
            completions.incrementAndGet();
            return listener.events().size();
        });
        Generation other = scheduler.submit(request(4, 5));
        gate.open();
        assertYield(request(4, 5), other.join()); // not delayed
        assertEquals(5, ids(generation.tokens()).length);
        assertFalse(seen.isDone());
        slow.countDown();
        assertEquals(5, seen.join());
        assertEquals(1, completions.get());
        listener.threads().forEach(thread -> assertTrue(thread.isVirtual()));
    }

    private static void awaitUninterruptibly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void throwingListenerSeesNoMoreAndHarmsNobody() {
        AtomicInteger calls = new AtomicInteger();
        gate.open();
        Generation generation = scheduler.submit(request(3, 9), event -> {
            calls.incrementAndGet();
            throw new AssertionError("listener");
        });
        Generation other = scheduler.submit(request(4, 9));
        assertYield(request(3, 9), generation.join());
        assertYield(request(4, 9), other.join());
        assertEquals(1, calls.get());
    }

    @Test
    void whatDependsOnFutureDoesNotRunOnTheEngineThread() {
        Generation generation = scheduler.submit(request(3, 5));
        CompletableFuture<Boolean> virtual =
                generation.completion().thenApply(c -> Thread.currentThread().isVirtual());
        gate.open();
        assertTrue(virtual.join());
    }

    @Test
    void publisherGivesAsManyTokensAsAreAskedFor() throws InterruptedException {
        gate.open();
        Generation generation = scheduler.submit(request(3, 4));
        Subscriber subscriber = new Subscriber();
        generation.publisher().subscribe(subscriber);
        generation.join();
        assertTrue(subscriber.signals.isEmpty());
        subscriber.subscription.request(1);
        assertEquals(0, subscriber.signals.take());
        assertTrue(subscriber.signals.isEmpty());
        subscriber.subscription.request(2);
        assertEquals(1, subscriber.signals.take());
        assertEquals(2, subscriber.signals.take());
        subscriber.subscription.request(Long.MAX_VALUE);
        subscriber.subscription.request(Long.MAX_VALUE);
        assertEquals(3, subscriber.signals.take());
        assertEquals("complete", subscriber.signals.take());
    }

    @Test
    void everySubscriberGetsAllTokens() throws InterruptedException {
        Generation generation = scheduler.submit(request(3, 2));
        Subscriber early = new Subscriber();
        generation.publisher().subscribe(early);
        early.subscription.request(9);
        gate.open();
        generation.join();
        Subscriber late = new Subscriber();
        generation.publisher().subscribe(late);
        late.subscription.request(9);
        for (Subscriber subscriber : List.of(early, late)) {
            assertEquals(0, subscriber.signals.take());
            assertEquals(1, subscriber.signals.take());
            assertEquals("complete", subscriber.signals.take());
        }
    }

    @Test
    void publisherPassesTheFailureOn() throws InterruptedException {
        failing = true;
        gate.open();
        Generation generation = scheduler.submit(request(3, 2));
        Subscriber subscriber = new Subscriber();
        generation.publisher().subscribe(subscriber);
        assertSame(cause, subscriber.signals.take());
    }

    @Test
    void cancelledSubscriptionGetsNoMoreAndTheGenerationGoesOn() {
        Generation generation = scheduler.submit(request(3, 4));
        Subscriber subscriber = new Subscriber();
        generation.publisher().subscribe(subscriber);
        subscriber.subscription.request(9);
        subscriber.subscription.cancel();
        subscriber.subscription.cancel();
        gate.open();
        assertYield(request(3, 4), generation.join());
        assertTrue(subscriber.signals.isEmpty());
    }

    @Test
    void subscriberThatCancelsWhenItSubscribesIsForgotten() throws InterruptedException {
        Generation generation = scheduler.submit(request(3, 4));
        ReferenceQueue<Subscriber> queue = new ReferenceQueue<>();
        WeakReference<Subscriber> subscriber = subscribeAndCancel(generation, queue);
        Reference<?> forgotten = null;
        while (forgotten == null) { // until the time limit of this class
            System.gc();
            forgotten = queue.remove(10);
        }
        assertSame(subscriber, forgotten);
        assertFalse(generation.completion().isDone());
    }

    private static WeakReference<Subscriber> subscribeAndCancel(
            Generation generation, ReferenceQueue<Subscriber> queue) {
        Subscriber subscriber = new Subscriber() {
            @Override
            public void onSubscribe(Flow.Subscription subscription) {
                subscription.cancel();
            }
        };
        generation.publisher().subscribe(subscriber);
        return new WeakReference<>(subscriber, queue);
    }

    @Test
    void requestOfNothingIsAnError() throws InterruptedException {
        Generation generation = scheduler.submit(request(3, 4));
        Subscriber subscriber = new Subscriber();
        generation.publisher().subscribe(subscriber);
        subscriber.subscription.request(0);
        Object signal = subscriber.signals.take();
        assertEquals(IllegalArgumentException.class, signal.getClass());
        assertEquals("n must be > 0 (rule 3.9 of Reactive Streams), got 0", ((Exception) signal).getMessage());
    }

    @Test
    void throwingSubscriberGetsNoMore() throws InterruptedException {
        AtomicInteger calls = new AtomicInteger();
        gate.open();
        Generation generation = scheduler.submit(request(3, 4));
        generation.publisher().subscribe(new Flow.Subscriber<>() {
            @Override
            public void onSubscribe(Flow.Subscription subscription) {
                subscription.request(9);
            }

            @Override
            public void onNext(TokenEvent event) {
                calls.incrementAndGet();
                throw new IllegalStateException("subscriber");
            }

            @Override
            public void onError(Throwable t) {
                calls.addAndGet(100);
            }

            @Override
            public void onComplete() {
                calls.addAndGet(100);
            }
        });
        Subscriber other = new Subscriber();
        generation.publisher().subscribe(other);
        other.subscription.request(9);
        while (!"complete".equals(other.signals.take())) {
            // take all
        }
        assertYield(request(3, 4), generation.join());
        assertTrue(calls.get() <= 1);
    }
}
