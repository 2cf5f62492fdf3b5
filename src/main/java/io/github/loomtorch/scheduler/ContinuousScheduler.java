package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenListener;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadFactory;

/**
 * Continuous batching on a thread of its own, for callers on virtual threads: before each step, whoever waits joins the
 * batch as there is room, the most urgent first.
 *
 * <pre>{@code
 * EngineFactory factory = () -> new Engine(loadModel(), tokenizer, EngineOptions.defaults());
 * try (ContinuousScheduler scheduler = new ContinuousScheduler(factory)) {
 *     for (TokenEvent event : scheduler.submit(request).tokens()) {
 *         print(event.text());
 *     }
 * }
 * }</pre>
 *
 * <p>Higher priorities run first, equal ones in order of arrival; waiting makes a request more urgent
 * ({@link io.github.loomtorch.options.EngineOptions#ageingInterval()}), so none starves. Where there is no room, a
 * request preempts running ones of lower priority that are less urgent; those wait again, and later go on with the same
 * tokens. The queue is bounded ({@link QueueOptions}). Cancellations and deadlines take effect between steps, for those
 * that wait too. A failing step fails those that run, not those that wait. Thread-safe.
 */
public final class ContinuousScheduler implements Scheduler {
    private final EngineThread thread;

    /**
     * Starts a platform thread named {@code engine} and waits until it has made the engine.
     * {@link QueueOptions#defaults()} limits what waits.
     *
     * @param factory makes the engine, which the scheduler then owns
     * @throws IOException if the factory throws it; its unchecked exceptions pass too
     */
    public ContinuousScheduler(EngineFactory factory) throws IOException {
        this(factory, QueueOptions.defaults(), EngineThread.defaultThreads());
    }

    /**
     * Starts a thread and waits until it has made the engine.
     *
     * @param factory makes the engine, which the scheduler then owns
     * @param queue how much may wait
     * @param threads makes the engine's thread; a platform thread, as native calls pin virtual ones
     * @throws IOException if the factory throws it; its unchecked exceptions pass too
     */
    public ContinuousScheduler(EngineFactory factory, QueueOptions queue, ThreadFactory threads) throws IOException {
        thread = new EngineThread(factory, threads, queue, Comparator.naturalOrder(), ContinuousScheduler::admit);
    }

    private static long admit(Engine engine, WaitingQueue waiting, long nowNanos, boolean closing) {
        if (waiting.isEmpty()) {
            return Long.MAX_VALUE;
        }
        List<Sequence> preempted = new ArrayList<>();
        int deferred = 0;
        for (Iterator<Sequence> turn = waiting.iterator(); turn.hasNext() && deferred < engine.maxBatchSize(); ) {
            Sequence sequence = turn.next();
            Engine.Admission admission = engine.tryAdmit(sequence);
            if (admission == Engine.Admission.FULL) {
                List<Sequence> victims = engine.preemptFor(sequence);
                if (victims.isEmpty()) {
                    break;
                }
                preempted.addAll(victims);
                admission = engine.tryAdmit(sequence);
            }
            if (admission == Engine.Admission.ADMITTED) {
                turn.remove();
            } else {
                deferred++;
            }
        }
        preempted.forEach(waiting::add);
        return Long.MAX_VALUE;
    }

    EngineThread thread() {
        return thread;
    }

    /**
     * Takes a request.
     *
     * @throws IllegalArgumentException if the model cannot serve the request
     * @throws IllegalStateException if the scheduler is closed, or its engine is lost
     * @throws RejectedExecutionException if the queue is full and its rule is {@link QueueOptions.WhenFull#REJECT}
     * @throws CancellationException if interrupted while waiting for room, with {@link QueueOptions.WhenFull#BLOCK}
     */
    @Override
    public Generation submit(GenerationRequest request, TokenListener listener) {
        return thread.submit(request, listener);
    }

    @Override
    public int queuedRequests() {
        return thread.queuedRequests();
    }

    @Override
    public void close() {
        thread.close(false);
    }

    @Override
    public void closeNow() {
        thread.close(true);
    }
}
