package io.github.loomtorch.request;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeoutException;

/**
 * One submitted request. Its tokens can be read as they are sampled, in a loop ({@link #tokens()}) or pushed
 * ({@link #publisher()}), by any number of readers, each from the first token; or all at the end ({@link #join()}).
 *
 * <p>A thread that is interrupted while it waits here gets a {@link CancellationException} and keeps its interrupt
 * flag; the generation goes on. Thread-safe.
 */
public interface Generation {

    /**
     * The result as a future. It fails with the generation's failure. Cancelling the future, or completing it in any
     * other way, cancels the generation.
     *
     * @return the same future each time
     */
    CompletableFuture<Completion> completion();

    /**
     * Waits for the result.
     *
     * @return the completion
     * @throws CompletionException if the generation failed, with its cause
     * @throws CancellationException if the future was cancelled, or the thread is interrupted while it waits
     */
    Completion join();

    /**
     * Waits for the result, but not longer than a timeout. The generation goes on after a timeout.
     *
     * @param timeout how long to wait, &gt;= 0
     * @return the completion
     * @throws TimeoutException if the generation has not ended by then
     * @throws CompletionException if the generation failed, with its cause
     * @throws CancellationException if the future was cancelled, or the thread is interrupted while it waits
     */
    Completion join(Duration timeout) throws TimeoutException;

    /**
     * Ends the generation after the step that runs now: it completes with the tokens so far and
     * {@link FinishReason#CANCELLED}. Does nothing if the generation has ended.
     */
    void cancel();

    /**
     * How many tokens of the prompt are computed, or taken from the cache. Does not block.
     *
     * @return from 0 to the prompt's length, or one less if it is only scored; never decreases
     */
    int promptTokensComputed();

    /**
     * The scores of the prompt, once all are known; they are when the first token is. Does not block.
     *
     * @return one for each scored token, see {@link Completion#promptScores()}; empty before
     */
    List<PositionScore> promptScores();

    /**
     * The tokens, for a loop that waits for each; the loop ends with the generation. Leaving the loop early cancels
     * nothing. {@code hasNext()} throws {@link CompletionException} if the generation failed, and
     * {@link CancellationException} if its thread is interrupted while it waits. Each iterator is confined to one
     * thread at a time.
     *
     * @return an iterable that starts at the first token each time
     */
    Iterable<TokenEvent> tokens();

    /**
     * The tokens, pushed as subscribers ask for them. Each subscriber gets all tokens; cancelling a subscription does
     * not cancel the generation.
     *
     * @return a publisher for any number of subscribers
     */
    Flow.Publisher<TokenEvent> publisher();
}
