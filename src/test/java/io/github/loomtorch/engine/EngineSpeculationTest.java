package io.github.loomtorch.engine;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.atomic.LongAdder;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Candidates change how many steps a request takes, and nothing else. */
class EngineSpeculationTest extends EngineFixture {
    private static SamplingParams.Builder greedy(int maxNewTokens) {
        return SamplingParams.builder()
                .maxNewTokens(maxNewTokens)
                .temperature(0)
                .ignoreEos(true);
    }

    private int stepsOf(SamplingParams sampling) {
        use(new FakeCausalLm(2, 16, 8, 64).drawing());
        int before = lm.steps();
        Run run = admitted(new GenerationRequest(new int[] {3, 4, 5}, sampling));
        runToEnd();
        assertEquals(sampling.maxNewTokens(), run.listener.completion().outputTokenIds().length);
        return lm.steps() - before;
    }

    @Test
    void textThatRepeatsItselfTakesFewerSteps() {
        int without = stepsOf(greedy(60).build());
        int with = stepsOf(greedy(60).speculation(1, 4).build());
        assertEquals(60, without);
        assertTrue(with < 30, with + " steps"); // greedy text of a Markov chain is a loop
    }

    @Test
    void aDeterministicModelVerifiesInTheRowsThatAreLeftOver() throws StepFailedException {
        for (int rows : List.of(0, 1, 2, 4)) {
            use(new FakeCausalLm(2, 16, 8, 64).drawing());
            engine = engine(deterministic(lm, rows));
            Run run = admitted(new GenerationRequest(
                    new int[] {3, 4, 5}, greedy(60).speculation(1, 8).build()));
            int before = lm.steps();
            runToEnd();
            int steps = lm.steps() - before;
            assertEquals(60, run.listener.completion().outputTokenIds().length);
            assertTrue(rows <= 1 ? steps == 60 : steps < 60 * 1.5 / rows, steps + " steps of " + rows + " rows");
        }
    }

    @Test
    @Timeout(120)
    void tenThousandRandomRequestsYieldTheSameWithAndWithoutCandidates() throws StepFailedException {
        Random random = new Random(2);
        LongAdder candidates = new LongAdder();
        LongAdder accepted = new LongAdder();
        config.listener(step -> {
            candidates.add(step.candidateTokens());
            accepted.add(step.acceptedTokens());
            stats.add(step);
        });
        for (int round = 0; round < 400; round++) {
            List<GenerationRequest> requests =
                    IntStream.range(0, 25).mapToObj(i -> random(random)).toList();
            List<Completion> without = run(random, requests, false);
            List<Completion> with = run(random, requests, true);
            for (int i = 0; i < requests.size(); i++) {
                assertArrayEquals(without.get(i).outputTokenIds(), with.get(i).outputTokenIds());
                assertEquals(without.get(i).text(), with.get(i).text());
                assertEquals(without.get(i).finishReason(), with.get(i).finishReason());
                assertEquals(without.get(i).logprobs(), with.get(i).logprobs());
                assertEquals(without.get(i).promptScores(), with.get(i).promptScores());
                if (requests.get(i).sampling().stopStrings().isEmpty()) {
                    assertArrayEquals(
                            FakeCausalLm.expectedDraws(
                                    requests.get(i), with.get(i).seed()),
                            with.get(i).outputTokenIds());
                }
            }
        }
        assertTrue(
                accepted.sum() > 10_000 && candidates.sum() - accepted.sum() > 10_000,
                accepted + " of " + candidates + " candidates were accepted");
    }

    private List<Completion> run(Random random, List<GenerationRequest> requests, boolean speculate)
            throws StepFailedException {
        int batch = 1 + random.nextInt(4);
        int pageSize = 1 << random.nextInt(5);
        use(new FakeCausalLm(batch, pageSize, (64 + random.nextInt(64)) / pageSize, 64).drawing());
        config.maxPrefillTokensPerStep(1 + random.nextInt(30)).maxPrefillTokensBesideDecode(1 + random.nextInt(30));
        engine = random.nextInt(3) == 0 ? engine(deterministic(lm, random.nextInt(2 * batch))) : engine();
        List<Run> runs = new ArrayList<>();
        for (GenerationRequest request : requests) {
            SamplingParams sampling = speculate
                    ? request.sampling().toBuilder()
                            .speculation(1 + random.nextInt(2), 1 + random.nextInt(6))
                            .build()
                    : request.sampling();
            runs.add(sequence(request.withSampling(sampling)));
        }
        runToEnd(runs, random, 20);
        return runs.stream().map(run -> run.listener.completion()).toList();
    }

    private static GenerationRequest random(Random random) {
        int[] prompt = random.ints(1 + random.nextInt(30), 0, 20).toArray();
        SamplingParams.Builder sampling = SamplingParams.builder()
                .maxNewTokens(1 + random.nextInt(34))
                .temperature(random.nextInt(3) / 2f)
                .seed(random.nextLong())
                .ignoreEos(random.nextBoolean());
        if (random.nextInt(3) == 0) {
            sampling.topK(1 + random.nextInt(10))
                    .topP(0.5f + random.nextFloat() / 2)
                    .minP(random.nextFloat() / 10);
        }
        if (random.nextInt(3) == 0) {
            sampling.repetitionPenalty(1 + random.nextFloat() / 4)
                    .presencePenalty(random.nextFloat() / 2)
                    .frequencyPenalty(random.nextFloat() / 4);
        }
        if (random.nextInt(4) == 0) {
            sampling.stopStrings(List.of(Character.toString('!' + random.nextInt(90)), "ab"))
                    .stopTokenIds(Set.of(random.nextInt(90)));
        }
        if (random.nextInt(4) == 0) {
            sampling.minNewTokens(random.nextInt(sampling.build().maxNewTokens() + 1));
        }
        if (random.nextInt(4) == 0) {
            sampling.allowedTokenIds(
                    random.ints(5 + random.nextInt(60), 0, 94).boxed().collect(Collectors.toSet()));
        }
        if (random.nextInt(4) == 0) {
            sampling.badWordIds(IntStream.range(0, random.nextInt(20))
                    .mapToObj(i ->
                            random.ints(1 + random.nextInt(3), 0, 94).boxed().toList())
                    .toList());
        }
        if (random.nextInt(4) == 0) {
            sampling.topLogprobs(0).logitBias(Map.of(random.nextInt(100), 3f));
        }
        if (prompt.length > 1 && random.nextInt(4) == 0) {
            sampling.promptScoring(PromptScoring.from(1 + random.nextInt(prompt.length - 1)));
        }
        return new GenerationRequest(prompt, sampling.build());
    }
}
