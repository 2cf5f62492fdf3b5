package io.github.loomtorch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.ChoiceScore;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.ScoredToken;
import io.github.loomtorch.request.TextScore;
import io.github.loomtorch.request.WordScore;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.StepGate;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CompletionException;
import java.util.concurrent.RejectedExecutionException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Texts of one token a character, on a fake model with a context of 64. */
@Timeout(30)
class TextScorerTest {
    private static final int CONTEXT = 64;
    private static final int END = FakeCausalLm.END_OF_TEXT;

    private FakeCausalLm lm = FakeCausalLm.ofBatch(4).unconfined();
    private final FakeTokenizer tokenizer = new FakeTokenizer();
    private ContinuousScheduler scheduler;
    private TextScorer scorer;

    @BeforeEach
    void start() throws IOException {
        start(QueueOptions.defaults());
    }

    private void start(QueueOptions queue) throws IOException {
        scheduler = new ContinuousScheduler(() -> new Engine(lm, new FakeTokenizer(), EngineOptions.defaults()), queue);
        scorer = new TextScorer(tokenizer, scheduler, CONTEXT, List.of(END));
    }

    @AfterEach
    void close() {
        scheduler.closeNow();
    }

    /** The scores of {@code ids[from, end)}, each after {@code ids[start, …)}. */
    private static List<PositionScore> expected(int[] ids, int start, int from, int end, ScoreOptions options) {
        return FakeCausalLm.expectedScores(new GenerationRequest(
                Arrays.copyOfRange(ids, start, end),
                SamplingParams.builder()
                        .maxNewTokens(0)
                        .promptScoring(
                                new PromptScoring(from - start, options.top(), options.statistics(), options.words()))
                        .build()));
    }

    private static List<Optional<PositionScore>> scores(TextScore score) {
        return score.tokens().stream().map(ScoredToken::score).toList();
    }

    private static String text(Random random, int length) {
        return random.ints(length, '!', '~').mapToObj(Character::toString).reduce("", String::concat);
    }

    private static ScoreOptions.Builder options() {
        return ScoreOptions.builder();
    }

    @Test
    void scoresAllTokensButTheFirst() {
        TextScore score = scorer.submit("abcd", ScoreOptions.defaults()).join();
        int[] ids = tokenizer.encode("abcd");
        assertArrayEquals(
                ids, score.tokens().stream().mapToInt(ScoredToken::tokenId).toArray());
        List<PositionScore> expected = expected(ids, 0, 1, 4, ScoreOptions.defaults());
        assertEquals(
                List.of(
                        Optional.empty(),
                        Optional.of(expected.get(0)),
                        Optional.of(expected.get(1)),
                        Optional.of(expected.get(2))),
                scores(score));
        double sum =
                expected.stream().mapToDouble(each -> each.logprobs().logprob()).sum();
        assertEquals(sum, score.sum());
        assertEquals(3, score.scoredTokens());
        assertEquals(sum / 3, score.mean());
        assertEquals(Math.exp(-sum / 3), score.perplexity());
        assertEquals(4, score.bytes());
        assertEquals(-sum / (4 * Math.log(2)), score.bitsPerByte(), 1e-9);
        assertEquals(FinishReason.LENGTH, score.finishReason());
    }

    @Test
    void scoresTheFirstTokenAfterEndOfText() {
        ScoreOptions options = options().endOfTextInFront(true).build();
        int[] ids = {END, 5};
        TextScore score = scorer.submit(new int[] {5}, options).join();
        assertEquals(List.of(Optional.of(expected(ids, 0, 1, 2, options).getFirst())), scores(score));
    }

    /** As the guide's loop has it: each token once, in the first window that reaches it. */
    @Test
    void slidesTheWindowOverLongTexts() {
        Random random = new Random(3);
        for (int round = 0; round < 60; round++) {
            int stride = round < 4 ? CONTEXT : 1 + random.nextInt(CONTEXT);
            ScoreOptions options = options()
                    .stride(stride)
                    .top(random.nextInt(3))
                    .statistics(random.nextBoolean())
                    .build();
            String text = text(random, 2 + random.nextInt(400));
            int[] ids = tokenizer.encode(text);
            List<Optional<PositionScore>> expected = new ArrayList<>();
            int previousEnd = 0;
            for (int begin = 0; begin < ids.length; begin += stride) {
                int end = Math.min(begin + CONTEXT, ids.length);
                if (previousEnd == begin) {
                    expected.add(Optional.empty()); // the first of a window
                    previousEnd++;
                }
                if (previousEnd < end) {
                    expected(ids, begin, previousEnd, end, options).forEach(each -> expected.add(Optional.of(each)));
                }
                previousEnd = end;
                if (end == ids.length) {
                    break;
                }
            }
            assertEquals(expected, scores(scorer.submit(text, options).join()), "stride " + stride);
        }
    }

    @Test
    void tellsBytesAndCharactersOfEachToken() {
        // a 你 (three tokens) ab
        TextScore score = scorer.submit(new int[] {64, 94, 95, 96, 97}, ScoreOptions.defaults())
                .join();
        assertEquals(
                List.of("0-1 0-1", "1-2 1-2", "2-3 1-2", "3-4 1-2", "4-6 2-4"),
                score.tokens().stream()
                        .map(token -> token.byteStart() + "-" + token.byteEnd() + " " + token.charStart() + "-"
                                + token.charEnd())
                        .toList());
        assertEquals(6, score.bytes());
    }

    @Test
    void scoresContinuationAlone() {
        TextScore score =
                scorer.submitContinuation("abc", "de", ScoreOptions.defaults()).join();
        int[] ids = tokenizer.encode("abcde");
        assertEquals(
                expected(ids, 0, 3, 5, ScoreOptions.defaults()),
                score.tokens().stream()
                        .map(token -> token.score().orElseThrow())
                        .toList());
        assertEquals(2, score.bytes());
        assertEquals(0, score.tokens().getFirst().byteStart());
    }

    @Test
    void readsTheEndOfAPromptThatIsTooLong() {
        String prompt = text(new Random(5), 100);
        TextScore score = scorer.submitContinuation(prompt, "xyz", ScoreOptions.defaults())
                .join();
        int[] ids = tokenizer.encode(prompt + "xyz");
        int[] read = Arrays.copyOfRange(ids, ids.length - CONTEXT - 1, ids.length);
        assertEquals(
                expected(read, 0, read.length - 3, read.length, ScoreOptions.defaults()),
                score.tokens().stream()
                        .map(token -> token.score().orElseThrow())
                        .toList());
    }

    @Test
    void choosesAmongContinuationsAndComputesThePromptOnce() {
        String prompt = text(new Random(6), 40);
        List<ChoiceScore> choices = scorer.choose(prompt, List.of("ab", "cde", "f"));
        assertEquals(
                List.of("ab", "cde", "f"),
                choices.stream().map(ChoiceScore::choice).toList());
        for (ChoiceScore choice : choices) {
            TextScore alone = scorer.submitContinuation(
                            prompt, choice.choice(), options().statistics(true).build())
                    .join();
            double unconditional = scorer.submitContinuation("", choice.choice(), ScoreOptions.defaults())
                    .join()
                    .sum();
            assertEquals(alone, choice.score());
            assertEquals(unconditional, choice.unconditionalSum().orElseThrow());
            assertEquals(choice.sum() - unconditional, choice.normalised().orElseThrow());
            assertEquals(choice.sum() / choice.choice().length(), choice.perByte());
            assertEquals(choice.perByte(), choice.perToken()); // one token a byte
            assertFalse(choice.score().isGreedy());
        }
        // Pages of 4: 36 tokens of the prompt are shared, and positions from 39 on are computed by each choice.
        assertTrue(lm.computedTokens() < 2 * 40 + 100, "computed " + lm.computedTokens());
    }

    @Test
    void scoresManyTextsThroughASmallQueue() throws IOException {
        scheduler.close();
        lm = FakeCausalLm.ofBatch(4).unconfined();
        start(QueueOptions.builder().maxQueuedRequests(1).build());
        Random random = new Random(7);
        List<String> texts = IntStream.range(0, 40)
                .mapToObj(i -> text(random, 2 + random.nextInt(60)))
                .toList();
        List<TextScore> scores = scorer.scoreAll(texts, ScoreOptions.defaults());
        for (int i = 0; i < texts.size(); i++) {
            assertEquals(scorer.submit(texts.get(i), ScoreOptions.defaults()).join(), scores.get(i));
        }
    }

    @Test
    void scoresATextOfMoreWindowsThanTheQueueHasRoomFor() throws IOException {
        String text = text(new Random(8), 400);
        ScoreOptions options = options().stride(4).build();
        TextScore expected = scorer.submit(text, options).join();
        scheduler.close();
        lm = FakeCausalLm.ofBatch(2).unconfined();
        start(QueueOptions.builder().maxQueuedRequests(1).build());
        assertEquals(expected, scorer.submit(text, options).join());
        assertEquals(List.of(expected, expected), scorer.scoreAll(List.of(text, text), options));
        List<String> choices = IntStream.range(0, 20).mapToObj(i -> "a" + i).toList();
        assertEquals(
                choices,
                scorer.choose("abc", choices).stream().map(ChoiceScore::choice).toList());
    }

    @Test
    void aQueueFullOfOtherRequestsRefuses() throws Exception {
        scheduler.close();
        StepGate gate = new StepGate();
        lm = FakeCausalLm.ofBatch(1).unconfined().onAwait(chunks -> gate.pass());
        start(QueueOptions.builder().maxQueuedRequests(1).build());
        GenerationRequest other = new GenerationRequest(new int[] {1}, SamplingParams.greedy(1));
        Generation running = scheduler.submit(other);
        gate.awaitStep();
        Generation waiting = scheduler.submit(other);
        assertThrows(
                RejectedExecutionException.class,
                () -> scorer.scoreAll(List.of("abc", "def"), ScoreOptions.defaults()));
        gate.open();
        running.join();
        waiting.join();
    }

    @Test
    void theTimeoutIsOfTheWholeText() {
        Duration whole = Duration.ofMinutes(1);
        List<Duration> timeouts = new ArrayList<>();
        Scheduler recording = (Scheduler) Proxy.newProxyInstance(
                Scheduler.class.getClassLoader(), new Class<?>[] {Scheduler.class}, (proxy, method, arguments) -> {
                    timeouts.add(((GenerationRequest) arguments[0]).timeout().orElseThrow());
                    return method.invoke(scheduler, arguments);
                });
        new TextScorer(tokenizer, recording, CONTEXT, List.of(END))
                .submit(
                        text(new Random(8), 400),
                        options().stride(4).timeout(whole).build())
                .join();
        assertEquals(85, timeouts.size());
        assertEquals(timeouts.stream().sorted(Comparator.reverseOrder()).toList(), timeouts);
        assertTrue(timeouts.getLast().compareTo(whole) < 0);
    }

    @Test
    void aModelsOwnEndOfTextEndsAWord() {
        scorer = new TextScorer(tokenizer, scheduler, CONTEXT, List.of(tokenizer.encode("c")[0]));
        TextScore score = scorer.submit("abcde", options().words(true).build()).join();
        assertEquals(List.of("de"), score.words().stream().map(WordScore::text).toList());
        scorer = new TextScorer(tokenizer, scheduler, CONTEXT, List.of(END));
        assertEquals(
                List.of(),
                scorer.submit("abcde", options().words(true).build())
                        .join()
                        .words()); // one, whose first token has no score
    }

    @Test
    void failsAndCancelsAsAGeneration() {
        lm.failing(sequence -> sequence.promptLength() == 10 ? new IllegalStateException("broken") : null);
        Scoring failing = scorer.submit("0123456789", ScoreOptions.defaults());
        assertEquals(
                "broken",
                assertThrows(CompletionException.class, failing::join)
                        .getCause()
                        .getMessage());
        Scoring done = scorer.submit("01234567", ScoreOptions.defaults());
        done.join();
        assertEquals(7, done.totalTokens());
        assertEquals(7, done.computedTokens());
    }

    private void assertRefused(String message, Runnable call) {
        assertEquals(
                message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
    }

    @Test
    void refusesWhatCannotBeScored() {
        ScoreOptions defaults = ScoreOptions.defaults();
        assertRefused("text must not be empty", () -> scorer.submit("", defaults));
        assertRefused(
                "text must have at least 2 tokens, or 1 with endOfTextInFront, got 1",
                () -> scorer.submit("a", defaults));
        assertRefused(
                "text must have at least 1 token, got none",
                () -> scorer.submit(new int[0], options().endOfTextInFront(true).build()));
        assertRefused("ids[1] must be in [0, 100), got 100", () -> scorer.submit(new int[] {1, 100}, defaults));
        assertRefused("ids[0] must be in [0, 100), got -1", () -> scorer.submit(new int[] {-1, 1}, defaults));
        assertRefused("continuation must not be empty", () -> scorer.submitContinuation("a", "", defaults));
        assertRefused(
                "continuation must have at most 64 tokens, got 65",
                () -> scorer.submitContinuation("a", text(new Random(1), 65), defaults));
        assertRefused("choices must hold at least one, got none", () -> scorer.choose("a", List.of()));
        assertRefused("stride must be >= 1, got 0", () -> options().stride(0).build());
        assertRefused(
                "stride must be in [1, contextLength (64)], got 65",
                () -> scorer.submit("ab", options().stride(65).build()));
        assertRefused(
                "top must be in [0, 20], got 21",
                () -> scorer.submit("ab", options().top(21).build()));
    }
}
