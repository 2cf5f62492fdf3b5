package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.StepFailedException;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.request.TokenListener;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;

/**
 * Continuous batching on a thread of its own, for callers on virtual threads: before each step, waiting requests join
 * the batch while there is room, the most urgent first.
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
 * ({@link QueueOptions#ageingInterval()}), so none starves. A request that finds no room preempts running requests of
 * lower priority that are less urgent; those wait again, and later go on with the same tokens. The queue is bounded
 * ({@link QueueOptions}). Cancellations and deadlines take effect between steps, for waiting requests too.
 *
 * <p>A step that fails costs its requests time only: they wait again and are computed from their tokens. A request that
 * was in three failed steps runs alone; if that step fails, the request fails. If the device is lost, what runs fails.
 * A step that exceeds {@link io.github.loomtorch.options.EngineOptions#stepTimeout()} is given up with its engine.
 * Thread-safe.
 */
public final class ContinuousScheduler implements Scheduler {
    private final EngineThread thread;

    /**
     * Starts a platform thread and waits until it has made the engine; {@link QueueOptions#defaults()} limits what
     * waits.
     *
     * @param factory makes the engine, which the scheduler then owns
     * @throws IOException if the factory throws it; its unchecked exceptions pass too
     */
    public ContinuousScheduler(EngineFactory factory) throws IOException {
        this(factory, QueueOptions.defaults());
    }

    /**
     * Starts a platform thread and waits until it has made the engine.
     *
     * @param factory makes the engine, which the scheduler then owns
     * @param queue limits and order of the requests that wait
     * @throws IOException if the factory throws it; its unchecked exceptions pass too
     */
    public ContinuousScheduler(EngineFactory factory, QueueOptions queue) throws IOException {
        thread = new EngineThread(
                factory, queue, QueuedRequest.byUrgency(queue.ageingInterval()), ContinuousScheduler::admit, true);
    }

    static long admit(RunningRequests running, WaitingQueue waiting, long nowNanos, boolean closing)
            throws StepFailedException {
        Optional<QueuedRequest> suspect = waiting.firstSuspect();
        if (suspect.isPresent() || running.hasSuspect()) {
            if (running.size() == 0) {
                running.finishSteps(); // a step that is still in flight, of requests that have ended, may fail too
                if (running.tryAdmit(suspect.get()) == Engine.Admission.ADMITTED) {
                    waiting.remove(suspect.get()); // it runs alone, until it has passed the token at which steps failed
                }
            }
            return Long.MAX_VALUE;
        }
        List<QueuedRequest> preempted = new ArrayList<>();
        try {
            int deferred = 0;
            Iterator<QueuedRequest> turn = waiting.iterator();
            while (turn.hasNext() && deferred < running.maxSize()) {
                QueuedRequest request = turn.next();
                Engine.Admission admission = running.tryAdmit(request);
                if (admission == Engine.Admission.FULL) {
                    admission = preemptAndAdmit(running, request, preempted);
                }
                switch (admission) {
                    case ADMITTED -> turn.remove();
                    case DEFERRED -> deferred++;
                    case FULL -> {
                        return Long.MAX_VALUE;
                    }
                }
            }
            return Long.MAX_VALUE;
        } finally {
            preempted.forEach(waiting::add); // the iterator is done
        }
    }

    private static Engine.Admission preemptAndAdmit(
            RunningRequests running, QueuedRequest request, List<QueuedRequest> preempted) throws StepFailedException {
        if (running.victimsFor(request).isEmpty()) {
            return Engine.Admission.FULL;
        }
        running.finishSteps(); // a victim must not lose the token in flight
        Engine.Admission admission = running.tryAdmit(request); // a sequence may have ended
        if (admission == Engine.Admission.FULL) {
            List<QueuedRequest> victims = running.victimsFor(request);
            running.preempt(victims);
            preempted.addAll(victims);
            admission = running.tryAdmit(request);
        }
        return admission;
    }

    EngineThread thread() {
        return thread;
    }

    @Override
    public Generation submit(GenerationRequest request, TokenListener listener) {
        return thread.submit(request, listener);
    }

    @Override
    public List<Generation> submitCopies(GenerationRequest request, int n) {
        return Copies.submit(this, request, n, thread.engine().limits());
    }

    @Override
    public int queuedRequests() {
        return thread.submissions().queuedRequests();
    }

    @Override
    public SchedulerState state() {
        return thread.submissions().state();
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
