package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.prompt;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine.Admission;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.RequestTimings;
import io.github.loomtorch.request.RequestTimings.Preemption;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Sequences that give up their pages. */
class EnginePreemptionTest extends EngineFixture {
    /** Preempts as many of the candidates as it takes, the first ones first. */
    private List<Run> preemptFor(Run waiting, Run... candidates) {
        List<Sequence> needed = engine.preemptionsFor(
                waiting.sequence,
                Arrays.stream(candidates).map(run -> run.sequence).toList());
        Run[] victims = Arrays.copyOf(candidates, needed.size());
        preempt(victims);
        return List.of(victims);
    }

    @Test
    void preemptsTheLatestSequenceWhenPagesRunOutAndLosesNoToken() {
        use(new FakeCausalLm(4, 4, 16, 64));
        List<Run> runs = List.of(admitted(request(8, 40)), admitted(request(9, 40)), admitted(request(10, 40)));
        List<Run> preempted = List.of();
        while (preempted.isEmpty()) {
            preempted = step();
        }
        assertEquals(List.of(runs.get(2)), preempted);
        Deque<Run> waiting = new ArrayDeque<>(preempted);
        int preemptions = 1;
        while (!waiting.isEmpty() || !engine.isIdle()) {
            while (!waiting.isEmpty() && tryAdmit(waiting.peek()) == Admission.ADMITTED) {
                waiting.remove();
            }
            preempted = engineStep();
            preemptions += preempted.size();
            preempted.forEach(waiting::addFirst);
        }
        assertTrue(preemptions > 1);
        assertEquals(
                preemptions,
                stats.stream().mapToInt(StepStats::preemptedSequences).sum());
        runs.forEach(Run::assertComplete);
        assertEquals(
                preemptions,
                runs.stream()
                        .mapToInt(run -> run.listener
                                .completion()
                                .timings()
                                .preemptions()
                                .size())
                        .sum());
    }

    @Test
    void tellsWhenASequenceDidNotRun() {
        use(new FakeCausalLm(4, 4, 16, 64));
        Run run = admitted(request(8, 4));
        engineStep();
        clock.advance(Duration.ofNanos(20));
        preempt(run);
        clock.advance(Duration.ofNanos(30));
        assertEquals(Admission.ADMITTED, tryAdmit(run));
        engineStep();
        clock.advance(Duration.ofNanos(20));
        preempt(run);
        clock.advance(Duration.ofNanos(20));
        engine.finish(run.sequence, FinishReason.CANCELLED);
        RequestTimings timings = run.listener.completion().timings();
        assertEquals(90, timings.finishedNanos());
        assertEquals(List.of(new Preemption(20, 50), new Preemption(70, 90)), timings.preemptions());
    }

    @Test
    void nobodyGivesWayIfThatWouldNotMakeRoom() {
        use(new FakeCausalLm(4, 4, 16, 64));
        Run low = admitted(request(7, 8)); // 3 pages, with those that it may need soon
        Run highest = admitted(request(39, 8).withPriority(9)); // 11
        Run high = sequence(request(19, 8).withPriority(1)); // 6
        assertEquals(Admission.FULL, tryAdmit(high));
        assertEquals(List.of(), preemptFor(high, low));
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
        assertEquals(Admission.FULL, tryAdmit(high));
        assertEquals(List.of(less, more), preemptFor(high, less, more, most));
        assertEquals(Admission.ADMITTED, tryAdmit(high));
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
        assertEquals(Admission.FULL, tryAdmit(high));
        assertEquals(List.of(second, first), preemptFor(high, second, first));
        assertEquals(16 - 3, engine.availablePages());
        assertEquals(Admission.ADMITTED, tryAdmit(high));
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
        assertEquals(Admission.FULL, tryAdmit(high));
        assertEquals(List.of(low), preemptFor(high, low));
        assertEquals(Admission.ADMITTED, tryAdmit(high));
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
        assertEquals(Admission.FULL, tryAdmit(high));
        assertEquals(List.of(), preemptFor(high, low));
        runToEnd();
        low.assertComplete();
    }

    @Test
    void nobodyGivesWayToWhoWouldBeDeferred() {
        config.maxPrefillTokensPerStep(4);
        use(FakeCausalLm.ofBatch(2));
        Run same = admitted(request(20, 8));
        Run other = admitted(request(3, 8));
        step();
        Run high = sequence(request(20, 8).withPriority(1));
        assertEquals(Admission.FULL, tryAdmit(high));
        assertEquals(List.of(), preemptFor(high, other, same));
        runToEnd();
    }

    @Test
    void nobodyIsPreemptedWhileAStepIsInFlight() {
        Run run = admitted(request(3, 8));
        engineStep();
        if (ahead) {
            assertEquals(
                    "no step must be in flight when a sequence is preempted",
                    assertThrows(IllegalStateException.class, () -> engine.preempt(List.of(run.sequence)))
                            .getMessage());
        }
        preempt(run);
        assertEquals(0, engine.runningSequences());
        assertEquals(4, run.sequence.length());
    }

    @Test
    void refusesToStepWithoutEnoughPages() {
        use(new FakeCausalLm(4, 4, 16, 64));
        admitted(request(8, 40));
        admitted(request(9, 40));
        admitted(request(10, 40));
        while (!engine.lacksPages()) {
            engineStep();
        }
        assertEquals(
                "pages must suffice for the next step; preempt sequences first",
                assertThrows(IllegalStateException.class, engine::step).getMessage());
        runToEnd();
    }

    @Test
    void whatPreemptedSequenceComputesAgainIsSharedAtItsRightPlace() {
        use(new FakeCausalLm(4, 4, 16, 64));
        Run low = admitted(request(13, 4));
        step();
        preempt(low);
        admitted(request(60, 4)); // takes all pages
        runToEnd();
        tryAdmit(low);
        runToEnd();
        low.assertComplete();
        int[] end = Arrays.copyOfRange(low.sequence.tokens(), 12, 17);
        Run same = admitted(new GenerationRequest(end, SamplingParams.greedy(3)));
        runToEnd();
        same.assertComplete();
    }
}
