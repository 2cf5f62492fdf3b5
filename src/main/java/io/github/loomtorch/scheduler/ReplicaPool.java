package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.CallbackExecutor;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.request.TokenListener;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.RejectedExecutionException;

/**
 * Several continuous schedulers of one model as one, usually one for each device: a request goes to the replica with
 * the fewest outstanding tokens. If its queue is full the next replica takes the request; if all are full and one of
 * them blocks, {@code submit} waits for room in any. A replica is lost if its device is, if a step exceeds its timeout,
 * or if three steps in a row and then one of a single token fail: it is closed, and its waiting requests move to the
 * others. Thread-safe.
 */
public final class ReplicaPool implements Scheduler {
    private final List<EngineThread> replicas;
    private final Room room = new Room(); // in any replica
    private volatile boolean closed;

    /**
     * A pool of replicas.
     *
     * @param replicas at least one, of the same model; owned by the pool from now on, and used only through it
     * @throws IllegalArgumentException if there are none, or their models differ
     */
    public ReplicaPool(List<ContinuousScheduler> replicas) {
        if (replicas.isEmpty()) {
            throw new IllegalArgumentException("replicas must hold at least one scheduler, got none");
        }
        this.replicas = replicas.stream().map(ContinuousScheduler::thread).toList();
        Engine first = this.replicas.getFirst().engine();
        for (int i = 0; i < this.replicas.size(); i++) {
            if (!first.isInterchangeableWith(this.replicas.get(i).engine())) {
                throw new IllegalArgumentException(
                        "replicas must have the same model, got another vocabulary, context or page size at " + i);
            }
        }
        this.replicas.forEach(replica -> replica.joinPool(this::move, room));
    }

    @Override
    public Generation submit(GenerationRequest request, TokenListener listener) {
        Engine any = replicas.getFirst().engine();
        SubmittedGeneration generation =
                new SubmittedGeneration(any, request, listener, CallbackExecutor.shared(), this::cancelRequested);
        if (!room.await(() -> offer(generation.queued()), request.timeout())) {
            any.finish(generation.queued().sequence(), FinishReason.DEADLINE); // no engine thread knows it
        }
        return generation;
    }

    @Override
    public List<Generation> submitCopies(GenerationRequest request, int n) {
        return Copies.submit(this, request, n, replicas.getFirst().engine().limits());
    }

    /** As {@link SubmissionQueue#offer}, to the least loaded replica that takes it. */
    private boolean offer(QueuedRequest request) {
        if (closed) {
            throw new IllegalStateException("scheduler is closed");
        }
        RuntimeException refusal = null;
        boolean mayWait = false;
        for (EngineThread replica : byLoad()) {
            try {
                if (replica.submissions().offer(request)) {
                    return true;
                }
                mayWait = true;
            } catch (RejectedExecutionException e) {
                refusal = e;
            } catch (IllegalStateException e) {
                // The replica is lost, or all are being closed: another may still take it.
                refusal = refusal == null ? e : refusal;
            }
        }
        if (!mayWait) {
            throw refusal;
        }
        return false;
    }

    private List<EngineThread> byLoad() {
        record Load(EngineThread replica, long tokens) {}
        return replicas.stream()
                .map(replica -> new Load(replica, replica.submissions().outstandingTokens()))
                .sorted(Comparator.comparingLong(Load::tokens))
                .map(Load::replica)
                .toList();
    }

    private void cancelRequested() {
        replicas.forEach(EngineThread::cancelRequested);
    }

    /** Called on the thread of the lost engine. */
    private void move(Engine lost, List<QueuedRequest> requests, RuntimeException cause) {
        for (QueuedRequest request : requests) {
            request.forgetFailedSteps(); // the engine was at fault
            if (byLoad().stream().noneMatch(replica -> replica.submissions().adopt(request))) {
                lost.fail(request.sequence(), cause);
            }
        }
    }

    /** Those of all replicas together. */
    @Override
    public int queuedRequests() {
        return replicas.stream()
                .mapToInt(replica -> replica.submissions().queuedRequests())
                .sum();
    }

    /** Running while one replica is not lost. */
    @Override
    public SchedulerState state() {
        int live = 0;
        SchedulerState any = new SchedulerState.Draining();
        for (EngineThread replica : replicas) {
            any = replica.submissions().state();
            live += any instanceof SchedulerState.Lost ? 0 : 1;
        }
        if (live == 0) {
            return any;
        }
        return closed ? new SchedulerState.Draining() : new SchedulerState.Running(live, replicas.size());
    }

    @Override
    public void close() {
        close(false);
    }

    @Override
    public void closeNow() {
        close(true);
    }

    private void close(boolean cancel) {
        closed = true;
        room.signal();
        replicas.forEach(replica -> replica.submissions().close(cancel));
        RuntimeException failure = null;
        for (EngineThread replica : replicas) {
            try {
                replica.close(cancel);
            } catch (RuntimeException e) {
                failure = e;
            }
        }
        if (failure != null) {
            throw failure;
        }
    }
}
