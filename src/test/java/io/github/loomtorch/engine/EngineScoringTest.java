package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.prompt;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Prompts that are scored, alone or before they are continued. */
class EngineScoringTest extends EngineFixture {
    private static GenerationRequest scoring(int[] prompt, PromptScoring scoring, int maxNewTokens) {
        return new GenerationRequest(
                prompt,
                SamplingParams.builder()
                        .maxNewTokens(maxNewTokens)
                        .temperature(0)
                        .ignoreEos(true)
                        .promptScoring(scoring)
                        .build());
    }

    private static GenerationRequest scoring(int promptLength, int firstToken, int maxNewTokens) {
        return scoring(prompt(promptLength), PromptScoring.from(firstToken), maxNewTokens);
    }

    private static void assertScored(Run run) {
        assertEquals(
                FakeCausalLm.expectedScores(run.sequence.request()),
                run.listener.completion().promptScores());
        assertEquals(FinishReason.LENGTH, run.listener.completion().finishReason());
        run.assertComplete();
    }

    @Test
    void scoresPromptWithoutContinuingIt() {
        Run run = admitted(scoring(10, 1, 0));
        runToEnd();
        assertScored(run);
        assertEquals(9, run.listener.completion().promptScores().size());
        assertEquals(1, lm.steps());
        assertEquals(9, lm.computedTokens()); // nothing is wanted after the last
    }

    @Test
    void scoresAndContinuesInOneRequest() {
        Run run = admitted(scoring(10, 3, 5));
        runToEnd();
        assertScored(run);
        assertEquals(10 + 4, lm.computedTokens());
    }

    @Test
    void reportsWhatIsAskedFor() {
        PromptScoring all = new PromptScoring(1, 3, true, true);
        Run run = admitted(scoring(prompt(6), all, 0));
        runToEnd();
        assertScored(run);
        var score = run.listener.completion().promptScores().getFirst();
        assertEquals(3, score.logprobs().top().size());
        assertTrue(score.statistics().isPresent() && score.wordStartLogprob().isPresent());
    }

    @Test
    void reusesPagesBeforeTheFirstScoredTokenOnly() {
        admitted(scoring(20, 1, 0));
        runToEnd();
        long computed = lm.computedTokens();
        Run second = admitted(scoring(20, 10, 0)); // position 9 is wanted: two pages of 4 are before it
        runToEnd();
        assertEquals(19 - 8, lm.computedTokens() - computed);
        assertScored(second);
        Run third = admitted(scoring(20, 9, 0)); // position 8
        runToEnd();
        assertEquals(2 * (19 - 8), lm.computedTokens() - computed);
        assertScored(third);
    }

    @Test
    void keepsScoresWhenPreempted() {
        config.maxPrefillTokensPerStep(6);
        engine = engine();
        Run run = admitted(scoring(20, 1, 3));
        step();
        step();
        preempt(run);
        assertTrue(run.sequence.output().promptScores() >= 12);
        tryAdmit(run);
        runToEnd();
        assertScored(run);
    }

    @Test
    void scoresTokensAfterThePrefixOneByOneOnDeterministicModel() {
        List<List<Integer>> counts = new ArrayList<>();
        lm.onLaunch(chunks -> counts.add(chunks.stream().map(Chunk::count).toList()));
        engine = engine(deterministic(lm));
        Run first = admitted(scoring(8, 5, 0));
        Run second = admitted(scoring(7, 1, 2));
        runToEnd();
        assertScored(first);
        assertScored(second);
        assertEquals(
                List.of(
                        List.of(1, 5),
                        List.of(1, 1),
                        List.of(1, 1),
                        List.of(1),
                        List.of(1),
                        List.of(1),
                        List.of(1),
                        List.of(1)),
                counts);
    }

    @Test
    void onePromptMayExceedTheContextByTheTokenThatIsOnlyScored() {
        Run run = admitted(scoring(65, 1, 0));
        runToEnd();
        assertScored(run);
        assertEquals(
                "promptTokenIds must hold at most contextLength + 1 (65) tokens to be scored, got 66",
                assertThrows(IllegalArgumentException.class, () -> sequence(scoring(66, 1, 0)))
                        .getMessage());
        assertEquals(
                "promptTokenIds (64) + maxNewTokens (1) must be <= contextLength (64), got 65",
                assertThrows(IllegalArgumentException.class, () -> sequence(scoring(64, 1, 1)))
                        .getMessage());
    }

    @Test
    void cancelledScoringHasTheScoresSoFar() {
        config.maxPrefillTokensPerStep(4);
        engine = engine();
        Run run = admitted(scoring(20, 3, 0));
        step();
        run.sequence.cancel();
        runToEnd();
        var completion = run.listener.completion();
        assertEquals(FinishReason.CANCELLED, completion.finishReason());
        int scored = completion.promptScores().size();
        assertTrue(scored >= 2 && scored < 17, "scored " + scored);
        assertEquals(FakeCausalLm.expectedScores(run.sequence.request()).subList(0, scored), completion.promptScores());
    }

    @Test
    void needsTokenizerForWordStarts() {
        try (Engine bare = new Engine(FakeCausalLm.ofBatch(1), config.build())) {
            GenerationRequest request = scoring(prompt(4), new PromptScoring(1, 0, false, true), 0);
            assertEquals(
                    "wordStarts must be false where there is no tokenizer, got true",
                    assertThrows(IllegalArgumentException.class, () -> bare.newSequence(request, SequenceListener.NONE))
                            .getMessage());
        }
    }

    /** Whatever runs beside, is shared, cut or preempted. */
    @Test
    void randomRequestsGetTheScoresThatTheyGetAlone() throws StepFailedException {
        Random random = new Random(16);
        for (int round = 0; round < 60; round++) {
            int batch = 1 + random.nextInt(4);
            use(new FakeCausalLm(batch, 4, 16 + random.nextInt(16), 64));
            config.maxPrefillTokensPerStep(1 + random.nextInt(30)).maxPrefillTokensBesideDecode(1 + random.nextInt(30));
            engine = random.nextInt(3) == 0 ? engine(deterministic(lm)) : engine();
            List<Run> all = new ArrayList<>();
            for (int i = 0; i < 12; i++) {
                all.add(sequence(random(random)));
            }
            runToEnd(all, random, 10);
            all.forEach(EngineScoringTest::assertScored);
        }
    }

    private static GenerationRequest random(Random random) {
        int[] prompt = random.ints(2 + random.nextInt(40), 0, 90).toArray();
        Arrays.fill(prompt, 0, random.nextInt(prompt.length + 1), 5); // prompts often begin alike
        PromptScoring scoring = new PromptScoring(
                1 + random.nextInt(prompt.length - 1), random.nextInt(3), random.nextBoolean(), random.nextBoolean());
        return scoring(prompt, scoring, random.nextInt(4));
    }
}
