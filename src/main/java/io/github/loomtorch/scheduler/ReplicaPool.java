package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenListener;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Several schedulers of one model as one, usually one for each device: a request goes to the replica with the fewest
 * outstanding tokens. A replica of which three steps in a row have failed is lost: it is closed, and what waits there
 * moves to the others. Thread-safe.
 */
public final class ReplicaPool implements Scheduler {
    private static final int MAX_FAILED_STEPS = 3;

    private final List<EngineThread> replicas;

    // Taken before a replica's lock, never within it.
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition room = lock.newCondition(); // in any replica
    private boolean closed; // guarded by the lock

    /**
     * A pool of these replicas.
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
        this.replicas.forEach(replica -> replica.joinPool(this::move, MAX_FAILED_STEPS, this::signalRoom));
    }

    /**
     * Takes a request; if the queue of the least loaded replica is full, the next one takes it. If all are, and one of
     * them blocks ({@link QueueOptions.WhenFull#BLOCK}), this waits for room in any.
     *
     * @throws IllegalArgumentException if the model cannot serve the request
     * @throws IllegalStateException if the pool is closed, or all replicas are lost
     * @throws RejectedExecutionException if all queues are full
     * @throws CancellationException if interrupted while waiting for room
     */
    @Override
    public Generation submit(GenerationRequest request, TokenListener listener) {
        Engine any = replicas.getFirst().engine();
        Generation generation =
                new Generation(any, request, listener, Generation.VIRTUAL_THREADS, this::cancelRequested);
        lock.lock();
        try {
            while (!offer(generation.sequence())) {
                room.await();
            }
            return generation;
        } catch (InterruptedException e) {
            throw EngineThread.interruptedWaitingForRoom();
        } finally {
            lock.unlock();
        }
    }

    /** As {@link EngineThread#offer}, to the least loaded replica that takes it. */
    private boolean offer(Sequence sequence) {
        if (closed) {
            throw new IllegalStateException("scheduler is closed");
        }
        RuntimeException refusal = null;
        boolean mayWait = false;
        for (EngineThread replica : byLoad()) {
            try {
                if (replica.offer(sequence)) {
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

    private void signalRoom() {
        lock.lock();
        try {
            room.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private List<EngineThread> byLoad() {
        record Load(EngineThread replica, long tokens) {}
        return replicas.stream()
                .map(replica -> new Load(replica, replica.outstandingTokens()))
                .sorted(Comparator.comparingLong(Load::tokens))
                .map(Load::replica)
                .toList();
    }

    private void cancelRequested() {
        replicas.forEach(EngineThread::cancelRequested);
    }

    /** Called on the thread of the lost engine. */
    private void move(Engine lost, List<Sequence> sequences, RuntimeException cause) {
        for (Sequence sequence : sequences) {
            if (byLoad().stream().noneMatch(replica -> replica.adopt(sequence))) {
                lost.fail(sequence, cause);
            }
        }
    }

    /** Those of all replicas together. */
    @Override
    public int queuedRequests() {
        return replicas.stream().mapToInt(EngineThread::queuedRequests).sum();
    }

    /**
     * How many replicas are not lost.
     *
     * @return at most as many as there were at first
     */
    public int liveReplicas() {
        return (int) replicas.stream().filter(replica -> !replica.isLost()).count();
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
        lock.lock();
        try {
            closed = true;
            room.signalAll();
        } finally {
            lock.unlock();
        }
        replicas.forEach(replica -> replica.stopAdmission(cancel));
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
