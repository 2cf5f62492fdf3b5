package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.Requests;
import java.time.Duration;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.Parameter;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.ValueSource;

/** Thousands of virtual threads against one engine, on the system's clock. */
@ParameterizedClass
@ValueSource(booleans = {false, true})
class SchedulerStressTest {
    private static final IllegalStateException ROW_FAILURE = new IllegalStateException("row");
    private static final IllegalStateException STEP_FAILURE = new IllegalStateException("step");

    @Parameter
    private boolean ahead;

    private volatile FakeCausalLm lm;
    private volatile Engine engine;

    private ContinuousScheduler start(QueueOptions queue, int failingSteps) throws Exception {
        Random random = new Random(7);
        return new ContinuousScheduler(
                () -> {
                    // 96 pages of 4 tokens for 16 sequences of up to 64: pages run out all the time.
                    lm = new FakeCausalLm(16, 4, 96, 64)
                            .runningAhead(ahead)
                            .failing(sequence -> sequence.seed() % 97 == 0 ? ROW_FAILURE : null)
                            .onAwait(chunks -> {
                                if (failingSteps > 0 && random.nextInt(failingSteps) == 0) {
                                    throw STEP_FAILURE;
                                }
                            });
                    EngineOptions config =
                            EngineOptions.builder().maxPrefillTokensPerStep(64).build();
                    engine = new Engine(lm, new FakeTokenizer(), config);
                    return engine;
                },
                queue);
    }

    @Test
    @Timeout(60)
    void everyRequestEndsOnceAndRightlyWhateverHappens() throws Exception {
        int requests = 10_000;
        AtomicInteger finished = new AtomicInteger();
        AtomicInteger cancelled = new AtomicInteger();
        AtomicInteger expired = new AtomicInteger();
        AtomicInteger failed = new AtomicInteger();
        AtomicInteger futuresCancelled = new AtomicInteger();
        AtomicInteger ends = new AtomicInteger();
        AtomicReference<Throwable> wrong = new AtomicReference<>();
        CountDownLatch done = new CountDownLatch(requests);
        ContinuousScheduler scheduler = start(
                QueueOptions.builder()
                        .ageingInterval(Duration.ofMillis(20))
                        .maxQueuedRequests(500)
                        .whenFull(QueueOptions.WhenFull.BLOCK)
                        .build(),
                400);
        for (int i = 0; i < requests; i++) {
            int number = i;
            Thread.startVirtualThread(() -> {
                try {
                    Random random = new Random(number);
                    GenerationRequest request = Requests.random(random);
                    SamplingParams seeded =
                            request.sampling().toBuilder().seed(number).build();
                    request = new GenerationRequest(
                            request.promptTokenIds(),
                            seeded,
                            request.priority(),
                            random.nextInt(10) == 0
                                    ? Optional.of(Duration.ofMillis(1 + random.nextInt(100)))
                                    : request.timeout());
                    AtomicInteger tokens = new AtomicInteger();
                    Generation generation = random.nextBoolean()
                            ? scheduler.submit(request, event -> tokens.incrementAndGet())
                            : scheduler.submit(request);
                    generation.completion().whenComplete((completion, cause) -> ends.incrementAndGet());
                    switch (random.nextInt(12)) {
                        case 0 -> generation.cancel();
                        case 1 -> generation.completion().cancel(true);
                        case 2 -> {
                            generation.tokens().iterator().hasNext(); // waits for the first
                            generation.cancel();
                        }
                        default -> {}
                    }
                    Completion completion = generation.join();
                    assertYield(request, completion);
                    assertTrue(tokens.get() == 0 || tokens.get() == completion.outputTokenIds().length);
                    if (completion.finishReason() == FinishReason.CANCELLED) {
                        cancelled.incrementAndGet();
                    } else if (completion.finishReason() == FinishReason.DEADLINE) {
                        expired.incrementAndGet();
                    } else {
                        finished.incrementAndGet();
                    }
                } catch (CancellationException e) {
                    futuresCancelled.incrementAndGet();
                } catch (CompletionException e) {
                    failed.incrementAndGet();
                    if (e.getCause() != ROW_FAILURE && e.getCause() != STEP_FAILURE) {
                        wrong.set(e);
                    }
                } catch (Throwable t) {
                    wrong.set(t);
                } finally {
                    done.countDown();
                }
            });
        }
        done.await();
        scheduler.close();
        if (wrong.get() != null) {
            throw new AssertionError(wrong.get());
        }
        String counts = "finished " + finished + ", cancelled " + cancelled + ", expired " + expired + ", failed "
                + failed + ", futures cancelled " + futuresCancelled;
        assertEquals(
                requests,
                finished.get() + cancelled.get() + expired.get() + failed.get() + futuresCancelled.get(),
                counts);
        assertEquals(requests, ends.get());
        assertTrue(finished.get() > 3000, counts);
        assertTrue(
                cancelled.get() > 100 && expired.get() > 50 && failed.get() > 50 && futuresCancelled.get() > 100,
                counts);
        assertEquals(lm.pageCount(), engine.availablePages());
        assertEquals(0, engine.runningTokens());
        assertEquals(0, scheduler.queuedRequests());
        assertEquals(16, lm.largestBatch());
    }

    /** Whatever a request leaves behind would be there many times over. */
    @Test
    @Timeout(60)
    void memoryStaysFlatOverManyRequests() throws Exception {
        try (ContinuousScheduler scheduler = start(QueueOptions.unbounded(), 0)) {
            Semaphore inFlight = new Semaphore(200);
            GenerationRequest request = new GenerationRequest(
                    new int[40],
                    SamplingParams.builder().maxNewTokens(2).seed(1).build(),
                    0,
                    Optional.of(Duration.ofDays(1)));
            long before = 0;
            for (int i = 0; i < 200_000; i++) {
                if (i == 10_000) {
                    before = usedBytes();
                }
                inFlight.acquire();
                Generation generation = scheduler.submit(request, event -> {});
                generation.completion().whenComplete((completion, cause) -> inFlight.release());
            }
            inFlight.acquire(200);
            long grown = usedBytes() - before;
            // A Completion alone has more than 50 bytes. What other tests left in the heap varies by 5 MB.
            assertTrue(grown < 190_000 * 50L, "grown by " + grown + " bytes");
        }
    }

    private static long usedBytes() {
        Runtime runtime = Runtime.getRuntime();
        long least = Long.MAX_VALUE;
        for (int i = 0; i < 3; i++) {
            System.gc();
            least = Math.min(least, runtime.totalMemory() - runtime.freeMemory());
        }
        return least;
    }
}
