package io.github.loomtorch.scheduler;

import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenListener;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/** Turns requests into generations. It owns its engine and the model: {@link #close()} frees them. Thread-safe. */
public interface Scheduler extends AutoCloseable {

    /**
     * Takes a request.
     *
     * @param request what to generate
     * @return the generation
     * @throws IllegalArgumentException if the model cannot serve the request, see
     *     {@link io.github.loomtorch.engine.Engine#newSequence}
     * @throws IllegalStateException if the scheduler is closed
     */
    default Generation submit(GenerationRequest request) {
        return submit(request, Generation.NO_LISTENER);
    }

    /**
     * Takes a request whose tokens are to be seen as they come. The generation completes after the listener has seen
     * the last of them. A listener that throws is logged and sees no more; the generation goes on.
     *
     * @param request what to generate
     * @param listener sees the tokens
     * @return the generation
     * @throws IllegalArgumentException if the model cannot serve the request, see
     *     {@link io.github.loomtorch.engine.Engine#newSequence}
     * @throws IllegalStateException if the scheduler is closed
     */
    Generation submit(GenerationRequest request, TokenListener listener);

    /**
     * Takes one request several times, for several continuations of one prompt; with prefix caching the prompt is
     * computed once, on a deterministic model by each. If the request has a seed, number {@code i} runs with
     * {@code seed + i}; otherwise each draws its own. If one is refused, those before it are cancelled.
     *
     * @param request what to generate
     * @param n how many, &gt;= 1
     * @return n generations
     * @throws IllegalArgumentException if n is less than 1, or the model cannot serve the request
     * @throws IllegalStateException if the scheduler is closed
     */
    default List<Generation> submit(GenerationRequest request, int n) {
        if (n < 1) {
            throw new IllegalArgumentException("n must be >= 1, got " + n);
        }
        SamplingParams sampling = request.sampling();
        OptionalLong seed = sampling.seed();
        List<Generation> generations = new ArrayList<>(n);
        try {
            for (int i = 0; i < n; i++) {
                SamplingParams own = seed.isPresent()
                        ? sampling.toBuilder().seed(seed.getAsLong() + i).build()
                        : sampling;
                generations.add(submit(
                        new GenerationRequest(request.promptTokenIds(), own, request.priority(), request.timeout())));
            }
        } catch (RuntimeException e) {
            generations.forEach(Generation::cancel);
            throw e;
        }
        return generations;
    }

    /**
     * How many requests wait to run: for a batch to fill, or for room, preempted ones included. Returns at once, from
     * any thread.
     *
     * @return &gt;= 0; those that run are not counted, nor callers that wait for room in a full queue
     */
    int queuedRequests();

    /**
     * Takes no more requests, finishes those it has, and frees the engine and the model. Returns when that is done;
     * calls after the first wait for it too. Listeners and futures that run on threads of their own may come a moment
     * later. If the engine has a thread of its own, a call that is interrupted goes on as {@link #closeNow()}, as
     * {@link java.util.concurrent.ExecutorService#close()} does, and leaves the interrupt flag set.
     */
    @Override
    void close();

    /** As {@link #close()}, but cancels what waits and runs instead of finishing it. */
    void closeNow();
}
