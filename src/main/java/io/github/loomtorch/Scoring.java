package io.github.loomtorch;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.TextScore;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.function.Function;

/** A text that is being scored. Thread-safe. */
public final class Scoring {
    private final List<Generation> windows;
    private final long totalTokens;
    private final CompletableFuture<TextScore> result;

    /**
     * Collects the results of windows that were submitted.
     *
     * @param totalTokens of all windows
     * @param assemble makes the score of the windows' completions
     */
    Scoring(List<Generation> windows, long totalTokens, Function<List<Completion>, TextScore> assemble) {
        this.windows = windows;
        this.totalTokens = totalTokens;
        for (Generation window : windows) {
            var unused = window.completion().whenComplete((completion, failure) -> {
                if (failure != null) {
                    cancel(); // the other windows are of no use
                }
            });
        }
        result = CompletableFuture.allOf(
                        windows.stream().map(Generation::completion).toArray(CompletableFuture[]::new))
                .thenApply(all -> assemble.apply(windows.stream()
                        .map(window -> window.completion().join())
                        .toList()));
        var unused = result.whenComplete((score, failure) -> cancel());
    }

    /**
     * The score as a future. It fails as the scoring does; cancelling it cancels the scoring.
     *
     * @return the same future each time
     */
    public CompletableFuture<TextScore> result() {
        return result;
    }

    /**
     * Waits for the score.
     *
     * @return the score
     * @throws CompletionException if the scoring failed, with its cause
     * @throws CancellationException if the future was cancelled, or the thread is interrupted while it waits; the
     *     interrupt flag stays set
     */
    public TextScore join() {
        try {
            return result.get();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new CancellationException("interrupted while waiting for the score");
        } catch (ExecutionException e) {
            throw new CompletionException(e.getCause());
        }
    }

    /**
     * Ends the scoring after the step that runs now: it completes with the scores so far and
     * {@link FinishReason#CANCELLED}. Does nothing if it has ended.
     */
    public void cancel() {
        windows.forEach(Generation::cancel);
    }

    /**
     * How many tokens the model has computed, those of overlapping windows counted for each. Does not block.
     *
     * @return in {@code [0, totalTokens()]}
     */
    public long computedTokens() {
        return windows.stream().mapToLong(Generation::promptTokensComputed).sum();
    }

    /**
     * How many tokens the model has to compute.
     *
     * @return &gt;= 1
     */
    public long totalTokens() {
        return totalTokens;
    }
}
