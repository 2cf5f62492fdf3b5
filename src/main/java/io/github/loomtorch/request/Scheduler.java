package io.github.loomtorch.request;

import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.RejectedExecutionException;

/**
 * Queues requests and runs them in batches on a model, which it owns: {@link #close()} frees it. Thread-safe.
 *
 * <p>A naive scheduler runs a batch only when it is full, or on {@link #flush()}: flush before waiting for a request.
 */
public interface Scheduler extends AutoCloseable {

    /**
     * Submits a request.
     *
     * @param request what to generate
     * @return the generation
     * @throws IllegalArgumentException if the model cannot serve the request: an id is out of the vocabulary, the
     *     tokens exceed the context, or there are stop strings and no tokenizer
     * @throws IllegalStateException if the scheduler is closed or lost
     * @throws RejectedExecutionException if the queue is full and rejects
     * @throws CancellationException if the thread is interrupted while it waits for room in a queue that blocks; the
     *     request is not taken, and the interrupt flag stays set
     */
    default Generation submit(GenerationRequest request) {
        return submit(request, TokenListener.NONE);
    }

    /**
     * Submits a request with a listener for its tokens. The generation completes after the listener has seen the last
     * token. A listener that throws is logged and gets no more tokens; the generation goes on.
     *
     * @param request what to generate
     * @param listener receives the tokens
     * @return the generation
     * @throws IllegalArgumentException if the model cannot serve the request: an id is out of the vocabulary, the
     *     tokens exceed the context, or there are stop strings and no tokenizer
     * @throws IllegalStateException if the scheduler is closed or lost
     * @throws RejectedExecutionException if the queue is full and rejects
     * @throws CancellationException if the thread is interrupted while it waits for room in a queue that blocks; the
     *     request is not taken, and the interrupt flag stays set
     */
    Generation submit(GenerationRequest request, TokenListener listener);

    /**
     * Submits a request n times, for n continuations of one prompt. With prefix caching the prompt is computed only
     * once (a deterministic model computes it for each). If the request has a seed, copy {@code i} runs with
     * {@code seed + i}; otherwise each draws its own. If a copy is refused, the copies before it are cancelled.
     *
     * @param request what to generate
     * @param n how many copies, &gt;= 1 and at most the limit of the options, 128 by default
     * @return n generations
     * @throws IllegalArgumentException if n is out of range, or the model cannot serve the request
     * @throws IllegalStateException if the scheduler is closed or lost
     * @throws RejectedExecutionException if the queue is full and rejects
     * @throws CancellationException if the thread is interrupted while it waits for room in a queue that blocks
     */
    List<Generation> submitCopies(GenerationRequest request, int n);

    /**
     * Runs the requests that wait for their batch to fill, and returns when they have ended. Schedulers that start
     * their batches themselves do nothing here.
     */
    default void flush() {}

    /**
     * How many requests wait to run: for their batch to fill, or for room; preempted ones included. Running requests
     * are not counted, nor callers that wait for room in a full queue. Does not block.
     *
     * @return &gt;= 0
     */
    int queuedRequests();

    /**
     * Whether the scheduler takes requests. Does not block.
     *
     * @return running, draining after {@link #close()}, or lost with the cause
     */
    SchedulerState state();

    /**
     * Takes no more requests, finishes those it has, and frees the engine and the model. Returns when that is done;
     * later calls wait for it too. Listeners and dependents of futures that run on virtual threads may finish a moment
     * later. A call that is interrupted goes on as {@link #closeNow()} if the engine has its own thread, as
     * {@link java.util.concurrent.ExecutorService#close()} does, and keeps the interrupt flag.
     *
     * @throws RuntimeException if freeing the model failed; everything else is closed nevertheless
     */
    @Override
    void close();

    /**
     * As {@link #close()}, but cancels the requests that wait and run instead of finishing them.
     *
     * @throws RuntimeException if freeing the model failed; everything else is closed nevertheless
     */
    void closeNow();
}
