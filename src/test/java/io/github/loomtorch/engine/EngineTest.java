package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.prompt;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine.Admission;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeClock;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.RecordingListener;
import io.github.loomtorch.testing.Requests;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.ValueSource;

/** On a model that finishes each step before the next is launched, and on one that runs ahead. */
@ParameterizedClass
@ValueSource(booleans = {false, true})
class EngineTest {
    private static final long SEED = 42;

    private final boolean ahead;

    private final FakeClock clock = new FakeClock();
    private final List<StepStats> stats = new ArrayList<>();
    private final EngineOptions.Builder config =
            EngineOptions.builder().clock(clock).seeds(() -> SEED).listener(stats::add);
    private FakeCausalLm lm;
    private Engine engine;
    private long arrivals;

    EngineTest(boolean ahead) {
        this.ahead = ahead;
        use(FakeCausalLm.ofBatch(4));
    }

    private Engine engine() {
        return new Engine(lm, new FakeTokenizer(), config.build());
    }

    private void use(FakeCausalLm model) {
        lm = model.runningAhead(ahead);
        engine = engine();
    }

    private static final class Run {
        final RecordingListener listener = new RecordingListener();
        Sequence sequence;

        void assertComplete() {
            assertArrayEquals(
                    FakeCausalLm.expected(sequence.request(), SEED),
                    listener.completion().outputTokenIds());
            assertArrayEquals(listener.completion().outputTokenIds(), listener.tokenIds());
            int[] textIds = Arrays.stream(listener.tokenIds())
                    .filter(id -> id != FakeCausalLm.END_OF_TEXT)
                    .toArray();
            assertEquals(
                    new FakeTokenizer().decode(textIds), listener.completion().text());
            assertEquals(listener.text(), listener.completion().text());
        }
    }

    private Run sequence(GenerationRequest request) {
        Run run = new Run();
        run.sequence = engine.newSequence(request, run.listener);
        run.sequence.arrival(++arrivals);
        return run;
    }

    private Run admitted(GenerationRequest request) {
        Run run = sequence(request);
        assertEquals(Admission.ADMITTED, engine.tryAdmit(run.sequence));
        return run;
    }

    /** Until the results of one more step are taken; a model that runs ahead then has the next in flight. */
    private List<Sequence> step() {
        int taken = stats.size();
        List<Sequence> preempted = new ArrayList<>();
        do {
            preempted.addAll(engine.step());
        } while (stats.size() == taken && !engine.isIdle());
        return preempted;
    }

    /** Asks again after the step in flight, if there is one. */
    private List<Sequence> preemptFor(Sequence waiting) {
        List<Sequence> stopped = engine.preemptFor(waiting);
        if (stopped.isEmpty() && lm.stepsInFlight() > 0) {
            assertEquals(List.of(), engine.step());
            stopped = engine.preemptFor(waiting);
        }
        return stopped;
    }

    private void runToEnd() {
        Deque<Sequence> waiting = new ArrayDeque<>();
        while (!waiting.isEmpty() || !engine.isIdle()) {
            while (!waiting.isEmpty() && engine.tryAdmit(waiting.peek()) == Admission.ADMITTED) {
                waiting.remove();
            }
            engine.step().forEach(waiting::addFirst);
        }
        assertEquals(lm.pageCount(), engine.availablePages());
        assertEquals(0, engine.runningTokens());
    }

    @Test
    void generatesTokenByTokenUntilTheLengthIsReached() {
        Run run = admitted(request(5, 10));
        runToEnd();
        run.assertComplete();
        Completion completion = run.listener.completion();
        assertEquals(FinishReason.LENGTH, completion.finishReason());
        assertArrayEquals(prompt(5), completion.promptTokenIds());
        assertEquals(SEED, completion.seed());
        assertEquals(10, lm.steps());
        assertEquals(5 + 9, lm.computedTokens());
        assertEquals(
                IntStream.range(0, 10).boxed().toList(),
                run.listener.events().stream().map(TokenEvent::index).toList());
    }

    @Test
    void batchYieldsWhatEachSequenceYieldsAlone() {
        List<Run> runs = List.of(admitted(request(1, 20)), admitted(request(9, 3)), admitted(request(16, 7)));
        step();
        Run late = admitted(request(4, 5));
        runToEnd();
        runs.forEach(Run::assertComplete);
        late.assertComplete();
        assertEquals(4, lm.largestBatch());
    }

    @Test
    void usesTheSeedOfTheRequest() {
        GenerationRequest request = new GenerationRequest(
                prompt(3),
                SamplingParams.builder().maxNewTokens(5).seed(7).ignoreEos(true).build());
        Run run = admitted(request);
        runToEnd();
        assertEquals(7, run.listener.completion().seed());
        assertArrayEquals(
                FakeCausalLm.expected(request, 7), run.listener.completion().outputTokenIds());
    }

    @Test
    void spreadsLongPromptOverStepsWithoutStallingOthers() {
        config.maxPrefillTokensPerStep(8);
        engine = engine();
        Run decoding = admitted(request(3, 12));
        engine.step();
        Run first = admitted(request(20, 2));
        Run second = admitted(request(13, 2));
        for (int step = 0; step < 5; step++) {
            int before = decoding.sequence.length();
            step();
            assertEquals(before + 1, decoding.sequence.length());
        }
        runToEnd();
        // The first takes 8 + 8 + 4 and decodes once, the second 4 + 8 + 1.
        assertEquals(
                List.of(1 + 8, 1 + 8, 1 + 4 + 4, 1 + 1 + 8, 1 + 1),
                stats.subList(1, 6).stream().map(StepStats::computedTokens).toList());
        decoding.assertComplete();
        first.assertComplete();
        second.assertComplete();
    }

    @Test
    void sharesTheBeginningThatBothPromptsHave() {
        admitted(request(10, 3));
        runToEnd();
        long computed = lm.computedTokens();
        int[] longer = Arrays.copyOf(prompt(10), 12);
        Run second = admitted(new GenerationRequest(longer, SamplingParams.greedy(2)));
        runToEnd();
        assertEquals(12 - 8 + 1, lm.computedTokens() - computed); // pages of 4
        second.assertComplete();
    }

    @Test
    void tellsWhatThePrefixCacheSaved() {
        admitted(request(10, 3));
        runToEnd();
        stats.clear();
        admitted(request(10, 3));
        admitted(request(9, 3)); // begins otherwise
        runToEnd();
        admitted(request(12, 2));
        runToEnd();
        assertEquals(
                List.of(8, 0, 0, 0, 0),
                stats.stream().map(StepStats::reusedTokens).toList()); // pages of 4
        assertEquals(
                List.of(2 + 9, 2, 2, 12, 1),
                stats.stream().map(StepStats::computedTokens).toList());
    }

    @Test
    void tellsHowManyPagesOfAllAreAvailable() {
        use(new FakeCausalLm(4, 4, 17, 64));
        admitted(request(9, 3));
        step();
        assertEquals(17 - 3, stats.getLast().availablePages());
        assertEquals(17, stats.getLast().pageCount());
        runToEnd();
        assertEquals(17, stats.getLast().availablePages());
    }

    @Test
    void sequencesThatPartAfterACommonBeginningDoNotDisturbEachOther() {
        Run first = admitted(request(10, 12));
        step();
        int[] other = prompt(10);
        other[9]++; // within the third page
        Run second = admitted(new GenerationRequest(other, request(10, 12).sampling()));
        step();
        assertEquals(first.sequence.page(0), second.sequence.page(0));
        assertEquals(first.sequence.page(1), second.sequence.page(1));
        assertNotEquals(first.sequence.page(2), second.sequence.page(2));
        runToEnd();
        first.assertComplete();
        second.assertComplete();
        long computed = lm.computedTokens();
        Run again = admitted(request(10, 12)); // what the first left is as it was
        runToEnd();
        again.assertComplete();
        assertEquals(10 - 8 + 11, lm.computedTokens() - computed);
    }

    @Test
    void computesTheLastPromptTokenEvenIfAllIsCached() {
        admitted(request(8, 5));
        runToEnd();
        long computed = lm.computedTokens();
        Run second = admitted(request(8, 5));
        engine.step();
        assertEquals(4, lm.computedTokens() - computed);
        runToEnd();
        second.assertComplete();
    }

    @Test
    void sharesNothingWithPrefixCachingOff() {
        config.prefixCaching(false);
        engine = engine();
        Run first = admitted(request(10, 3));
        Run second = admitted(request(10, 3));
        runToEnd();
        assertEquals(2 * (10 + 2), lm.computedTokens());
        first.assertComplete();
        second.assertComplete();
    }

    @Test
    void completionsOfOnePromptEachComputeItOnDeterministicModel() {
        engine = new Engine(deterministic(lm), config.build());
        admitted(request(10, 3));
        step();
        admitted(request(10, 3));
        runToEnd();
        assertEquals(2 * (10 + 2), lm.computedTokens());
    }

    private static CausalLm deterministic(CausalLm lm) {
        return new ForwardingLm(lm) {
            @Override
            public boolean deterministic() {
                return true;
            }
        };
    }

    @Test
    void defersSequenceWhoseBeginningIsBeingComputed() {
        config.maxPrefillTokensPerStep(4);
        engine = engine();
        Run first = admitted(request(10, 5));
        Run second = sequence(request(10, 5));
        assertEquals(Admission.DEFERRED, engine.tryAdmit(second.sequence));
        step();
        assertEquals(Admission.DEFERRED, engine.tryAdmit(second.sequence));
        step();
        assertEquals(Admission.ADMITTED, engine.tryAdmit(second.sequence));
        runToEnd();
        assertEquals(10 + 4 + 2 + 4, lm.computedTokens());
        first.assertComplete();
        second.assertComplete();
    }

    @Test
    void admitsNoMoreThanThereAreSlots() {
        for (int i = 0; i < 4; i++) {
            admitted(request(2 + i, 3));
        }
        assertTrue(engine.isFull());
        Run waiting = sequence(request(1, 1));
        assertEquals(Admission.FULL, engine.tryAdmit(waiting.sequence));
        runToEnd();
        assertEquals(Admission.ADMITTED, engine.tryAdmit(waiting.sequence));
        runToEnd();
        waiting.assertComplete();
    }

    @Test
    void admitsNothingForWhichThereAreTooFewPages() {
        use(new FakeCausalLm(4, 4, 16, 64));
        admitted(request(50, 4)); // may come to need 14
        Run waiting = sequence(request(5, 8)); // 2, and soon 3
        assertEquals(Admission.FULL, engine.tryAdmit(waiting.sequence));
        assertEquals(Admission.ADMITTED, engine.tryAdmit(sequence(request(6, 2)).sequence)); // 2, and no more
        runToEnd();
    }

    @Test
    void admitsSequenceOfAnyLengthIfNoneRuns() {
        use(new FakeCausalLm(4, 4, 16, 64));
        for (int length = 1; length < 64; length++) {
            Run run = admitted(request(length, 64 - length));
            runToEnd();
            run.assertComplete();
        }
    }

    @Test
    void admitsAllIfTheCacheHoldsAllAtTheirLongest() {
        use(FakeCausalLm.ofBatch(3));
        for (int length = 61; length < 64; length++) {
            admitted(request(length, 64 - length));
        }
        runToEnd();
        assertEquals(3, lm.largestBatch());
    }

    @Test
    void nobodyLosesItsPagesSoonAfterAnAdmission() {
        use(new FakeCausalLm(6, 4, 24, 64));
        Random random = new Random(5);
        int refusals = 0;
        int preemptions = 0;
        int sinceAdmission = 0;
        for (int step = 0; step < 1000; step++) {
            Admission admission = engine.tryAdmit(sequence(Requests.random(random)).sequence);
            sinceAdmission = admission == Admission.ADMITTED ? 0 : sinceAdmission + 1;
            refusals += admission == Admission.FULL && !engine.isFull() ? 1 : 0;
            int preempted = engine.step().size();
            assertTrue(preempted == 0 || sinceAdmission > 4, sinceAdmission + " steps after an admission");
            preemptions += preempted;
        }
        assertTrue(refusals > 100 && preemptions > 10, "refusals " + refusals + ", preemptions " + preemptions);
    }

    @Test
    void preemptsTheLatestSequenceWhenPagesRunOutAndLosesNoToken() {
        use(new FakeCausalLm(4, 4, 16, 64));
        List<Run> runs = List.of(admitted(request(8, 40)), admitted(request(9, 40)), admitted(request(10, 40)));
        List<Sequence> preempted = List.of();
        while (preempted.isEmpty()) {
            preempted = step();
        }
        assertEquals(List.of(runs.get(2).sequence), preempted);
        Deque<Sequence> waiting = new ArrayDeque<>(preempted);
        int preemptions = 1;
        while (!waiting.isEmpty() || !engine.isIdle()) {
            while (!waiting.isEmpty() && engine.tryAdmit(waiting.peek()) == Admission.ADMITTED) {
                waiting.remove();
            }
            preempted = engine.step();
            preemptions += preempted.size();
            preempted.forEach(waiting::addFirst);
        }
        assertTrue(preemptions > 1);
        assertEquals(
                preemptions,
                stats.stream().mapToInt(StepStats::preemptedSequences).sum());
        runs.forEach(Run::assertComplete);
    }

    @Test
    void preemptsTheLowestPriorityFirstWhenPagesRunOut() {
        use(new FakeCausalLm(4, 4, 16, 64));
        Run low = admitted(request(8, 40));
        admitted(request(9, 40).withPriority(1));
        List<Sequence> preempted = List.of();
        while (preempted.isEmpty()) {
            preempted = step();
        }
        assertEquals(List.of(low.sequence), preempted);
    }

    @Test
    void lowerPriorityGivesWayToHigher() {
        Run low = admitted(request(3, 8));
        Run middle = admitted(request(4, 8).withPriority(1));
        step();
        Run high = sequence(request(5, 8).withPriority(2));
        assertEquals(List.of(low.sequence), preemptFor(high.sequence));
        assertEquals(List.of(middle.sequence), preemptFor(high.sequence));
        assertEquals(List.of(), preemptFor(high.sequence));
        assertEquals(lm.pageCount(), engine.availablePages());
        stats.clear();
        for (Run run : List.of(high, low, middle)) {
            assertEquals(Admission.ADMITTED, engine.tryAdmit(run.sequence));
        }
        runToEnd();
        List.of(low, middle, high).forEach(Run::assertComplete);
        assertEquals(2, stats.getFirst().preemptedSequences());
        assertEquals(2, stats.stream().mapToInt(StepStats::preemptedSequences).sum());
    }

    @Test
    void nobodyGivesWayIfThatWouldNotMakeRoom() {
        use(new FakeCausalLm(4, 4, 16, 64));
        Run low = admitted(request(7, 8)); // 3 pages, with those that it may need soon
        Run highest = admitted(request(39, 8).withPriority(9)); // 11
        Run high = sequence(request(19, 8).withPriority(1)); // 6
        assertEquals(Admission.FULL, engine.tryAdmit(high.sequence));
        assertEquals(List.of(), preemptFor(high.sequence));
        assertEquals(16, engine.availablePages());
        assertEquals(2, engine.runningSequences());
        runToEnd();
        low.assertComplete();
        highest.assertComplete();
        assertEquals(7 + 7 + 39 + 7, lm.computedTokens());
    }

    @Test
    void noMoreGiveWayThanItTakes() {
        use(new FakeCausalLm(4, 4, 16, 64));
        Run most = admitted(request(15, 8).withPriority(2)); // 5 pages each
        Run more = admitted(request(14, 8).withPriority(1));
        Run less = admitted(request(13, 8));
        Run high = sequence(request(39, 8).withPriority(9)); // 11
        assertEquals(Admission.FULL, engine.tryAdmit(high.sequence));
        assertEquals(List.of(less.sequence, more.sequence), preemptFor(high.sequence));
        assertEquals(Admission.ADMITTED, engine.tryAdmit(high.sequence));
        runToEnd();
        most.assertComplete();
        high.assertComplete();
    }

    @Test
    void pageOfSeveralSequencesIsFreeOnceAllOfThemGaveWay() {
        use(new FakeCausalLm(4, 4, 16, 64));
        Run first = admitted(request(33, 8)); // 10 pages
        step();
        Run second = admitted(request(33, 8)); // 8 of them and 2
        Run highest = admitted(request(11, 8).withPriority(9)); // 4
        step();
        Run high = sequence(request(7, 8).withPriority(1)); // 3
        assertEquals(Admission.FULL, engine.tryAdmit(high.sequence));
        assertEquals(List.of(second.sequence, first.sequence), preemptFor(high.sequence));
        assertEquals(16 - 3, engine.availablePages());
        assertEquals(Admission.ADMITTED, engine.tryAdmit(high.sequence));
        runToEnd();
        highest.assertComplete();
    }

    @Test
    void givesWayToSequenceThatFitsBecauseItSharesPages() {
        use(new FakeCausalLm(4, 4, 16, 64));
        admitted(request(33, 8).withPriority(9)); // 10 pages
        step();
        Run low = admitted(request(15, 8)); // 5
        int[] longer = Arrays.copyOf(prompt(33), 47);
        Run high =
                sequence(new GenerationRequest(longer, SamplingParams.greedy(8)).withPriority(1)); // the same 8 and 5
        assertEquals(Admission.FULL, engine.tryAdmit(high.sequence));
        assertEquals(List.of(low.sequence), preemptFor(high.sequence));
        assertEquals(Admission.ADMITTED, engine.tryAdmit(high.sequence));
        runToEnd();
        high.assertComplete();
    }

    @Test
    void pagesThatASequenceWouldShareMakeNoRoomForIt() {
        use(new FakeCausalLm(4, 4, 16, 64));
        Run low = admitted(request(33, 8)); // 10 pages
        step();
        admitted(request(18, 8).withPriority(9)); // 6
        int[] longer = Arrays.copyOf(prompt(33), 47);
        Run high =
                sequence(new GenerationRequest(longer, SamplingParams.greedy(8)).withPriority(1)); // the same 8 and 5
        assertEquals(Admission.FULL, engine.tryAdmit(high.sequence));
        assertEquals(List.of(), preemptFor(high.sequence));
        runToEnd();
        low.assertComplete();
    }

    @Test
    void nobodyGivesWayToWhoWouldBeDeferred() {
        config.maxPrefillTokensPerStep(4);
        use(FakeCausalLm.ofBatch(2));
        admitted(request(20, 8));
        admitted(request(3, 8));
        step();
        Run high = sequence(request(20, 8).withPriority(1));
        assertEquals(Admission.FULL, engine.tryAdmit(high.sequence));
        assertEquals(List.of(), preemptFor(high.sequence));
        runToEnd();
    }

    @Test
    void whatPreemptedSequenceComputesAgainIsSharedAtItsRightPlace() {
        use(new FakeCausalLm(4, 4, 16, 64));
        Run low = admitted(request(13, 4));
        step();
        preemptFor(sequence(request(5, 8).withPriority(1)).sequence);
        admitted(request(60, 4)); // takes all pages
        runToEnd();
        engine.tryAdmit(low.sequence);
        runToEnd();
        low.assertComplete();
        int[] end = Arrays.copyOfRange(low.sequence.tokens(), 12, 17);
        Run same = admitted(new GenerationRequest(end, SamplingParams.greedy(3)));
        runToEnd();
        same.assertComplete();
    }

    @Test
    void equalPriorityDoesNotGiveWayEvenToWhoHasWaitedLonger() {
        Run waiting = sequence(request(5, 8));
        clock.advance(Duration.ofSeconds(60));
        admitted(request(3, 8));
        assertEquals(List.of(), preemptFor(waiting.sequence));
    }

    @Test
    void whoHasWaitedLongEnoughDoesNotGiveWay() {
        Run low = admitted(request(3, 8));
        clock.advance(Duration.ofSeconds(9)); // ageing: 10 s
        assertEquals(List.of(low.sequence), preemptFor(sequence(request(4, 8).withPriority(1)).sequence));
        engine.tryAdmit(low.sequence);
        clock.advance(Duration.ofSeconds(1));
        assertEquals(List.of(), preemptFor(sequence(request(4, 8).withPriority(1)).sequence));
    }

    @Test
    void ordersByPriorityAndWaitingTimeThenArrival() {
        Run old = sequence(request(1, 1));
        Run next = sequence(request(1, 1));
        clock.advance(Duration.ofSeconds(15));
        Run plusOne = sequence(request(1, 1).withPriority(1));
        Run plusTwo = sequence(request(1, 1).withPriority(2));
        Run highest = sequence(request(1, 1).withPriority(Integer.MAX_VALUE));
        Run lowest = sequence(request(1, 1).withPriority(Integer.MIN_VALUE));
        List<Sequence> sorted = Stream.of(lowest, plusOne, next, old, highest, plusTwo)
                .map(run -> run.sequence)
                .sorted()
                .toList();
        assertEquals(
                List.of(highest, plusTwo, old, next, plusOne, lowest).stream()
                        .map(run -> run.sequence)
                        .toList(),
                sorted);
    }

    @Test
    void publishesTokensWhileTheDeviceComputesTheNextOnes() {
        Run run = admitted(request(3, 3));
        List<Integer> seen = new ArrayList<>();
        lm.onLaunch(chunks -> seen.add(run.listener.events().size()))
                .onAwait(chunks -> seen.add(run.listener.events().size()));
        runToEnd();
        assertEquals(ahead ? List.of(0, 0, 0, 0, 1, 2) : List.of(0, 0, 0, 1, 1, 2), seen);
        assertEquals(3, run.listener.events().size());
    }

    private static int[] output(GenerationRequest request) {
        return FakeCausalLm.expected(request, SEED);
    }

    @Test
    void stopsAtTheEndOfText() {
        // Find a prompt whose third token is the end.
        for (int i = 0; ; i++) {
            GenerationRequest request = new GenerationRequest(
                    new int[] {i % 90, i / 90},
                    SamplingParams.builder().maxNewTokens(9).build());
            if (output(request).length == 3) {
                Run run = admitted(request);
                runToEnd();
                run.assertComplete();
                assertEquals(FinishReason.STOP, run.listener.completion().finishReason());
                assertFalse(run.listener.text().contains("<|endoftext|>"));
                SamplingParams ignoring =
                        request.sampling().toBuilder().ignoreEos(true).build();
                Run longer = admitted(new GenerationRequest(request.promptTokenIds(), ignoring));
                runToEnd();
                longer.assertComplete();
                assertEquals(9, longer.listener.completion().outputTokenIds().length);
                assertFalse(longer.listener.text().contains("<|endoftext|>"));
                return;
            }
        }
    }

    @Test
    void stopsAtStopTokenWhichIsTheLast() {
        int[] all = output(request(3, 9));
        SamplingParams sampling = SamplingParams.builder()
                .maxNewTokens(9)
                .stopTokenIds(Set.of(all[3], 98))
                .build();
        Run run = admitted(new GenerationRequest(prompt(3), sampling));
        runToEnd();
        assertArrayEquals(Arrays.copyOf(all, 4), run.listener.completion().outputTokenIds());
        assertEquals(FinishReason.STOP, run.listener.completion().finishReason());
    }

    @Test
    void stopsAtStopStringAcrossTokensWhichIsNotPartOfTheText() {
        for (int i = 0; ; i++) { // find a prompt whose first five tokens are plain letters
            GenerationRequest request = new GenerationRequest(
                    new int[] {i % 90, i / 90},
                    SamplingParams.builder().maxNewTokens(9).build());
            int[] all = output(request);
            if (all.length < 5 || Arrays.stream(all, 0, 5).anyMatch(id -> id >= 94)) {
                continue;
            }
            String text = new FakeTokenizer().decode(Arrays.copyOf(all, 5));
            SamplingParams stopping = request.sampling().toBuilder()
                    .stopStrings(List.of(text.substring(2, 5), "no such text"))
                    .build();
            Run run = admitted(new GenerationRequest(request.promptTokenIds(), stopping));
            runToEnd();
            Completion completion = run.listener.completion();
            assertEquals(FinishReason.STOP, completion.finishReason());
            assertArrayEquals(Arrays.copyOf(all, 5), completion.outputTokenIds());
            assertEquals(text.substring(0, 2), completion.text());
            assertEquals(
                    List.of(text.substring(0, 1), text.substring(1, 2), "", "", ""),
                    run.listener.events().stream().map(TokenEvent::text).toList());
            return;
        }
    }

    @Test
    void reportsLogprobsIfAskedFor() {
        Run plain = admitted(request(3, 2));
        Run asking = admitted(new GenerationRequest(
                prompt(4),
                SamplingParams.builder()
                        .maxNewTokens(2)
                        .topLogprobs(0)
                        .ignoreEos(true)
                        .build()));
        runToEnd();
        assertEquals(List.of(), plain.listener.completion().logprobs());
        Completion completion = asking.listener.completion();
        assertEquals(
                Arrays.stream(completion.outputTokenIds())
                        .mapToObj(id -> (float) -id)
                        .toList(),
                completion.logprobs().stream().map(TokenLogprobs::logprob).toList());
    }

    @Test
    void cancelledSequenceEndsWithItsStepAndKeepsItsTokens() {
        Run cancelled = admitted(request(3, 20));
        Run other = admitted(request(4, 20));
        step();
        step();
        cancelled.sequence.cancel();
        step();
        assertEquals(1, engine.runningSequences());
        runToEnd();
        Completion completion = cancelled.listener.completion();
        assertEquals(FinishReason.CANCELLED, completion.finishReason());
        assertArrayEquals(Arrays.copyOf(output(request(3, 20)), 3), completion.outputTokenIds());
        assertEquals(completion.text(), cancelled.listener.text());
        other.assertComplete();
    }

    @Test
    void cancelsWithinPrefill() {
        config.maxPrefillTokensPerStep(4);
        engine = engine();
        admitted(request(20, 2));
        Run starved = admitted(request(30, 2));
        step();
        starved.sequence.cancel();
        step();
        runToEnd();
        assertEquals(FinishReason.CANCELLED, starved.listener.completion().finishReason());
        assertEquals(0, starved.listener.completion().outputTokenIds().length);
    }

    @Test
    void cancelsAllThatRun() {
        List<Run> runs = List.of(admitted(request(3, 20)), admitted(request(4, 20)));
        engine.cancelAll();
        step();
        assertEquals(0, engine.runningSequences());
        runToEnd();
        runs.forEach(run ->
                assertEquals(FinishReason.CANCELLED, run.listener.completion().finishReason()));
    }

    @Test
    void sequencePastItsDeadlineEndsWithItsStep() {
        lm.onAwait(chunks -> clock.advance(Duration.ofMillis(10)));
        Run run = admitted(request(3, 20).withTimeout(Duration.ofMillis(25)));
        runToEnd();
        Completion completion = run.listener.completion();
        assertEquals(FinishReason.DEADLINE, completion.finishReason());
        assertEquals(3, completion.outputTokenIds().length);
        assertEquals(Duration.ofMillis(30).toNanos(), completion.timings().finishedNanos());
    }

    @Test
    void measuresTimes() {
        lm.onAwait(chunks -> clock.advance(Duration.ofNanos(100)));
        Run run = sequence(request(3, 4));
        clock.advance(Duration.ofNanos(7));
        engine.tryAdmit(run.sequence);
        runToEnd();
        Completion completion = run.listener.completion();
        assertEquals(0, completion.timings().submittedNanos());
        assertEquals(7, completion.timings().startedNanos());
        assertEquals(107, completion.timings().ttftNanos());
        assertEquals(407, completion.timings().e2elNanos());
        assertEquals(100, stats.getFirst().durationNanos());
    }

    @Test
    void endsSequenceThatNeverRan() {
        clock.advance(Duration.ofNanos(5));
        Run run = sequence(request(3, 4));
        clock.advance(Duration.ofNanos(5));
        engine.finish(run.sequence, FinishReason.CANCELLED);
        Completion completion = run.listener.completion();
        assertEquals(0, completion.outputTokenIds().length);
        assertEquals(10, completion.timings().startedNanos());
        assertEquals(10, completion.timings().firstTokenNanos());
    }

    @Test
    void endsPreemptedSequenceWithWhatItHas() {
        Run low = admitted(request(3, 8));
        engine.step();
        preemptFor(sequence(request(5, 8).withPriority(1)).sequence);
        engine.finish(low.sequence, FinishReason.CANCELLED);
        assertArrayEquals(
                Arrays.copyOf(output(request(3, 8)), 1),
                low.listener.completion().outputTokenIds());
        assertArrayEquals(low.listener.completion().outputTokenIds(), low.listener.tokenIds());
        assertEquals(low.listener.text(), low.listener.completion().text());
        runToEnd();
    }

    private Run preemptedAfterOneToken(GenerationRequest request) {
        Run run = admitted(request);
        engine.step();
        preemptFor(sequence(request(5, 8).withPriority(1)).sequence);
        return run;
    }

    @Test
    void completionOfPreemptedSequenceHasTheTextThatStopStringsHeldBack() {
        String text = new FakeTokenizer().decode(Arrays.copyOf(output(request(3, 8)), 1));
        SamplingParams stopping = request(3, 8).sampling().toBuilder()
                .stopStrings(List.of(text + "no such text"))
                .build();
        Run run = preemptedAfterOneToken(new GenerationRequest(prompt(3), stopping));
        admitted(request(60, 1));
        runToEnd(); // publishes the token
        assertEquals("", run.listener.text());
        engine.finish(run.sequence, FinishReason.DEADLINE);
        assertEquals(text, run.listener.completion().text());
    }

    @Test
    void completionOfPreemptedSequenceEndsWithItsIncompleteCharacter() {
        for (int i = 0; ; i++) { // find a prompt whose first token is the first byte of three
            GenerationRequest request = new GenerationRequest(new int[] {i % 90, i / 90}, SamplingParams.greedy(8));
            if (output(request)[0] == 94) {
                Run run = preemptedAfterOneToken(request);
                admitted(request(60, 1));
                runToEnd();
                engine.finish(run.sequence, FinishReason.CANCELLED);
                assertEquals("\uFFFD", run.listener.completion().text());
                return;
            }
        }
    }

    @Test
    void awaitsTheStepInFlightThoughPublishingFails() {
        Run good = admitted(request(4, 3));
        engine.tryAdmit(engine.newSequence(request(3, 3), new ThrowingListener()));
        step();
        step();
        assertEquals("listener", good.listener.failure().getMessage());
        Run next = admitted(request(5, 3));
        runToEnd();
        next.assertComplete();
    }

    @Test
    void closesTheModelThoughAListenerThrows() {
        int[] failures = {0};
        engine.tryAdmit(engine.newSequence(request(3, 3), new ThrowingListener() {
            @Override
            public void onFailed(RuntimeException cause) {
                failures[0]++;
                throw cause;
            }
        }));
        assertThrows(IllegalStateException.class, engine::close);
        assertEquals(1, failures[0]);
        assertEquals(1, lm.closes());
    }

    @Test
    void goesOnThoughItsListenerThrows() {
        config.listener(step -> {
            throw new IllegalStateException("listener");
        });
        engine = engine();
        Run run = admitted(request(3, 4));
        runToEnd();
        run.assertComplete();
    }

    @Test
    void failureToMeasureTheDeviceFailsTheStep() {
        RuntimeException cause = new IllegalStateException("no event");
        engine = new Engine(
                new ForwardingLm(lm) {
                    @Override
                    public long deviceNanos() {
                        throw cause;
                    }
                },
                config.build());
        Run run = admitted(request(3, 4));
        runToEnd();
        assertSame(cause, run.listener.failure());
    }

    @Test
    void knowsAfterAFailedStepThatTheDeviceIsLost() {
        boolean[] lost = {false};
        engine = new Engine(
                new ForwardingLm(lm) {
                    @Override
                    public boolean isLost() {
                        return lost[0];
                    }
                },
                config.build());
        lm.onAwait(chunks -> {
            throw new IllegalStateException("device failed");
        });
        admitted(request(3, 4));
        step();
        assertFalse(engine.isLost());
        lost[0] = true;
        admitted(request(3, 4));
        step();
        assertTrue(engine.isLost());
    }

    @Test
    void failingRowFailsItsSequenceOnly() {
        RuntimeException cause = new IllegalStateException("no finite logit");
        Run bad = admitted(request(3, 8));
        Run good = admitted(request(4, 8));
        lm.failing(sequence -> sequence == bad.sequence && sequence.length() == 5 ? cause : null);
        runToEnd();
        assertSame(cause, bad.listener.failure());
        assertArrayEquals(Arrays.copyOf(output(request(3, 8)), 2), bad.listener.tokenIds());
        good.assertComplete();
        assertEquals(0, engine.failedSteps());
    }

    @Test
    void failingLaunchFailsAllThatRunAndLeavesTheEngineUsable() {
        List<Run> bad = List.of(admitted(request(9, 8)), admitted(request(4, 8)));
        step();
        RuntimeException cause = new IllegalStateException("forward failed");
        lm.onLaunch(chunks -> {
            throw cause;
        });
        step();
        bad.forEach(run -> {
            assertSame(cause, run.listener.failure());
            assertEquals(1, run.listener.events().size());
        });
        assertTrue(engine.isIdle());
        assertEquals(lm.pageCount(), engine.availablePages());
        assertEquals(1, engine.failedSteps());
        assertSame(cause, engine.lastFailure());
        assertTrue(stats.getLast().failed());

        lm.onLaunch(chunks -> {});
        long computed = lm.computedTokens();
        Run good = admitted(request(9, 8));
        runToEnd();
        good.assertComplete();
        assertEquals(9 + 7, lm.computedTokens() - computed); // what was cached is not trusted
        assertEquals(0, engine.failedSteps());
    }

    @Test
    void failingAwaitFailsAllThatRunAndLeavesTheEngineUsable() {
        Run bad = admitted(request(9, 8));
        RuntimeException cause = new IllegalStateException("device failed");
        lm.onAwait(chunks -> {
            throw cause;
        });
        step();
        assertSame(cause, bad.listener.failure());
        lm.onAwait(chunks -> {});
        Run good = admitted(request(9, 8));
        runToEnd();
        good.assertComplete();
    }

    @Test
    void errorFailsAllThatRunAndIsThrown() {
        Run bad = admitted(request(9, 8));
        Error error = new OutOfMemoryError("heap");
        lm.onAwait(chunks -> {
            throw error;
        });
        assertSame(error, assertThrows(OutOfMemoryError.class, this::step));
        assertSame(error, bad.listener.failure().getCause());
        assertEquals(
                "step failed: java.lang.OutOfMemoryError: heap",
                bad.listener.failure().getMessage());
    }

    @Test
    void errorFailsThoseThatWerePreemptedForTheStepToo() {
        use(new FakeCausalLm(4, 4, 16, 64));
        List<Run> runs = List.of(admitted(request(8, 40)), admitted(request(9, 40)), admitted(request(10, 40)));
        lm.onLaunch(chunks -> {
            if (chunks.size() < 3) {
                throw new StackOverflowError();
            }
        });
        assertThrows(StackOverflowError.class, this::runToEnd);
        runs.forEach(run -> assertEquals(
                "step failed: java.lang.StackOverflowError",
                run.listener.failure().getMessage()));
    }

    @Test
    void stepOfNothingDoesNothing() {
        assertEquals(List.of(), engine.step());
        assertEquals(0, lm.steps());
    }

    @Test
    void closeFailsWhatRunsAndClosesTheModelOnce() {
        Run run = admitted(request(9, 8));
        engine.close();
        engine.close();
        assertEquals("engine is closed", run.listener.failure().getMessage());
        assertEquals(1, lm.closes());
        Sequence late = sequence(request(1, 1)).sequence;
        assertEquals(
                "engine is closed",
                assertThrows(IllegalStateException.class, () -> engine.tryAdmit(late))
                        .getMessage());
    }

    private void assertRefused(String message, int[] prompt, SamplingParams sampling) {
        GenerationRequest request = new GenerationRequest(prompt, sampling);
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, () -> sequence(request))
                        .getMessage());
    }

    @Test
    void refusesWhatTheModelCannotServe() {
        SamplingParams greedy = SamplingParams.greedy(1);
        assertRefused("promptTokenIds[1] must be in [0, 100), got 100", new int[] {99, 100}, greedy);
        assertRefused(
                "promptTokenIds (60) + maxNewTokens (5) must be <= contextLength (64), got 65",
                prompt(60),
                SamplingParams.greedy(5));
        assertRefused(
                "promptTokenIds (1) + maxNewTokens (2147483647) must be <= contextLength (64), got 2147483648",
                prompt(1),
                SamplingParams.greedy(Integer.MAX_VALUE));
        assertRefused(
                "stopTokenIds must be in [0, 100), got 100",
                prompt(1),
                SamplingParams.builder().stopTokenIds(Set.of(100)).build());
        assertRefused(
                "logitBias ids must be in [0, 100), got 1000",
                prompt(1),
                SamplingParams.builder().logitBias(Map.of(1000, 1f)).build());
    }

    @Test
    void servesIdsOnlyWithoutTokenizer() {
        engine = new Engine(lm, config.build());
        assertRefused(
                "stopStrings must be empty where there is no tokenizer, got [x]",
                prompt(1),
                SamplingParams.builder().stopStrings(List.of("x")).build());
        Run run = admitted(request(3, 5));
        runToEnd();
        assertArrayEquals(output(request(3, 5)), run.listener.completion().outputTokenIds());
        assertEquals("", run.listener.completion().text());
    }

    @Test
    void endsAfterAnyOfTheEndOfTextTokens() {
        GenerationRequest request = new GenerationRequest(
                new int[] {3, 1, 4}, SamplingParams.builder().maxNewTokens(8).build());
        int[] whole = output(request);
        int last = whole[4];
        int first = IntStream.range(0, whole.length)
                .filter(i -> whole[i] == last)
                .findFirst()
                .orElseThrow();
        use(FakeCausalLm.ofBatch(4)
                .endOfTextIds(IntStream.of(last, last == 0 ? 1 : 0).sorted().toArray()));
        Run run = admitted(request);
        runToEnd();
        assertEquals(FinishReason.STOP, run.listener.completion().finishReason());
        assertArrayEquals(
                Arrays.copyOf(whole, first + 1), run.listener.completion().outputTokenIds());
        assertEquals(
                new FakeTokenizer().decode(Arrays.copyOf(whole, first)),
                run.listener.completion().text());
    }

    @Test
    void refusesModelThatCannotHoldItsLongestSequence() {
        CausalLm small = new FakeCausalLm(2, 4, 15, 64);
        assertEquals(
                "pageCount must be >= 16 to hold one sequence of contextLength (64), got 15",
                assertThrows(IllegalArgumentException.class, () -> new Engine(small, config.build()))
                        .getMessage());
    }

    @Test
    void refusesConfigurationOutOfRange() {
        assertEquals(
                "maxPrefillTokensPerStep must be >= 1, got 0",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> EngineOptions.builder()
                                        .maxPrefillTokensPerStep(0)
                                        .build())
                        .getMessage());
        assertEquals(
                "ageingInterval must be > 0, got PT0S",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> EngineOptions.builder()
                                        .ageingInterval(Duration.ZERO)
                                        .build())
                        .getMessage());
    }

    /**
     * Random requests with few pages, small budgets, common beginnings, cancels, preemptions and failures: each as
     * though alone.
     */
    @Test
    void yieldsTheSameTokensWhateverHappensAround() {
        Random random = new Random(3);
        int complete = 0;
        int preemptions = 0;
        for (int round = 0; round < 60; round++) {
            config.maxPrefillTokensPerStep(1 + random.nextInt(20)).prefixCaching(random.nextInt(4) > 0);
            use(new FakeCausalLm(1 + random.nextInt(6), 1 + random.nextInt(5), 64 + random.nextInt(64), 64));
            if (random.nextInt(4) == 0) {
                engine = new Engine(deterministic(lm), new FakeTokenizer(), config.build());
            }
            List<Run> all = new ArrayList<>();
            List<Sequence> waiting = new ArrayList<>();
            for (int i = 0; i < 25; i++) {
                Run run = sequence(Requests.random(random));
                all.add(run);
                waiting.add(run.sequence);
            }
            while (!waiting.isEmpty() || !engine.isIdle()) {
                Sequence next = waiting.isEmpty() ? null : waiting.get(random.nextInt(waiting.size()));
                if (next != null && engine.tryAdmit(next) == Admission.ADMITTED) {
                    waiting.remove(next);
                } else if (next != null && random.nextInt(4) == 0) {
                    List<Sequence> stopped = engine.preemptFor(next);
                    waiting.addAll(stopped);
                    if (!stopped.isEmpty()) {
                        assertEquals(Admission.ADMITTED, engine.tryAdmit(next));
                        waiting.remove(next);
                        preemptions++;
                    }
                }
                if (random.nextInt(50) == 0) {
                    all.get(random.nextInt(all.size())).sequence.cancel();
                }
                waiting.addAll(engine.step());
            }
            assertEquals(lm.pageCount(), engine.availablePages());
            assertEquals(0, engine.runningTokens());
            for (Run run : all) {
                if (run.listener.completion().finishReason() == FinishReason.CANCELLED) {
                    int[] some = run.listener.completion().outputTokenIds();
                    assertArrayEquals(Arrays.copyOf(output(run.sequence.request()), some.length), some);
                } else {
                    run.assertComplete();
                    complete++;
                }
            }
        }
        assertTrue(complete > 500 && preemptions > 50, "complete " + complete + ", preemptions " + preemptions);
    }
}
