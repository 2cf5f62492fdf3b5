package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.prompt;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** How a sequence ends. */
class EngineEndTest extends EngineFixture {
    @Test
    void stopsAtTheEndOfText() {
        GenerationRequest request = requestWhoseOutput(
                ids -> ids.length == 3, SamplingParams.builder().maxNewTokens(9).build());
        Run run = admitted(request);
        runToEnd();
        run.assertComplete();
        assertEquals(FinishReason.STOP, run.listener.completion().finishReason());
        assertFalse(run.listener.text().contains("<|endoftext|>"));
        SamplingParams ignoring = request.sampling().toBuilder().ignoreEos(true).build();
        Run longer = admitted(new GenerationRequest(request.promptTokenIds(), ignoring));
        runToEnd();
        longer.assertComplete();
        assertEquals(9, longer.listener.completion().outputTokenIds().length);
        assertFalse(longer.listener.text().contains("<|endoftext|>"));
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
        GenerationRequest request = requestWhoseOutput(
                ids -> ids.length >= 5 && Arrays.stream(ids, 0, 5).allMatch(id -> id < 94), // printable ASCII
                SamplingParams.builder().maxNewTokens(9).build());
        int[] five = Arrays.copyOf(output(request), 5);
        String text = new FakeTokenizer().decode(five);
        SamplingParams stopping = request.sampling().toBuilder()
                .stopStrings(List.of(text.substring(2, 5), "no such text"))
                .build();
        Run run = admitted(new GenerationRequest(request.promptTokenIds(), stopping));
        runToEnd();
        Completion completion = run.listener.completion();
        assertEquals(FinishReason.STOP, completion.finishReason());
        assertArrayEquals(five, completion.outputTokenIds());
        assertEquals(text.substring(0, 2), completion.text());
        assertEquals(
                List.of(text.substring(0, 1), text.substring(1, 2), "", "", ""),
                run.listener.events().stream().map(TokenEvent::text).toList());
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
    void ignoredEndOfTextTokensKeepTheirTextUnlessTheyAreSpecial() {
        SamplingParams ignoring =
                SamplingParams.builder().maxNewTokens(8).ignoreEos(true).build();
        GenerationRequest request = new GenerationRequest(new int[] {3, 1, 4}, ignoring);
        int[] whole = output(request);
        int[] ends = IntStream.of(whole[2], whole[4], FakeCausalLm.END_OF_TEXT)
                .distinct()
                .sorted()
                .toArray();
        use(FakeCausalLm.ofBatch(4).endOfTextIds(ends));
        Run run = admitted(request);
        runToEnd();
        assertArrayEquals(whole, run.listener.completion().outputTokenIds());
        assertEquals(
                new FakeTokenizer()
                        .decode(Arrays.stream(whole)
                                .filter(id -> id != FakeCausalLm.END_OF_TEXT)
                                .toArray()),
                run.listener.completion().text());
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
        engineStep();
        preempt(low);
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
        engineStep();
        preempt(run);
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
        GenerationRequest request =
                requestWhoseOutput(ids -> ids[0] == 94, SamplingParams.greedy(8)); // the first byte of three
        Run run = preemptedAfterOneToken(request);
        admitted(request(60, 1));
        runToEnd();
        engine.finish(run.sequence, FinishReason.CANCELLED);
        assertEquals("\uFFFD", run.listener.completion().text());
    }

    @Test
    void closeStopsWhatRunsAndClosesTheModelOnce() {
        Run run = admitted(request(9, 8));
        engineStep();
        engine.close();
        engine.close();
        assertFalse(run.sequence.isRunning());
        assertEquals(0, lm.stepsInFlight());
        assertEquals(1, lm.closes());
        Sequence late = sequence(request(1, 1)).sequence;
        assertEquals(
                "engine is closed",
                assertThrows(IllegalStateException.class, () -> engine.tryAdmit(late))
                        .getMessage());
    }
}
