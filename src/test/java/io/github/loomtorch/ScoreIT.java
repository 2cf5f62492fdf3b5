package io.github.loomtorch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.ScoredToken;
import io.github.loomtorch.request.TextScore;
import io.github.loomtorch.request.WordScore;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Scores on the CPU against Hugging Face's; {@code golden/scores.py} says how those were made. */
@Timeout(300)
class ScoreIT {
    private static final Path GOLDEN = Path.of("src/test/resources/golden");
    private static final double PER_TOKEN = 1e-4;
    private static final ScoreOptions ALL =
            ScoreOptions.builder().top(5).statistics(true).build();

    private static JsonNode golden;
    private static String prose;
    private static TextGenerator tales;

    @BeforeAll
    static void load() throws IOException {
        golden = JsonMapper.builder()
                .build()
                .readTree(GOLDEN.resolve("scores.json").toFile());
        prose = Files.readString(Path.of("src/test/resources/prose.txt"));
        tales = TextGenerator.builder(Path.of("models/tales"))
                .model(options().build())
                .build();
    }

    @AfterAll
    static void close() {
        tales.close();
    }

    private static ModelOptions.Builder options() {
        return ModelOptions.builder().device("cpu").dtype(Dtype.FLOAT32).maxBatchSize(8);
    }

    private static int[] ids(JsonNode node) {
        int[] ids = new int[node.size()];
        Arrays.setAll(ids, i -> node.get(i).intValue());
        return ids;
    }

    private static void assertScores(JsonNode expected, TextScore actual) {
        assertEquals(expected.size(), actual.scoredTokens());
        for (int i = 0; i < expected.size(); i++) {
            JsonNode each = expected.get(i);
            String at = "token " + (i + 1);
            PositionScore score = actual.tokens().get(i + 1).score().orElseThrow();
            PositionScore.Statistics statistics = score.statistics().orElseThrow();
            assertEquals(each.get("logprob").doubleValue(), score.logprobs().logprob(), PER_TOKEN, at);
            int rank = each.get("rank").intValue();
            assertEquals(rank, statistics.rank(), rank / 1000, at); // logits of rare tokens nearly tie
            assertEquals(each.get("entropy").doubleValue(), statistics.entropy(), PER_TOKEN, at);
            assertEquals(each.get("variance").doubleValue(), statistics.variance(), 1e-3, at);
            for (int k = 0; k < 5; k++) {
                assertEquals(
                        each.get("top").get(k).get(0).intValue(),
                        score.logprobs().top().get(k).tokenId(),
                        at);
                assertEquals(
                        each.get("top").get(k).get(1).doubleValue(),
                        score.logprobs().top().get(k).logprob(),
                        PER_TOKEN,
                        at);
            }
        }
    }

    private static void assertWindows(JsonNode expected, TextScore actual) {
        String at = "stride " + expected.get("stride");
        int scored = expected.get("scoredTokens").intValue();
        assertEquals(scored, actual.scoredTokens(), at);
        assertEquals(expected.get("sum").doubleValue(), actual.sum(), PER_TOKEN * scored / 10, at);
        double perplexity = expected.get("perplexity").doubleValue();
        assertEquals(perplexity, actual.perplexity(), 1e-4 * perplexity, at);
    }

    @Test
    void scoresOfTheEmbeddedModelAreThoseOfHuggingFace() {
        JsonNode expected = golden.get("tales");
        assertScores(expected.get("scores"), tales.score(ids(expected.get("ids")), ALL));
    }

    @Test
    void slidingWindowsAreThoseOfTheGuide() {
        for (JsonNode expected : golden.get("sliding")) {
            ScoreOptions options = ScoreOptions.builder()
                    .stride(expected.get("stride").intValue())
                    .build();
            assertWindows(expected, tales.score(prose.repeat(6), options));
        }
    }

    @Test
    void scoresOfARandomModelAreThoseOfHuggingFace() throws IOException {
        JsonNode expected = golden.get("random");
        ModelDirectory directory = ModelDirectory.open(GOLDEN.resolve("random"));
        EngineOptions cut = EngineOptions.builder().maxPrefillTokensPerStep(37).build();
        try (ContinuousScheduler scheduler = new ContinuousScheduler(
                () -> new Engine(Gpt2Loader.load(directory, options().build()), cut))) {
            TextScorer scorer = new TextScorer(new FakeTokenizer(), scheduler, 48, List.of());
            assertScores(
                    expected.get("scores"),
                    scorer.submit(ids(expected.get("ids")), ALL).join());
            for (JsonNode sliding : expected.get("sliding")) {
                ScoreOptions options = ScoreOptions.builder()
                        .stride(sliding.get("stride").intValue())
                        .build();
                assertWindows(
                        sliding,
                        scorer.submit(ids(expected.get("allIds")), options).join());
            }
        }
    }

    @Test
    void continuationsAreThoseOfTheHarness() {
        for (JsonNode expected : golden.get("continuations")) {
            String prompt = expected.get("prompt").textValue();
            TextScore score =
                    tales.scoreContinuation(prompt, expected.get("continuation").textValue(), ALL);
            assertArrayEquals(
                    ids(expected.get("tokenIds")),
                    score.tokens().stream().mapToInt(ScoredToken::tokenId).toArray(),
                    prompt);
            assertEquals(expected.get("sum").doubleValue(), score.sum(), PER_TOKEN, prompt);
            assertEquals(expected.get("isGreedy").booleanValue(), score.isGreedy(), prompt);
        }
    }

    @Test
    void spacesBeforeAContinuationAreItsOwn() {
        TextScore score = tales.scoreContinuation("The sky was", " blue", ALL);
        assertEquals(score, tales.scoreContinuation("The sky was ", "blue", ALL));
        assertEquals(5, score.bytes());
    }

    @Test
    void wordsHaveTheirCorrection() {
        JsonNode expected = golden.get("words").get("words");
        List<WordScore> words = tales.score(
                        golden.get("words").get("text").textValue(),
                        ScoreOptions.builder().words(true).build())
                .words();
        assertEquals(expected.size(), words.size());
        for (int i = 0; i < words.size(); i++) {
            assertEquals(expected.get(i).get(0).textValue(), words.get(i).text());
            assertEquals(expected.get(i).get(1).doubleValue(), words.get(i).sum(), 5e-4);
            assertEquals(expected.get(i).get(2).doubleValue(), words.get(i).logprob(), 5e-4);
        }
    }

    /** The bits that decoding reports, alone and among others. */
    @Test
    void deterministicScoresAreThoseOfDecoding() throws IOException {
        try (TextGenerator exact = TextGenerator.builder(Path.of("models/tales"))
                .model(options().deterministic(true).build())
                .build()) {
            SamplingParams sampling = SamplingParams.builder()
                    .maxNewTokens(12)
                    .seed(5)
                    .topLogprobs(3)
                    .ignoreEos(true)
                    .build();
            List<Completion> generated = new ArrayList<>();
            for (String prompt : List.of("Once", "Once upon a time", prose.substring(0, 300))) {
                generated.add(exact.generate(prompt, sampling));
            }
            List<Generation> crowd = new ArrayList<>();
            for (int round = 0; round < 2; round++) {
                for (Completion completion : generated) {
                    Generation scoring = exact.submit(scoring(completion));
                    crowd.add(scoring);
                    if (round == 0) {
                        scoring.join(); // alone
                    }
                }
            }
            for (int i = 0; i < crowd.size(); i++) {
                assertEquals(
                        generated.get(i % generated.size()).logprobs(),
                        crowd.get(i).join().promptScores().stream()
                                .map(PositionScore::logprobs)
                                .toList());
            }
        }
    }

    private static GenerationRequest scoring(Completion completion) {
        int[] prompt = completion.promptTokenIds();
        int[] output = completion.outputTokenIds();
        int[] all = Arrays.copyOf(prompt, prompt.length + output.length);
        System.arraycopy(output, 0, all, prompt.length, output.length);
        return new GenerationRequest(
                all,
                SamplingParams.builder()
                        .maxNewTokens(0)
                        .promptScoring(new PromptScoring(prompt.length, 3, false, false))
                        .build());
    }
}
