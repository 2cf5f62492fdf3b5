package io.github.loomtorch.engine;

import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.StepStats;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.Executor;
import java.util.concurrent.locks.ReentrantLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Hands reports of steps to an {@link EngineListener} away from the engine thread, so that the listener can neither
 * block nor fail the engine. The listener is called in order, one call at a time. If it falls more than 1024 reports
 * behind, the oldest are dropped and counted. Thread-safe.
 */
final class StepReporter {
    static final int MAX_PENDING = 1024;

    private static final Logger LOG = LoggerFactory.getLogger(StepReporter.class);

    private final EngineListener listener;
    private final Executor executor;
    private final ReentrantLock lock = new ReentrantLock();

    // Guarded by the lock.
    private final Queue<StepStats> pending = new ArrayDeque<>();
    private int dropped; // since the last call
    private boolean active;

    StepReporter(EngineListener listener, Executor executor) {
        this.listener = listener;
        this.executor = executor;
    }

    /** Called on the engine thread; does not wait. */
    void report(StepStats report) {
        if (listener == EngineListener.NONE) {
            return;
        }
        lock.lock();
        try {
            if (pending.size() == MAX_PENDING) {
                pending.remove();
                dropped++;
            }
            pending.add(report);
            if (active) {
                return;
            }
            active = true;
        } finally {
            lock.unlock();
        }
        executor.execute(this::callListener);
    }

    private void callListener() {
        while (true) {
            StepStats stats;
            lock.lock();
            try {
                if (pending.isEmpty()) {
                    active = false;
                    return;
                }
                stats = pending.remove().withDroppedReports(dropped);
                dropped = 0;
            } finally {
                lock.unlock();
            }
            try {
                listener.onStep(stats);
            } catch (Throwable t) {
                LOG.warn("engine listener failed; the engine goes on", t);
            }
        }
    }
}
