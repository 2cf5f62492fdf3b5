package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenListener;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Static batching without a thread of its own: requests gather until there are {@code batchSize} of them, and the call
 * that brings the last one runs them all, to the end of the longest.
 *
 * <pre>{@code
 * try (NaiveScheduler scheduler = new NaiveScheduler(engine, 4)) {
 *     List<Generation> generations = requests.stream().map(scheduler::submit).toList();
 *     scheduler.flush(); // the last, incomplete batch
 *     generations.forEach(generation -> use(generation.join()));
 * }
 * }</pre>
 *
 * <p>Listeners, subscribers and what depends on futures run on the thread that runs the batch. Priorities are ignored;
 * cancellations and deadlines of gathering requests take effect when their batch runs. Thread-safe: one batch runs at a
 * time, other callers wait. They must be platform threads, as libtorch keeps state in the native thread, which a
 * virtual thread may change; {@code close} may be called on any.
 */
public final class NaiveScheduler implements Scheduler {
    private final Engine engine;
    private final int batchSize;
    private final ReentrantLock lock = new ReentrantLock();

    // Guarded by the lock.
    private final Deque<Sequence> gathering = new ArrayDeque<>();
    private boolean running;
    private int smallestBatch;
    private boolean closed;

    private volatile int batches;
    private volatile int queuedRequests; // written under the lock
    private volatile boolean cancelling;

    /**
     * A scheduler that gathers nothing yet.
     *
     * @param engine owned by the scheduler from now on
     * @param batchSize in {@code [1, engine.maxBatchSize()]}
     * @throws IllegalArgumentException if the batch size is out of range
     */
    public NaiveScheduler(Engine engine, int batchSize) {
        this.engine = engine;
        this.batchSize = requireBatchSize(batchSize, engine);
        smallestBatch = batchSize;
    }

    static int requireBatchSize(int batchSize, Engine engine) {
        if (batchSize < 1 || batchSize > engine.maxBatchSize()) {
            throw new IllegalArgumentException(
                    "batchSize must be in [1, " + engine.maxBatchSize() + "], got " + batchSize);
        }
        return batchSize;
    }

    /**
     * Adds a request; if it completes a batch, returns after all generations of the batch have ended. Called by a
     * listener of a running batch, it only adds. The failure of a batch is that of its generations, and not thrown
     * here.
     *
     * @throws IllegalArgumentException if the model cannot serve the request
     * @throws IllegalStateException if the scheduler is closed, its engine is lost, or this is a virtual thread
     */
    @Override
    public Generation submit(GenerationRequest request, TokenListener listener) {
        requirePlatformThread();
        lock.lock();
        try {
            if (closed) {
                throw new IllegalStateException("scheduler is closed");
            }
            if (engine.isLost()) {
                RuntimeException cause = engine.lastFailure();
                throw new IllegalStateException("engine is lost: " + cause.getMessage(), cause);
            }
            Generation generation = new Generation(engine, request, listener, Runnable::run, () -> {});
            gathering.add(generation.sequence());
            queuedRequests++;
            runBatches(batchSize);
            return generation;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Runs what has gathered; returns after all its generations have ended. Called by a listener, it takes effect after
     * the batch.
     *
     * @throws IllegalStateException if this is a virtual thread
     */
    public void flush() {
        requirePlatformThread();
        lock.lock();
        try {
            runBatches(1);
        } finally {
            lock.unlock();
        }
    }

    private static void requirePlatformThread() {
        if (Thread.currentThread().isVirtual()) {
            throw new IllegalStateException("NaiveScheduler must be used from platform threads, got a virtual thread; "
                    + "use AsyncNaiveScheduler or ContinuousScheduler there");
        }
    }

    @Override
    public int queuedRequests() {
        return queuedRequests;
    }

    /**
     * How many batches have run or begun.
     *
     * @return &gt;= 0
     */
    public int batches() {
        return batches;
    }

    @Override
    public void close() {
        if (Thread.currentThread().isVirtual()) {
            CompletableFuture.runAsync(this::close, task -> Thread.ofPlatform().start(task))
                    .join();
            return;
        }
        lock.lock();
        try {
            closed = true;
            runBatches(1);
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void closeNow() {
        cancelling = true;
        close();
    }

    /**
     * Runs batches while at least so many requests have gathered. From a listener, leaves that to the call that runs
     * the batch.
     */
    private void runBatches(int atLeast) {
        smallestBatch = Math.min(smallestBatch, atLeast);
        if (running) {
            return;
        }
        running = true;
        try {
            while (gathering.size() >= smallestBatch) {
                runBatch();
            }
        } finally {
            running = false;
            smallestBatch = batchSize;
            if (closed) {
                engine.close();
            }
        }
    }

    private void runBatch() {
        int number = ++batches;
        Deque<Sequence> batch = new ArrayDeque<>();
        while (batch.size() < batchSize && !gathering.isEmpty()) {
            Sequence sequence = gathering.remove();
            sequence.batchNumber(number);
            batch.add(sequence);
        }
        try {
            while (!batch.isEmpty() || !engine.isIdle()) {
                admit(batch);
                engine.step().forEach(batch::addFirst);
                if (engine.isLost()) {
                    failAll(batch, engine.lastFailure());
                    failAll(gathering, engine.lastFailure());
                }
            }
        } finally {
            failAll(
                    batch,
                    new IllegalStateException("batch " + number + " failed")); // none, unless an Error is on its way
            queuedRequests = gathering.size();
        }
    }

    private void failAll(Deque<Sequence> sequences, RuntimeException cause) {
        while (!sequences.isEmpty()) {
            engine.fail(sequences.remove(), cause);
        }
    }

    private void admit(Deque<Sequence> batch) {
        if (cancelling) {
            batch.forEach(Sequence::cancel);
            engine.cancelAll();
        }
        long now = engine.clock().nanoTime();
        for (Iterator<Sequence> waiting = batch.iterator(); waiting.hasNext(); ) {
            Sequence sequence = waiting.next();
            if (sequence.isCancelled()) {
                waiting.remove();
                engine.finish(sequence, FinishReason.CANCELLED);
            } else if (sequence.deadlineNanos() <= now) {
                waiting.remove();
                engine.finish(sequence, FinishReason.DEADLINE);
            } else if (engine.tryAdmit(sequence) == Engine.Admission.ADMITTED) {
                waiting.remove();
            }
        }
        queuedRequests = batch.size() + gathering.size();
    }
}
