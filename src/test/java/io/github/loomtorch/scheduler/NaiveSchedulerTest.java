package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeClock;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.RecordingListener;
import io.github.loomtorch.testing.Requests;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Flow;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class NaiveSchedulerTest {
    private final FakeClock clock = new FakeClock();
    private final FakeCausalLm lm = FakeCausalLm.ofBatch(4);
    private final NaiveScheduler scheduler = scheduler(lm, 3);

    private NaiveScheduler scheduler(FakeCausalLm model, int batchSize) {
        return new NaiveScheduler(
                new Engine(model, new FakeTokenizer(), EngineOptions.defaults(), clock, Runnable::run), batchSize);
    }

    private static boolean isDone(Generation generation) {
        return generation.completion().isDone();
    }

    @Test
    void runsBatchOnTheCallersThreadWhenItIsFull() {
        Generation first = scheduler.submit(request(3, 4));
        Generation second = scheduler.submit(request(4, 9));
        assertFalse(isDone(first) || isDone(second));
        assertEquals(0, scheduler.batches());
        Generation third = scheduler.submit(request(5, 2));
        assertTrue(isDone(first) && isDone(second) && isDone(third));
        assertEquals(1, scheduler.batches());
        assertYield(request(4, 9), second.join());
        assertEquals(3, lm.largestBatch());
    }

    @Test
    void flushRunsTheRemainder() {
        List<Generation> generations = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            generations.add(scheduler.submit(request(3 + i, 4)));
        }
        assertFalse(isDone(generations.get(3)));
        scheduler.flush();
        scheduler.flush();
        assertEquals(2, scheduler.batches());
        assertEquals(
                List.of(1, 1, 1, 2, 2),
                generations.stream()
                        .map(generation -> generation.join().batchNumber())
                        .toList());
    }

    @Test
    void countsWhatGathersAndWhatWaitsForRoom() {
        List<Integer> queued = new ArrayList<>();
        FakeCausalLm model = new FakeCausalLm(4, 4, 16, 64);
        NaiveScheduler narrow = scheduler(model, 2);
        model.onLaunch(chunks -> queued.add(narrow.queuedRequests()));
        narrow.submit(request(50, 3), event -> {
            if (event.index() == 0) {
                narrow.submit(request(3, 1)); // for the next batch
            }
        });
        assertEquals(1, narrow.queuedRequests());
        narrow.submit(request(20, 2)); // there are too few pages for both at once
        assertEquals(List.of(1, 1, 2, 1, 1), queued);
        assertEquals(1, narrow.queuedRequests());
        narrow.flush();
        assertEquals(0, narrow.queuedRequests());
    }

    @Test
    void errorLeavesNothingWaiting() {
        NaiveScheduler narrow = scheduler(
                new FakeCausalLm(4, 4, 16, 64).onLaunch(chunks -> {
                    throw new StackOverflowError();
                }),
                2);
        narrow.submit(request(50, 4));
        assertThrows(StackOverflowError.class, () -> narrow.submit(request(20, 4)));
        assertEquals(0, narrow.queuedRequests());
    }

    @Test
    void batchKeepsEachRequestsOwnParameters() {
        GenerationRequest greedy = new GenerationRequest(new int[] {1}, SamplingParams.greedy(12));
        GenerationRequest seeded = new GenerationRequest(
                new int[] {1}, SamplingParams.builder().maxNewTokens(7).seed(5).build());
        Generation a = scheduler.submit(greedy);
        Generation b = scheduler.submit(seeded);
        Generation c = scheduler.submit(request(1, 3));
        assertYield(greedy, a.join());
        assertYield(seeded, b.join());
        assertEquals(5, b.join().seed());
        assertYield(request(1, 3), c.join());
    }

    @Test
    void listenersRunOnTheCallersThreadAsTokensCome() {
        RecordingListener listener = new RecordingListener();
        List<Integer> stepOfToken = new ArrayList<>();
        Generation generation = scheduler.submit(request(3, 3), event -> {
            listener.onToken(event);
            stepOfToken.add(lm.steps());
        });
        scheduler.flush();
        assertEquals(List.of(2, 3, 3), stepOfToken);
        assertEquals(
                List.of(Thread.currentThread(), Thread.currentThread(), Thread.currentThread()), listener.threads());
        assertArrayEquals(generation.join().outputTokenIds(), listener.tokenIds());
        assertEquals(generation.join().text(), listener.text());
    }

    @Test
    void failingBatchFailsItsOwnGenerationsOnly() {
        RuntimeException cause = new IllegalStateException("forward failed");
        lm.onLaunch(chunks -> {
            if (scheduler.batches() == 1) {
                throw cause;
            }
        });
        List<Generation> bad = scheduler.submitCopies(request(3, 4), 3);
        List<Generation> good = scheduler.submitCopies(request(3, 4), 3);
        for (Generation generation : bad) {
            assertSame(
                    cause,
                    assertThrows(CompletionException.class, generation::join).getCause());
        }
        good.forEach(generation -> assertYield(request(3, 4), generation.join()));
    }

    @Test
    void errorFailsTheWholeBatchAndReachesTheCaller() {
        NaiveScheduler narrow = scheduler(
                new FakeCausalLm(4, 4, 16, 64).onLaunch(chunks -> {
                    throw new StackOverflowError();
                }),
                2);
        Generation first = narrow.submit(request(50, 4));
        assertThrows(StackOverflowError.class, () -> narrow.submit(request(20, 4)));
        assertThrows(CompletionException.class, first::join);
    }

    @Test
    void runsBatchThatDoesNotFitThePagesAtOnce() {
        NaiveScheduler narrow = scheduler(new FakeCausalLm(4, 4, 16, 64), 4);
        List<Generation> generations = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            generations.add(narrow.submit(request(20 + i, 30)));
        }
        for (int i = 0; i < 4; i++) {
            assertYield(request(20 + i, 30), generations.get(i).join());
            assertEquals(1, generations.get(i).join().batchNumber());
        }
    }

    @Test
    void closeRunsTheRemainderAndClosesTheModelOnce() {
        Generation generation = scheduler.submit(request(3, 4));
        scheduler.close();
        scheduler.close();
        assertYield(request(3, 4), generation.join());
        assertEquals(1, lm.closes());
        assertEquals(
                "scheduler is closed",
                assertThrows(IllegalStateException.class, () -> scheduler.submit(request(3, 4)))
                        .getMessage());
    }

    @Test
    void closeNowCancelsWhatHasGathered() {
        Generation generation = scheduler.submit(request(3, 4));
        scheduler.closeNow();
        assertEquals(FinishReason.CANCELLED, generation.join().finishReason());
        assertEquals(0, lm.steps());
        assertEquals(1, lm.closes());
    }

    @Test
    void closeNowOnAnInterruptedThreadCloses() {
        Generation generation = scheduler.submit(request(3, 4));
        Thread.currentThread().interrupt();
        scheduler.closeNow();
        assertTrue(Thread.interrupted());
        assertEquals(FinishReason.CANCELLED, generation.join().finishReason());
        assertEquals(1, lm.closes());
    }

    @Test
    void cancelledAndExpiredRequestsDoNotRun() {
        Generation cancelled = scheduler.submit(request(3, 4));
        cancelled.cancel();
        Generation expired = scheduler.submit(request(3, 4).withTimeout(Duration.ofMillis(5)));
        clock.advance(Duration.ofMillis(5));
        Generation other = scheduler.submit(request(3, 4));
        assertEquals(FinishReason.CANCELLED, cancelled.join().finishReason());
        assertEquals(FinishReason.DEADLINE, expired.join().finishReason());
        assertYield(request(3, 4), other.join());
        assertEquals(1, lm.largestBatch());
    }

    @Test
    void listenerCanCancelItsGeneration() {
        List<Generation> own = new ArrayList<>();
        Generation generation = scheduler.submit(request(3, 9), event -> {
            if (event.index() == 2) {
                own.getFirst().cancel();
            }
        });
        own.add(generation);
        scheduler.flush();
        assertEquals(FinishReason.CANCELLED, generation.join().finishReason());
        assertEquals(4, generation.join().outputTokenIds().length); // the step that was running ends first
    }

    @Test
    void throwingListenerSeesNoMoreAndHarmsNobody() {
        AtomicInteger calls = new AtomicInteger();
        Generation generation = scheduler.submit(request(3, 9), event -> {
            calls.incrementAndGet();
            throw new IllegalStateException("listener");
        });
        Generation other = scheduler.submit(request(4, 9));
        scheduler.flush();
        assertEquals(1, calls.get());
        assertYield(request(3, 9), generation.join());
        assertYield(request(4, 9), other.join());
    }

    @Test
    void listenerCanSubmitFlushAndClose() {
        List<Generation> nested = new ArrayList<>();
        Generation generation = scheduler.submit(request(3, 9), event -> {
            if (event.index() < 4) {
                nested.add(scheduler.submit(request(3 + event.index(), 2)));
            } else if (event.index() == 4) {
                scheduler.flush();
                scheduler.close();
            }
        });
        scheduler.flush();
        assertYield(request(3, 9), generation.join());
        assertEquals(
                List.of(2, 2, 2, 3),
                nested.stream().map(inner -> inner.join().batchNumber()).toList());
        assertEquals(1, lm.closes());
    }

    @Test
    void severalCompletionsOfOnePromptHaveSuccessiveSeeds() {
        SamplingParams sampling =
                SamplingParams.builder().maxNewTokens(5).seed(7).build();
        List<Generation> generations = scheduler.submitCopies(new GenerationRequest(new int[] {1, 2, 3}, sampling), 3);
        assertEquals(
                List.of(7L, 8L, 9L),
                generations.stream().map(generation -> generation.join().seed()).toList());
        assertEquals(
                "n must be in [1, 128], got 0",
                assertThrows(IllegalArgumentException.class, () -> scheduler.submitCopies(request(1, 1), 0))
                        .getMessage());
    }

    @Test
    void refusesBatchSizeThatTheEngineDoesNotHold() {
        assertEquals(
                "batchSize must be in [1, 4], got 5",
                assertThrows(IllegalArgumentException.class, () -> scheduler(lm, 5))
                        .getMessage());
        assertThrows(IllegalArgumentException.class, () -> scheduler(lm, 0));
    }

    @Test
    void refusedRequestIsNotPartOfBatch() {
        assertThrows(IllegalArgumentException.class, () -> scheduler.submit(request(60, 60)));
        scheduler.flush();
        assertEquals(0, scheduler.batches());
    }

    @Test
    void servesManyThreads() throws InterruptedException {
        FakeCausalLm shared = FakeCausalLm.ofBatch(4).unconfined();
        NaiveScheduler naive = scheduler(shared, 4);
        CountDownLatch done = new CountDownLatch(40);
        List<Generation> generations = Collections.synchronizedList(new ArrayList<>());
        for (int i = 0; i < 40; i++) {
            int length = 1 + i;
            Thread.ofPlatform().start(() -> {
                generations.add(naive.submit(request(length, 5)));
                done.countDown();
            });
        }
        done.await();
        assertEquals(10, naive.batches());
        for (Generation generation : generations) {
            Completion completion = generation.join();
            assertYield(request(completion.promptTokenIds().length, 5), completion);
        }
    }

    @Test
    void yieldsWhatEachRequestYieldsAloneInAnyOrder() {
        Random random = new Random(4);
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            requests.add(Requests.random(random));
        }
        for (int round = 0; round < 3; round++) {
            Collections.shuffle(requests, random);
            List<Generation> generations =
                    requests.stream().map(scheduler::submit).toList();
            scheduler.flush();
            for (int i = 0; i < requests.size(); i++) {
                assertYield(requests.get(i), generations.get(i).join());
            }
        }
    }

    @Test
    void tokensCanBeTakenAfterTheEnd() {
        Generation generation = scheduler.submit(request(3, 5));
        scheduler.flush();
        List<TokenEvent> events = new ArrayList<>();
        generation.tokens().forEach(events::add);
        assertArrayEquals(
                generation.join().outputTokenIds(),
                events.stream().mapToInt(TokenEvent::tokenId).toArray());
    }

    @Test
    void subscriberGetsNothingBeforeItsOnSubscribeHasReturned() {
        Generation generation = scheduler.submit(request(3, 2));
        scheduler.flush();
        List<Object> signals = new ArrayList<>();
        generation.publisher().subscribe(new Flow.Subscriber<>() {
            @Override
            public void onSubscribe(Flow.Subscription subscription) {
                subscription.request(9);
                signals.add("subscribed");
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
        });
        assertEquals(List.of("subscribed", 0, 1, "complete"), signals);
    }

    @Test
    void subscriberThatThrowsAtTheEndHarmsNobody() {
        Generation generation = scheduler.submit(request(3, 2));
        generation.publisher().subscribe(new Flow.Subscriber<>() {
            @Override
            public void onSubscribe(Flow.Subscription subscription) {
                subscription.request(9);
            }

            @Override
            public void onNext(TokenEvent event) {}

            @Override
            public void onError(Throwable t) {}

            @Override
            public void onComplete() {
                throw new IllegalStateException("subscriber");
            }
        });
        Generation other = scheduler.submit(request(4, 9));
        scheduler.flush();
        assertYield(request(3, 2), generation.join());
        assertYield(request(4, 9), other.join());
    }

    @Test
    void lostDeviceFailsAllRequestsAndRefusesLaterOnes() {
        RuntimeException cause = new IllegalStateException("device lost");
        FakeCausalLm model = new FakeCausalLm(4, 4, 16, 64).onAwait(chunks -> {
            throw cause;
        });
        CausalLm lost = new ForwardingLm(model) {
            @Override
            public boolean isLost() {
                return true;
            }
        };
        NaiveScheduler naive = new NaiveScheduler(new Engine(lost, EngineOptions.defaults()), 2);
        List<Generation> generations = new ArrayList<>();
        generations.add(naive.submit(request(50, 4)));
        generations.add(naive.submit(request(20, 4))); // no room beside the first
        for (Generation generation : generations) {
            assertSame(
                    cause,
                    assertThrows(CompletionException.class, generation::join).getCause());
        }
        assertEquals(1, model.steps());
        IllegalStateException refused = assertThrows(IllegalStateException.class, () -> naive.submit(request(3, 4)));
        assertEquals("engine is lost: device lost", refused.getMessage());
        assertSame(cause, refused.getCause());
        naive.close();
        assertEquals(1, model.closes());
    }

    @Test
    void refusesVirtualThreadsButClosesOnThem() throws InterruptedException {
        FakeCausalLm model = FakeCausalLm.ofBatch(4).unconfined();
        NaiveScheduler naive = scheduler(model, 3);
        Generation gathered = naive.submit(request(3, 4));
        List<String> messages = Collections.synchronizedList(new ArrayList<>());
        Thread.startVirtualThread(() -> {
                    messages.add(assertThrows(IllegalStateException.class, () -> naive.submit(request(3, 4)))
                            .getMessage());
                    messages.add(assertThrows(IllegalStateException.class, naive::flush)
                            .getMessage());
                    model.onLaunch(chunks ->
                            messages.add("virtual: " + Thread.currentThread().isVirtual()));
                    naive.close();
                })
                .join();
        String message = "NaiveScheduler must be used from platform threads, got a virtual thread; "
                + "use AsyncNaiveScheduler or ContinuousScheduler there";
        assertEquals(List.of(message, message), messages.subList(0, 2));
        assertEquals(Set.of("virtual: false"), Set.copyOf(messages.subList(2, messages.size())));
        assertYield(request(3, 4), gathered.join());
        assertEquals(1, model.closes());
    }
}
