package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.prompt;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.testing.FakeCausalLm;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** What a step computes, and what it costs. */
class EngineStepTest extends EngineFixture {
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
        engineStep();
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
    void publishesTokensWhileTheDeviceComputesTheNextOnes() {
        Run run = admitted(request(3, 3));
        List<Integer> seen = new ArrayList<>();
        lm.onLaunch(chunks -> seen.add(run.listener.events().size()))
                .onAwait(chunks -> seen.add(run.listener.events().size()));
        runToEnd();
        assertEquals(ahead ? List.of(0, 0, 0, 0, 1, 2) : List.of(0, 0, 0, 1, 1, 2), seen);
        assertEquals(3, run.listener.events().size());
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
        assertEquals(
                completion.logprobs(),
                asking.listener.events().stream()
                        .map(event -> event.logprobs().orElseThrow())
                        .toList());
    }

    @Test
    void measuresTimes() {
        lm.onAwait(chunks -> clock.advance(Duration.ofNanos(100)));
        Run run = sequence(request(3, 4));
        clock.advance(Duration.ofNanos(7));
        tryAdmit(run);
        runToEnd();
        Completion completion = run.listener.completion();
        assertEquals(0, completion.timings().submittedNanos());
        assertEquals(7, completion.timings().startedNanos());
        assertEquals(107, completion.timings().ttftNanos());
        assertEquals(407, completion.timings().e2elNanos());
        assertEquals(100, stats.getFirst().durationNanos());
    }

    @Test
    void stepOfNothingDoesNothing() {
        engineStep();
        assertEquals(0, stats.size());
        assertEquals(0, lm.steps());
    }
}
