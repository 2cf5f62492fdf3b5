package io.github.loomtorch;

import io.github.loomtorch.engine.WordStarts;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.ChoiceScore;
import io.github.loomtorch.request.Completion;
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
import io.github.loomtorch.tokenizer.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** Scores texts by requests that are not continued, one for each window of a text. Thread-safe. */
final class TextScorer {
    /*
     * Long texts go through a sliding window [1]. Where a prompt and its continuation meet, tokens are cut as EleutherAI's harness does
     * it [2]: both are encoded together, the prompt alone too, and the continuation's tokens are those behind as many as the prompt has.
     *
     * [1] Perplexity of fixed-length models, https://huggingface.co/docs/transformers/perplexity
     * [2] lm_eval/api/model.py, TemplateLM._encode_pair, https://github.com/EleutherAI/lm-evaluation-harness
     */

    private static final int NO_TOKEN = -1;

    private final Tokenizer tokenizer;
    private final Scheduler scheduler;
    private final int contextLength;
    private final int endOfTextId; // of the tokenizer, to put before a text; NO_TOKEN if there is none
    private final WordStarts wordStarts;

    TextScorer(Tokenizer tokenizer, Scheduler scheduler, int contextLength, List<Integer> endOfTextIds) {
        this.tokenizer = tokenizer;
        this.scheduler = scheduler;
        this.contextLength = contextLength;
        endOfTextId = tokenizer.endOfTextId();
        wordStarts = new WordStarts(
                tokenizer, endOfTextIds.stream().mapToInt(id -> id).toArray());
    }

    /** Tokens, of which the first ones are context only; and how many bytes the text of the others has. */
    private record Text(int[] ids, int contextTokens, long bytes) {}

    /**
     * Tokens {@code [start, end)} of a text, of which those from {@code firstToken} on, counted from its start, are
     * scored.
     */
    private record Window(int start, int end, int firstToken) {}

    Scoring submit(String text, ScoreOptions options) {
        return submit(text, options, new RequestGroup(scheduler));
    }

    private Scoring submit(String text, ScoreOptions options, RequestGroup group) {
        if (text.isEmpty()) {
            throw new IllegalArgumentException("text must not be empty");
        }
        return submit(tokenizer.encode(text), text.getBytes(StandardCharsets.UTF_8).length, options, group);
    }

    Scoring submit(int[] ids, ScoreOptions options) {
        for (int i = 0; i < ids.length; i++) {
            if (ids[i] < 0 || ids[i] >= tokenizer.vocabSize()) {
                throw new IllegalArgumentException(
                        "ids[" + i + "] must be in [0, " + tokenizer.vocabSize() + "), got " + ids[i]);
            }
        }
        return submit(ids, new TokenSpans(tokenizer, ids).length(), options, new RequestGroup(scheduler));
    }

    private Scoring submit(int[] ids, long bytes, ScoreOptions options, RequestGroup group) {
        boolean inFront = options.endOfTextInFront();
        if (ids.length < (inFront ? 1 : 2)) {
            throw new IllegalArgumentException(
                    inFront
                            ? "text must have at least 1 token, got none"
                            : "text must have at least 2 tokens, or 1 with endOfTextInFront, got " + ids.length);
        }
        return submit(inFront ? afterEndOfText(ids, bytes) : new Text(ids, 0, bytes), options, group);
    }

    private Text afterEndOfText(int[] ids, long bytes) {
        if (endOfTextId == NO_TOKEN) {
            throw new IllegalArgumentException("endOfTextInFront must be false where the tokenizer has no such token");
        }
        return new Text(concatenate(new int[] {endOfTextId}, ids), 1, bytes);
    }

    private Scoring submit(Text text, ScoreOptions options, RequestGroup group) {
        List<Window> windows = windows(text, options);
        List<Generation> generations = new ArrayList<>(windows.size());
        long tokens = 0;
        long start = System.nanoTime();
        for (Window window : windows) {
            Optional<Duration> timeout = options.timeout().map(whole -> {
                Duration left = whole.minusNanos(System.nanoTime() - start);
                return left.isPositive() ? left : Duration.ofNanos(1);
            });
            GenerationRequest request = request(text, window, options, timeout);
            generations.add(group.submit(request));
            tokens += request.promptTokenIds().length - 1; // the last is not computed
        }
        return new Scoring(generations, tokens, completions -> score(text, windows, completions, options));
    }

    /** Waits for a score; a naive scheduler would wait for its batch to fill. */
    TextScore join(Scoring scoring) {
        scheduler.flush();
        return scoring.join();
    }

    private List<Window> windows(Text text, ScoreOptions options) {
        int stride = options.stride().orElse(Math.max(1, contextLength / 2));
        if (stride > contextLength) {
            throw new IllegalArgumentException(
                    "stride must be in [1, contextLength (" + contextLength + ")], got " + stride);
        }
        int length = text.ids().length;
        int longest = Math.max(contextLength, text.contextTokens() > 0 ? maxTokens(options) : 0);
        List<Window> windows = new ArrayList<>();
        int scoredEnd = Math.max(1, text.contextTokens());
        for (int start = 0; scoredEnd < length; start += stride) {
            int end = length <= longest ? length : Math.min(start + contextLength, length);
            int firstToken = Math.max(1, scoredEnd - start);
            if (firstToken < end - start) {
                windows.add(new Window(start, end, firstToken));
            }
            scoredEnd = end;
        }
        return windows;
    }

    /** Tokens of a request: the last is not computed, so that it may exceed the context. */
    private int maxTokens(ScoreOptions options) {
        return options.words() ? contextLength : contextLength + 1; // for words, one more follows
    }

    private static GenerationRequest request(
            Text text, Window window, ScoreOptions options, Optional<Duration> timeout) {
        int[] prompt = Arrays.copyOfRange(text.ids(), window.start(), window.end());
        if (options.words() && window.end() == text.ids().length) {
            prompt =
                    concatenate(prompt, new int[] {0}); // any token: whether a word begins there tells if the last ends
        }
        SamplingParams sampling = SamplingParams.builder()
                .maxNewTokens(0)
                .promptScoring(
                        new PromptScoring(window.firstToken(), options.top(), options.statistics(), options.words()))
                .build();
        return new GenerationRequest(prompt, sampling, options.priority(), timeout);
    }

    private TextScore score(Text text, List<Window> windows, List<Completion> completions, ScoreOptions options) {
        int length = text.ids().length;
        @Nullable PositionScore[] scores = new PositionScore[length + 1]; // after the text too, for words
        FinishReason reason = FinishReason.LENGTH;
        for (int i = 0; i < windows.size(); i++) {
            int position = windows.get(i).start() + windows.get(i).firstToken();
            for (PositionScore score : completions.get(i).promptScores()) {
                scores[position++] = score;
            }
            if (completions.get(i).finishReason() != FinishReason.LENGTH) {
                reason = completions.get(i).finishReason();
            }
        }
        int first = text.contextTokens();
        int[] ids = Arrays.copyOfRange(text.ids(), first, length);
        TokenSpans spans = new TokenSpans(tokenizer, ids);
        List<ScoredToken> tokens = new ArrayList<>(ids.length);
        for (int i = 0; i < ids.length; i++) {
            tokens.add(new ScoredToken(
                    ids[i],
                    Optional.ofNullable(scores[first + i]),
                    spans.byteStart(i),
                    spans.byteEnd(i),
                    spans.charStart(i),
                    spans.charEnd(i)));
        }
        List<WordScore> words =
                options.words() ? words(ids, Arrays.copyOfRange(scores, first, length + 1), spans) : List.of();
        return new TextScore(tokens, words, text.bytes(), reason);
    }

    /** {@code scores} has one more than there are tokens. */
    private List<WordScore> words(int[] ids, @Nullable PositionScore[] scores, TokenSpans spans) {
        List<WordScore> words = new ArrayList<>();
        int start = 0;
        for (int end = 1; end <= ids.length; end++) {
            boolean isBorder = end == ids.length || wordStarts.begins(ids[end]) || wordStarts.endsText(ids[end - 1]);
            if (isBorder && !spans.text(start, end).isEmpty()) { // else white space, which belongs to what follows
                if (!wordStarts.endsText(ids[end - 1])) {
                    word(ids, start, end, scores, spans.text(start, end)).ifPresent(words::add);
                }
                start = end;
            }
        }
        return words;
    }

    private Optional<WordScore> word(int[] ids, int start, int end, @Nullable PositionScore[] scores, String text) {
        double sum = 0;
        for (int i = start; i <= end; i++) {
            PositionScore score = scores[i];
            if (score == null) {
                return Optional.empty();
            }
            sum += i < end ? score.logprobs().logprob() : 0;
        }
        double correction =
                wordStartLogprob(scores[end]) - (wordStarts.begins(ids[start]) ? wordStartLogprob(scores[start]) : 0);
        return Optional.of(new WordScore(text, start, end - start, sum, sum + correction));
    }

    private static double wordStartLogprob(@Nullable PositionScore score) {
        return Objects.requireNonNull(score).wordStartLogprob().orElseThrow();
    }

    List<TextScore> scoreAll(List<String> texts, ScoreOptions options) {
        RequestGroup group = new RequestGroup(scheduler);
        try {
            List<Scoring> scorings = new ArrayList<>(texts.size());
            for (String text : texts) {
                scorings.add(submit(text, options, group));
            }
            scheduler.flush();
            return scorings.stream().map(Scoring::join).toList();
        } catch (RuntimeException e) {
            group.cancel();
            throw e;
        }
    }

    Scoring submitContinuation(String prompt, String continuation, ScoreOptions options) {
        return submitContinuation(prompt, continuation, options, new RequestGroup(scheduler));
    }

    private Scoring submitContinuation(String prompt, String continuation, ScoreOptions options, RequestGroup group) {
        if (continuation.isEmpty()) {
            throw new IllegalArgumentException("continuation must not be empty");
        }
        String context = prompt.stripTrailing();
        String rest = prompt.substring(context.length()) + continuation;
        long bytes = rest.getBytes(StandardCharsets.UTF_8).length;
        if (context.isEmpty()) {
            return submit(cut(afterEndOfText(tokenizer.encode(rest), bytes), options), options, group);
        }
        int contextTokens = tokenizer.encode(context).length;
        int[] ids = tokenizer.encode(context + rest);
        if (ids.length <= contextTokens) {
            throw new IllegalArgumentException("continuation must add a token to the prompt, got " + ids.length
                    + " tokens together and " + contextTokens + " of the prompt");
        }
        return submit(cut(new Text(ids, contextTokens, bytes), options), options, group);
    }

    /** Leaves out the first tokens of the context, as many as are too many. */
    private Text cut(Text text, ScoreOptions options) {
        int excess = Math.max(0, text.ids().length - maxTokens(options));
        int scored = text.ids().length - text.contextTokens();
        if (excess >= text.contextTokens()) {
            throw new IllegalArgumentException(
                    "continuation must have at most " + (maxTokens(options) - 1) + " tokens, got " + scored);
        }
        return new Text(
                Arrays.copyOfRange(text.ids(), excess, text.ids().length), text.contextTokens() - excess, text.bytes());
    }

    List<ChoiceScore> choose(String prompt, List<String> choices) {
        if (choices.isEmpty()) {
            throw new IllegalArgumentException("choices must hold at least one, got none");
        }
        ScoreOptions options = ScoreOptions.builder().statistics(true).build();
        List<Scoring> scorings = new ArrayList<>();
        List<Scoring> unconditional = new ArrayList<>();
        RequestGroup group = new RequestGroup(scheduler);
        try {
            for (String choice : choices) {
                scorings.add(submitContinuation(prompt, choice, options, group));
            }
            for (String choice : endOfTextId == NO_TOKEN ? List.<String>of() : choices) {
                unconditional.add(submitContinuation("", choice, ScoreOptions.defaults(), group));
            }
            scheduler.flush();
            return IntStream.range(0, choices.size())
                    .mapToObj(i -> new ChoiceScore(
                            choices.get(i),
                            scorings.get(i).join(),
                            unconditional.isEmpty()
                                    ? OptionalDouble.empty()
                                    : OptionalDouble.of(
                                            unconditional.get(i).join().sum())))
                    .toList();
        } catch (RuntimeException e) {
            group.cancel();
            throw e;
        }
    }

    private static int[] concatenate(int[] a, int[] b) {
        int[] both = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, both, a.length, b.length);
        return both;
    }
}
