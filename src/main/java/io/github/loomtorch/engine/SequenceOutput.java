package io.github.loomtorch.engine;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.RequestTimings;
import io.github.loomtorch.request.RequestTimings.Preemption;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What a sequence produces: its output tokens and their text, log-probabilities and times, the scores of its prompt,
 * and how it ends. Confined to the engine thread.
 */
final class SequenceOutput {
    private final GenerationRequest request;
    private final long seed;
    private final SequenceListener listener;
    private final OutputText text;
    private final int[] endingIds; // ascending
    private final int scoredTokens; // of the prompt, in the end
    private int[] ids = {}; // empty before the first admission
    private int count;
    private int published; // tokens that the listener has
    private int promptComputed;
    private int publishedPrompt; // what the listener knows of it
    private final List<TokenLogprobs> logprobs = new ArrayList<>();
    private final List<PositionScore> promptScores = new ArrayList<>();

    private final long submittedNanos;
    private boolean started;
    private int cachedPromptTokens;
    private boolean publishedScores;
    private long startedNanos;
    private long firstTokenNanos;
    private long endedNanos;
    private final List<Preemption> preemptions = new ArrayList<>();
    private boolean preempted; // since preemptedNanos
    private long preemptedNanos;

    private boolean ended;
    private @Nullable FinishReason finishReason; // null until it completes
    private @Nullable RuntimeException failure; // null unless it fails

    SequenceOutput(
            GenerationRequest request,
            long seed,
            SequenceListener listener,
            OutputText text,
            int[] endOfTextIds,
            long submittedNanos) {
        this.request = request;
        this.seed = seed;
        this.listener = listener;
        this.text = text;
        this.submittedNanos = submittedNanos;
        SamplingParams sampling = request.sampling();
        scoredTokens = sampling.promptScoring()
                .map(scoring -> request.promptTokenIds().length - scoring.firstToken())
                .orElse(0);
        endingIds = IntStream.concat(
                        sampling.stopTokenIds().stream().mapToInt(Integer::intValue),
                        Arrays.stream(sampling.ignoreEos() ? new int[0] : endOfTextIds))
                .sorted()
                .toArray();
    }

    /** The sequence lost its place in the batch. */
    void preempted(long now) {
        preempted = true;
        preemptedNanos = now;
    }

    private void endPreemption(long now) {
        if (preempted) {
            preempted = false;
            preemptions.add(new Preemption(preemptedNanos, now));
        }
    }

    /** The sequence was admitted with so many tokens in the cache; only those of the first time are reported. */
    void started(long now, int cachedTokens) {
        endPreemption(now);
        if (!started) {
            started = true;
            cachedPromptTokens = cachedTokens;
            ids = new int[request.sampling().maxNewTokens()];
            startedNanos = now;
        }
    }

    /** Adds the score of the next prompt token, which ends the sequence if nothing else is wanted. */
    void scored(PositionScore score, long now) {
        promptScores.add(score);
        if (promptScores.size() == scoredTokens && ids.length == 0) {
            finish(FinishReason.LENGTH, now);
        }
    }

    /** How many prompt tokens are scored. */
    int promptScores() {
        return promptScores.size();
    }

    /** Adds a sampled token, which may end the sequence. */
    void append(int id, Optional<TokenLogprobs> tokenLogprobs, long now) {
        if (count == 0) {
            firstTokenNanos = now;
        }
        ids[count++] = id;
        tokenLogprobs.ifPresent(logprobs::add);
        boolean atStopString = hasStopStrings() && text.append(id);
        if (atStopString || Arrays.binarySearch(endingIds, id) >= 0) {
            finish(FinishReason.STOP, now);
        } else if (count == ids.length) {
            finish(FinishReason.LENGTH, now);
        }
    }

    /** The ids that end the output; ascending, shared. */
    int[] endingIds() {
        return endingIds;
    }

    boolean hasEnded() {
        return ended;
    }

    void finish(FinishReason reason, long now) {
        finishReason = reason;
        end(now);
    }

    void fail(RuntimeException cause, long now) {
        failure = cause;
        end(now);
    }

    private void end(long now) {
        assert !ended;
        ended = true;
        endedNanos = now;
        endPreemption(now);
    }

    /** So many tokens of the prompt are in the cache; fewer than before if it was preempted. */
    void promptComputed(int tokens) {
        promptComputed = Math.max(promptComputed, tokens);
    }

    /**
     * Tells the listener how much of the prompt is computed, and of new tokens. Text without stop strings is decoded
     * here, while the device works.
     */
    void publishTokens() {
        if (publishedPrompt < promptComputed) {
            publishedPrompt = promptComputed;
            listener.onPromptComputed(promptComputed);
        }
        if (!publishedScores && scoredTokens > 0 && promptScores.size() == scoredTokens) {
            publishedScores = true;
            listener.onPromptScored(List.copyOf(promptScores));
        }
        while (published < count) {
            int index = published++;
            if (!hasStopStrings()) {
                text.append(ids[index]);
            }
            boolean isLast = ended && published == count;
            Optional<TokenLogprobs> tokenLogprobs =
                    logprobs.isEmpty() ? Optional.empty() : Optional.of(logprobs.get(index));
            listener.onToken(new TokenEvent(index, ids[index], text.take(isLast), tokenLogprobs));
        }
    }

    /** Tells the listener of the end, after the last token. Called once. */
    void publishEnd() {
        publishTokens();
        if (failure != null) {
            listener.onFailed(failure);
        } else {
            listener.onFinished(completion());
        }
    }

    private boolean hasStopStrings() {
        return !request.sampling().stopStrings().isEmpty();
    }

    private Completion completion() {
        text.take(true); // the text that is still held back, if no token ended the sequence
        RequestTimings timings = new RequestTimings(
                submittedNanos,
                started ? startedNanos : endedNanos,
                count > 0 ? firstTokenNanos : endedNanos,
                endedNanos,
                preemptions);
        return new Completion(
                request.promptTokenIds(),
                Arrays.copyOf(ids, count),
                text.taken(),
                Objects.requireNonNull(finishReason),
                seed,
                logprobs,
                promptScores,
                cachedPromptTokens,
                timings,
                0);
    }
}
