package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeClock;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.Requests;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletionException;
import java.util.concurrent.RejectedExecutionException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Random sequences of submit, cancel, deadlines, priorities, listeners that throw, steps that fail or stall, and close,
 * on one thread, against a simple reference: what each request yields alone. A failure names the seed of its round;
 * {@code -Dloomtorch.seed=} runs that round only.
 */
@Timeout(120)
class EngineLoopModelTest {
    private static final int ROUNDS = 400;
    private static final int POISON = 77; // first token of requests whose steps fail
    private static final RuntimeException POISONED = new IllegalStateException("poisoned step");
    private static final RuntimeException BY_CHANCE = new IllegalStateException("step failed by chance");

    @Test
    void everyRequestYieldsWhatItYieldsAlone() {
        Long replayed = Long.getLong("loomtorch.seed");
        long first = replayed != null ? replayed : new Random().nextLong();
        int rounds = replayed != null ? 1 : ROUNDS;
        int[] ends = new int[5]; // whole, cancelled, expired, poisoned, failed by chance
        for (int round = 0; round < rounds; round++) {
            long seed = first + round;
            try {
                new Round(new Random(seed)).run(ends);
            } catch (RuntimeException | AssertionError e) {
                throw new AssertionError("replay with -Dloomtorch.seed=" + seed, e);
            }
        }
        if (replayed == null) {
            for (int count : ends) {
                assertTrue(
                        count > 50,
                        "whole, cancelled, expired, poisoned, by chance: "
                                + List.of(ends[0], ends[1], ends[2], ends[3], ends[4]));
            }
        }
    }

    /** A request and what happened to it. */
    private static final class Submitted {
        SubmittedGeneration generation;
        final List<TokenEvent> events = new ArrayList<>();
        boolean listenerThrows;
        boolean cancelled;

        void onToken(TokenEvent event) {
            events.add(event);
            if (listenerThrows) {
                throw new StackOverflowError();
            }
        }

        GenerationRequest request() {
            return generation.queued().sequence().request();
        }
    }

    private static final class Round {
        private final Random random;
        private final FakeClock clock = new FakeClock();
        private final List<Submitted> all = new ArrayList<>();
        private final int maxQueued;
        private final double failures; // probability of a failing step
        private final FakeCausalLm lm;
        private final Engine engine;
        private final SubmissionQueue queue;
        private final EngineLoop loop;
        private boolean closedNow;

        Round(Random random) {
            this.random = random;
            maxQueued = 1 + random.nextInt(12);
            failures = random.nextInt(3) == 0 ? 0.1 : 0;
            lm = new FakeCausalLm(1 + random.nextInt(6), 1 + random.nextInt(5), 64 + random.nextInt(64), 64)
                    .runningAhead(random.nextBoolean())
                    .onLaunch(this::checkLaunch)
                    .onAwait(this::misbehave);
            EngineOptions options = EngineOptions.builder()
                    .maxPrefillTokensPerStep(1 + random.nextInt(20))
                    .prefixCaching(random.nextInt(4) > 0)
                    .listener(stats -> {
                        if (random.nextInt(20) == 0) {
                            throw new StackOverflowError();
                        }
                    })
                    .build();
            engine = new Engine(lm, new FakeTokenizer(), options, clock, Runnable::run);
            queue = new SubmissionQueue(
                    QueueOptions.builder().maxQueuedRequests(maxQueued).build(), engine.maxBatchSize(), () -> {});
            loop = new EngineLoop(
                    engine, queue, QueuedRequest.byUrgency(Duration.ofMillis(50)), ContinuousScheduler::admit, true);
            loop.probeWhenStepsFail();
        }

        private static boolean isPoison(GenerationRequest request) {
            return request.promptTokenIds()[0] == POISON;
        }

        private void checkLaunch(List<Chunk> chunks) {
            assertTrue(engine.runningSequences() <= lm.maxBatchSize());
            assertTrue(engine.availablePages() >= 0 && engine.availablePages() <= lm.pageCount());
            for (Chunk chunk : chunks) {
                assertTrue(!chunk.sequence().hasEnded(), "a step with a sequence that has ended");
            }
        }

        private void misbehave(List<Chunk> chunks) {
            if (random.nextInt(10) == 0) {
                clock.advance(Duration.ofMillis(random.nextInt(40))); // a stall
            }
            if (chunks.stream().anyMatch(chunk -> isPoison(chunk.sequence().request()))) {
                throw POISONED;
            }
            boolean isProbe = chunks.stream()
                    .anyMatch(chunk -> chunk.sequence().promptLength() == 1
                            && chunk.sequence().sampling().maxNewTokens() == 1);
            if (!isProbe && random.nextDouble() < failures) {
                throw BY_CHANCE;
            }
        }

        void run(int[] ends) {
            for (int i = 0; i < 150; i++) {
                act();
                checkCounts();
            }
            closedNow = random.nextBoolean();
            queue.close(closedNow);
            for (int turns = 0; !loop.isDone(); turns++) {
                assertTrue(turns < 100_000, "the loop does not end");
                loop.turn();
                checkCounts();
            }
            assertEquals(lm.pageCount(), engine.availablePages());
            assertEquals(0, engine.runningTokens());
            assertEquals(0, queue.present().size());
            for (Submitted submitted : all) {
                ends[checkEnd(submitted)]++;
            }
        }

        private void act() {
            switch (random.nextInt(10)) {
                case 0, 1, 2 -> submit();
                case 3 -> {
                    if (!all.isEmpty()) {
                        Submitted any = all.get(random.nextInt(all.size()));
                        any.cancelled |= !any.generation.completion().isDone();
                        any.generation.cancel();
                    }
                }
                case 4 -> clock.advance(Duration.ofMillis(random.nextInt(20)));
                default -> loop.turn();
            }
        }

        private void submit() {
            Submitted submitted = new Submitted();
            submitted.listenerThrows = random.nextInt(10) == 0;
            GenerationRequest request = Requests.random(random);
            if (random.nextInt(15) == 0) {
                int[] prompt = request.promptTokenIds();
                prompt[0] = POISON;
                request = new GenerationRequest(prompt, request.sampling());
            }
            if (random.nextInt(6) == 0) {
                request = request.withTimeout(Duration.ofMillis(1 + random.nextInt(300)));
            }
            submitted.generation =
                    new SubmittedGeneration(engine, request, submitted::onToken, Runnable::run, loop::cancelRequested);
            int before = queue.queuedRequests();
            try {
                assertTrue(queue.offer(submitted.generation.queued()));
                all.add(submitted);
                assertTrue(before < maxQueued + lm.maxBatchSize());
            } catch (RejectedExecutionException e) {
                assertTrue(before >= maxQueued, e.getMessage());
            }
        }

        /** Every request that has not ended is somewhere. */
        private void checkCounts() {
            long unended = all.stream()
                    .filter(submitted -> !submitted.generation.completion().isDone())
                    .count();
            assertEquals(unended, queue.present().size());
            assertTrue(engine.runningSequences() <= unended);
        }

        private int checkEnd(Submitted submitted) {
            assertTrue(submitted.generation.completion().isDone());
            GenerationRequest request = submitted.request();
            try {
                Completion completion = submitted.generation.join();
                assertYield(request, completion);
                if (!submitted.listenerThrows) {
                    assertArrayEquals(
                            completion.outputTokenIds(),
                            submitted.events.stream()
                                    .mapToInt(TokenEvent::tokenId)
                                    .toArray());
                }
                FinishReason reason = completion.finishReason();
                if (reason == FinishReason.CANCELLED) {
                    assertTrue(submitted.cancelled || closedNow);
                    return 1;
                }
                if (reason == FinishReason.DEADLINE) {
                    assertTrue(submitted.generation.queued().sequence().deadlineNanos() <= clock.nanoTime());
                    return 2;
                }
                assertTrue(!isPoison(request), "a poisoned request has completed");
                return 0;
            } catch (CompletionException e) {
                assertSame(isPoison(request) ? POISONED : BY_CHANCE, e.getCause());
                return isPoison(request) ? 3 : 4;
            }
        }
    }
}
