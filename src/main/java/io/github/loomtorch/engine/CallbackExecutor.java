package io.github.loomtorch.engine;

import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;

/**
 * Runs user code (listeners, subscribers, dependents of futures): each task on a virtual thread, or on a platform
 * thread if no virtual thread starts within 100 ms because other code holds all their carrier threads. Thread-safe.
 */
public final class CallbackExecutor implements Executor {
    private static final long STARVED_NANOS = TimeUnit.MILLISECONDS.toNanos(100);
    private static final long CHECK_NANOS = STARVED_NANOS / 2;
    private static final CallbackExecutor SHARED = new CallbackExecutor();

    private final Queue<Task> tasks =
            new ConcurrentLinkedQueue<>(); // in order; those that have started are removed late
    private final Thread checker =
            Thread.ofPlatform().daemon().name("callback-checker").unstarted(this::check);
    private final AtomicBoolean started = new AtomicBoolean();
    private volatile boolean idle; // the checker has parked, and the next task wakes it

    private CallbackExecutor() {}

    /**
     * The executor of this process.
     *
     * @return always the same
     */
    public static CallbackExecutor shared() {
        return SHARED;
    }

    private static final class Task implements Runnable {
        private final Runnable work;
        private final long sinceNanos = System.nanoTime();
        private final AtomicBoolean begun = new AtomicBoolean();

        Task(Runnable work) {
            this.work = work;
        }

        @Override
        public void run() {
            if (begun.compareAndSet(false, true)) {
                work.run();
            }
        }

        boolean isStarved() {
            return System.nanoTime() - sinceNanos >= STARVED_NANOS;
        }
    }

    @Override
    public void execute(Runnable work) {
        Task task = new Task(work);
        tasks.add(task);
        Thread.ofVirtual().name("callback").start(task);
        if (idle) {
            idle = false;
            LockSupport.unpark(checker);
        } else if (!started.get() && started.compareAndSet(false, true)) {
            checker.start();
        }
    }

    /** Naps between two looks, so that whoever submits need not wake it; parks after a nap in which nothing came. */
    private void check() {
        while (true) {
            boolean quiet = removeBegun();
            idle = quiet;
            if (quiet && tasks.isEmpty()) {
                LockSupport.park(this);
            }
            idle = false;
            LockSupport.parkNanos(this, CHECK_NANOS);
        }
    }

    /** Removes the tasks that have begun, and gives each starved one a platform thread; whether there were none. */
    private boolean removeBegun() {
        boolean none = true;
        for (Task first = tasks.peek(); first != null; first = tasks.peek()) {
            none = false;
            if (!first.begun.get()) {
                if (!first.isStarved()) {
                    return false;
                }
                Thread.ofPlatform().daemon().name("callback").start(first);
            }
            tasks.remove();
        }
        return none;
    }
}
