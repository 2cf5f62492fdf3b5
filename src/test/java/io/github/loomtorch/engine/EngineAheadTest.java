package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.prompt;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine.Admission;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeClock;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.RecordingListener;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What an engine does with two steps in flight. */
@Timeout(20)
class EngineAheadTest {
    private static final long SEED = 42;

    private final FakeClock clock = new FakeClock();
    private final List<StepStats> stats = new ArrayList<>();
    private final EngineOptions.Builder config =
            EngineOptions.builder().seeds(() -> SEED).listener(stats::add);
    private final RecordingListener listener = new RecordingListener();
    private FakeCausalLm lm;
    private Engine engine;
    private final List<Sequence> running = new ArrayList<>();
    private RuntimeException lastFailure;

    EngineAheadTest() {
        use(FakeCausalLm.ofBatch(2));
    }

    private void use(FakeCausalLm model) {
        lm = model.runningAhead(true);
        engine = new Engine(lm, new FakeTokenizer(), config.build(), clock, Runnable::run);
    }

    private Sequence sequence(GenerationRequest request, SequenceListener told) {
        return engine.newSequence(request, told);
    }

    private Sequence admitted(GenerationRequest request) {
        return admitted(request, listener);
    }

    private Sequence admitted(GenerationRequest request, SequenceListener told) {
        Sequence sequence = sequence(request, told);
        assertEquals(Admission.ADMITTED, engine.tryAdmit(sequence));
        running.add(sequence);
        return sequence;
    }

    /** One call of {@link Engine#step()}; what ran in a failed step fails. */
    private void step() {
        try {
            engine.step();
        } catch (StepFailedException e) {
            lastFailure = e.failure();
            failAll(e.failure());
        } catch (Error e) {
            failAll(new IllegalStateException("step failed: " + e, e));
            throw e;
        }
    }

    private void finishSteps() {
        try {
            engine.finishSteps();
        } catch (StepFailedException e) {
            throw new AssertionError(e);
        }
    }

    private void failAll(RuntimeException cause) {
        running.stream().filter(sequence -> !sequence.hasEnded()).forEach(sequence -> engine.fail(sequence, cause));
        running.clear();
    }

    private void runToEnd() {
        while (!engine.isIdle()) {
            if (engine.lacksPages()) {
                finishSteps();
            }
            assertFalse(engine.lacksPages());
            step();
        }
        assertEquals(lm.pageCount(), engine.availablePages());
        assertEquals(0, lm.stepsInFlight());
    }

    private static int[] output(GenerationRequest request) {
        return FakeCausalLm.expected(request, SEED);
    }

    /** Ends with its sixth token. */
    private static GenerationRequest stopping(int promptLength) {
        int stop = output(request(promptLength, 9))[5];
        return new GenerationRequest(
                prompt(promptLength),
                SamplingParams.builder()
                        .maxNewTokens(9)
                        .stopTokenIds(Set.of(stop))
                        .build());
    }

    @Test
    void launchesTheNextStepBeforeTheResultsOfTheLastAreTaken() {
        admitted(request(3, 4));
        step(); // at once, as nothing is in flight
        assertEquals(1, lm.steps());
        assertEquals(1, lm.stepsInFlight());
        assertTrue(stats.isEmpty());
        step();
        assertEquals(2, lm.steps());
        assertEquals(1, lm.stepsInFlight());
        assertEquals(1, stats.size());
        runToEnd();
        assertArrayEquals(output(request(3, 4)), listener.completion().outputTokenIds());
        assertEquals(4, stats.size());
    }

    @Test
    void newRequestIsLaunchedWhileAStepIsInFlight() {
        admitted(request(3, 9));
        step();
        RecordingListener late = new RecordingListener();
        admitted(request(5, 1), late);
        step();
        assertEquals(2, lm.largestBatch());
        runToEnd();
        assertArrayEquals(output(request(5, 1)), late.completion().outputTokenIds());
    }

    @Test
    void endsThatAreForeseenCostNoRow() {
        admitted(request(3, 1));
        admitted(request(5, 4), new RecordingListener());
        runToEnd();
        assertEquals(3 + 5 + 3, lm.computedTokens());
        assertEquals(4, lm.steps());
    }

    @Test
    void stopCostsOneRow() {
        admitted(stopping(4));
        runToEnd();
        assertArrayEquals(output(stopping(4)), listener.completion().outputTokenIds());
        assertEquals(FinishReason.STOP, listener.completion().finishReason());
        assertEquals(4 + 5 + 1, lm.computedTokens());
        assertEquals(
                List.of(1, 1, 1, 1, 1, 1, 0),
                stats.stream().map(StepStats::sampledTokens).toList());
    }

    @Test
    void stopWithTheLastTokenCostsNone() {
        int[] all = output(request(3, 4));
        admitted(new GenerationRequest(
                prompt(3),
                SamplingParams.builder()
                        .maxNewTokens(4)
                        .stopTokenIds(Set.of(all[3]))
                        .build()));
        runToEnd();
        assertEquals(FinishReason.STOP, listener.completion().finishReason());
        assertEquals(3 + 3, lm.computedTokens());
    }

    @Test
    void cancelCostsOneRow() {
        Sequence sequence = admitted(request(3, 9));
        step();
        step();
        sequence.cancel();
        runToEnd();
        assertEquals(FinishReason.CANCELLED, listener.completion().finishReason());
        assertArrayEquals(
                Arrays.copyOf(output(request(3, 9)), 2), listener.completion().outputTokenIds());
        assertEquals(3 + 2, lm.computedTokens());
    }

    @Test
    void deadlineCostsOneRow() {
        lm.onAwait(chunks -> clock.advance(Duration.ofMillis(10)));
        admitted(request(3, 9).withTimeout(Duration.ofMillis(25)));
        runToEnd();
        assertEquals(FinishReason.DEADLINE, listener.completion().finishReason());
        assertArrayEquals(
                Arrays.copyOf(output(request(3, 9)), 3), listener.completion().outputTokenIds());
        assertEquals(3 + 3, lm.computedTokens());
    }

    @Test
    void failureOfItsOwnCostsOneRow() {
        RuntimeException cause = new IllegalStateException("no finite logit");
        Sequence sequence = admitted(request(3, 9));
        RecordingListener good = new RecordingListener();
        admitted(request(4, 9), good);
        lm.failing(other -> other == sequence && other.length() == 5 ? cause : null);
        runToEnd();
        assertSame(cause, listener.failure());
        assertArrayEquals(Arrays.copyOf(output(request(3, 9)), 2), listener.tokenIds());
        assertArrayEquals(output(request(4, 9)), good.completion().outputTokenIds());
        assertEquals(3 + 3 + 4 + 8, lm.computedTokens());
    }

    @Test
    void isNotIdleUntilTheWastedRowIsDone() {
        admitted(stopping(4));
        while (engine.runningSequences() > 0) {
            step();
        }
        assertEquals(1, listener.ends()); // told at once
        assertFalse(engine.isIdle());
        assertEquals(1, lm.stepsInFlight());
        step();
        assertTrue(engine.isIdle());
        assertEquals(0, lm.stepsInFlight());
    }

    @Test
    void slotAndPagesAreUsedAgainWhileTheirWastedRowIsInFlight() {
        use(new FakeCausalLm(1, 4, 16, 64));
        admitted(stopping(4));
        while (engine.runningSequences() > 0) {
            step();
        }
        RecordingListener next = new RecordingListener();
        Sequence sequence = admitted(request(50, 14), next); // needs all pages
        lm.onLaunch(chunks -> {
            assertSame(sequence, chunks.getFirst().sequence());
            assertEquals(1, lm.stepsInFlight());
            lm.onLaunch(later -> {});
        });
        runToEnd();
        assertArrayEquals(output(request(50, 14)), next.completion().outputTokenIds());
    }

    @Test
    void severalChunksOfAPromptAreInFlight() {
        config.maxPrefillTokensPerStep(4);
        use(FakeCausalLm.ofBatch(2));
        admitted(request(18, 3));
        List<Integer> starts = new ArrayList<>();
        lm.onLaunch(chunks -> starts.add(chunks.getFirst().start()));
        runToEnd();
        assertEquals(List.of(0, 4, 8, 12, 16, 18, 19), starts);
        assertArrayEquals(output(request(18, 3)), listener.completion().outputTokenIds());
    }

    @Test
    void pageIsSharedOnceTheStepThatFillsItIsDone() {
        admitted(request(10, 9));
        step();
        RecordingListener same = new RecordingListener();
        Sequence second = sequence(request(10, 9), same);
        assertEquals(Admission.DEFERRED, engine.tryAdmit(second));
        step();
        assertEquals(Admission.ADMITTED, engine.tryAdmit(second));
        runToEnd();
        assertEquals(10 + 8 + 2 + 8, lm.computedTokens()); // pages of 4
        assertArrayEquals(output(request(10, 9)), same.completion().outputTokenIds());
    }

    @Test
    void nobodyLosesPagesIfTheStepInFlightSetsSomeFree() {
        use(new FakeCausalLm(2, 4, 16, 64));
        admitted(stopping(26)); // 8 pages with all its tokens
        RecordingListener other = new RecordingListener();
        admitted(request(27, 20), other); // 8, and a ninth for its sixth token
        runToEnd(); // asserts that none is preempted
        assertArrayEquals(output(stopping(26)), listener.completion().outputTokenIds());
        assertArrayEquals(output(request(27, 20)), other.completion().outputTokenIds());
        assertEquals(26 + 5 + 27 + 19, lm.computedTokens()); // and no row was wasted
    }

    @Test
    void finishingTheStepsInFlightLaunchesNone() {
        Sequence sequence = admitted(request(3, 9));
        step();
        finishSteps();
        assertEquals(0, lm.stepsInFlight());
        assertEquals(1, lm.steps());
        assertEquals(4, sequence.length());
        engine.preempt(List.of(sequence));
        assertEquals(Admission.ADMITTED, engine.tryAdmit(sequence));
        runToEnd();
        assertArrayEquals(output(request(3, 9)), listener.completion().outputTokenIds());
    }

    private void assertUsable() {
        assertTrue(engine.isIdle());
        assertEquals(0, lm.stepsInFlight());
        lm.onLaunch(chunks -> {}).onAwait(chunks -> {});
        RecordingListener next = new RecordingListener();
        long computed = lm.computedTokens();
        admitted(request(9, 8), next);
        runToEnd();
        assertArrayEquals(output(request(9, 8)), next.completion().outputTokenIds());
        assertEquals(9 + 7, lm.computedTokens() - computed); // nothing that was cached is trusted
    }

    @Test
    void failingLaunchEndsTheStepInFlightToo() {
        admitted(request(9, 8));
        step();
        step();
        RuntimeException cause = new IllegalStateException("forward failed");
        lm.onLaunch(chunks -> {
            throw cause;
        });
        step();
        assertSame(cause, listener.failure());
        assertEquals(1, listener.events().size());
        assertSame(cause, lastFailure);
        assertTrue(stats.getLast().failed());
        assertUsable();
    }

    @Test
    void failingAwaitEndsTheStepLaunchedAfterItToo() {
        admitted(request(9, 8));
        step();
        RuntimeException cause = new IllegalStateException("device failed");
        RuntimeException consequence = new IllegalStateException("device failed before");
        lm.onAwait(chunks -> {
            lm.onAwait(later -> {
                throw consequence;
            });
            throw cause;
        });
        step();
        assertSame(cause, listener.failure());
        assertArrayEquals(new Throwable[] {consequence}, cause.getSuppressed());
        assertEquals(1, stats.size());
        assertUsable();
    }

    @Test
    void throwingListenerEndsBothStepsInFlight() {
        admitted(request(9, 8), new ThrowingListener());
        admitted(request(4, 8));
        step();
        step();
        step(); // publishes with two in flight
        assertEquals("listener", listener.failure().getMessage());
        assertUsable();
    }

    @Test
    void errorEndsBothStepsInFlight() {
        admitted(request(9, 8));
        step();
        lm.onAwait(chunks -> {
            throw new StackOverflowError();
        });
        assertThrows(StackOverflowError.class, this::step);
        assertEquals(
                "step failed: java.lang.StackOverflowError", listener.failure().getMessage());
        assertUsable();
    }

    @Test
    void failAllEndsTheStepInFlight() {
        admitted(request(9, 8));
        step();
        RuntimeException cause = new IllegalStateException("enough");
        engine.stopAll(cause);
        failAll(cause);
        assertSame(cause, listener.failure());
        assertUsable();
    }

    @Test
    void closeEndsTheStepInFlightBeforeTheModel() {
        admitted(request(9, 8));
        step();
        lm.onAwait(chunks -> assertEquals(0, lm.closes()));
        engine.close();
        assertEquals(0, lm.stepsInFlight());
        assertEquals(1, lm.closes());
    }

    @Test
    void cancelAllEndsThoseInFlight() {
        admitted(request(9, 8));
        step();
        running.forEach(Sequence::cancel);
        runToEnd();
        assertArrayEquals(
                Arrays.copyOf(output(request(9, 8)), 1), listener.completion().outputTokenIds());
        assertEquals(FinishReason.CANCELLED, listener.completion().finishReason());
    }
}
