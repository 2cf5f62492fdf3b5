package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.StepFailedException;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.request.TokenListener;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Static batching without a thread of its own: requests gather until there are {@code batchSize} of them, and the call
 * that submits the last one runs the batch, to the end of the longest.
 *
 * <pre>{@code
 * try (NaiveScheduler scheduler = new NaiveScheduler(engine, 4)) {
 *     List<Generation> generations = requests.stream().map(scheduler::submit).toList();
 *     scheduler.flush(); // the last, incomplete batch
 *     generations.forEach(generation -> use(generation.join()));
 * }
 * }</pre>
 *
 * <p>Listeners, subscribers and dependents of futures run on the thread that runs the batch. Priorities are ignored;
 * cancellations and deadlines of gathering requests take effect when their batch runs. Thread-safe: one batch runs at a
 * time, other callers wait. Callers must be platform threads, because libtorch keeps state in the native thread, which
 * a virtual thread may change; {@code close} may be called on any thread.
 */
public final class NaiveScheduler implements Scheduler {
    private static final Logger LOG = LoggerFactory.getLogger(NaiveScheduler.class);
    private static final long CLOSE_SECONDS = 4;

    private final Engine engine;
    private final int batchSize;
    private final RunningRequests running;
    private final ReentrantLock lock = new ReentrantLock();

    // Guarded by the lock.
    private final Deque<QueuedRequest> gathering = new ArrayDeque<>();
    private long arrivals;
    private boolean inBatch;
    private int smallestBatch;

    private volatile boolean closed;
    private volatile @Nullable RuntimeException lostCause; // null unless the engine is lost; written under the lock
    private volatile int batches; // written under the lock
    private volatile int queuedRequests; // written under the lock
    private volatile boolean cancelling;

    /**
     * A scheduler without requests.
     *
     * @param engine owned by the scheduler from now on
     * @param batchSize in {@code [1, engine.maxBatchSize()]}
     * @throws IllegalArgumentException if the batch size is out of range
     */
    public NaiveScheduler(Engine engine, int batchSize) {
        requireBatchSize(batchSize, engine);
        this.engine = engine;
        this.batchSize = batchSize;
        running = new RunningRequests(engine, QueuedRequest.BY_ARRIVAL);
        smallestBatch = batchSize;
    }

    private static void requireBatchSize(int batchSize, Engine engine) {
        if (batchSize < 1 || batchSize > engine.maxBatchSize()) {
            throw new IllegalArgumentException(
                    "batchSize must be in [1, " + engine.maxBatchSize() + "], got " + batchSize);
        }
    }

    /** A factory whose engine holds such a batch; it closes the engine if not, and throws. */
    static EngineFactory checked(EngineFactory factory, int batchSize) {
        return () -> {
            Engine engine = factory.create();
            try {
                requireBatchSize(batchSize, engine);
                return engine;
            } catch (IllegalArgumentException e) {
                engine.close();
                throw e;
            }
        };
    }

    /**
     * Submits a request; if it completes a batch, returns after all generations of the batch have ended. Called by a
     * listener of a running batch, it only adds. If the batch fails, its generations fail, and nothing is thrown here.
     *
     * @throws IllegalArgumentException if the model cannot serve the request
     * @throws IllegalStateException if the scheduler is closed, its engine is lost, or this is a virtual thread
     */
    @Override
    public Generation submit(GenerationRequest request, TokenListener listener) {
        requirePlatformThread();
        lock.lock();
        try {
            if (lostCause != null) {
                throw new IllegalStateException("engine is lost: " + lostCause.getMessage(), lostCause);
            }
            if (closed) {
                throw new IllegalStateException("scheduler is closed");
            }
            SubmittedGeneration generation =
                    new SubmittedGeneration(engine, request, listener, Runnable::run, () -> {});
            generation.queued().arrival(++arrivals);
            gathering.add(generation.queued());
            queuedRequests++;
            runBatches(batchSize);
            return generation;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Runs the requests that have gathered; returns after their generations have ended. Called by a listener, it takes
     * effect after the batch.
     *
     * @throws IllegalStateException if this is a virtual thread
     */
    @Override
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
    public List<Generation> submitCopies(GenerationRequest request, int n) {
        return Copies.submit(this, request, n, engine.limits());
    }

    @Override
    public int queuedRequests() {
        return queuedRequests;
    }

    @Override
    public SchedulerState state() {
        RuntimeException cause = lostCause;
        if (cause != null) {
            return new SchedulerState.Lost(cause);
        }
        return closed ? new SchedulerState.Draining() : new SchedulerState.Running(1, 1);
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

    /**
     * As {@link #close()}, but cancels what has gathered. If another thread's batch does not end within 4 s, this
     * returns, and that call closes the scheduler when it ends: a naive scheduler has no watchdog.
     */
    @Override
    public void closeNow() {
        cancelling = true;
        closed = true;
        boolean interrupted = Thread.interrupted(); // it closes all the same
        try {
            if (lock.tryLock(CLOSE_SECONDS, TimeUnit.SECONDS)) {
                lock.unlock();
                close();
            } else {
                LOG.error("a batch has not ended within {} s of closing; it is left to itself", CLOSE_SECONDS);
            }
        } catch (InterruptedException e) {
            interrupted = true;
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /**
     * Runs batches while at least so many requests have gathered. Called by a listener, it leaves that to the call that
     * runs the batch.
     */
    private void runBatches(int atLeast) {
        smallestBatch = Math.min(smallestBatch, atLeast);
        if (inBatch) {
            return;
        }
        inBatch = true;
        try {
            while (gathering.size() >= smallestBatch) {
                runBatch();
            }
        } finally {
            inBatch = false;
            smallestBatch = batchSize;
            if (closed) {
                engine.close();
            }
        }
    }

    private void runBatch() {
        int number = ++batches;
        WaitingQueue batch = new WaitingQueue(QueuedRequest.BY_ARRIVAL);
        while (batch.size() < batchSize && !gathering.isEmpty()) {
            QueuedRequest request = gathering.remove();
            request.batchNumber(number);
            batch.add(request);
        }
        try {
            while (!batch.isEmpty() || !engine.isIdle()) {
                admit(batch);
                step(batch);
            }
        } finally {
            batch.failAll(engine, new IllegalStateException("batch " + number + " failed")); // only after an Error
            queuedRequests = gathering.size();
        }
    }

    private void admit(WaitingQueue batch) {
        if (cancelling) {
            batch.forEach(request -> request.sequence().cancel());
            running.cancelAll();
        }
        batch.endCancelled(engine, true);
        batch.endExpired(engine);
        for (Iterator<QueuedRequest> members = batch.iterator(); members.hasNext(); ) {
            if (running.tryAdmit(members.next()) == Engine.Admission.ADMITTED) {
                members.remove();
            }
        }
        queuedRequests = batch.size() + gathering.size();
    }

    private void step(WaitingQueue batch) {
        try {
            running.step(batch::add);
        } catch (StepFailedException e) {
            running.failAll(e.failure());
            if (engine.isLost()) {
                lostCause = e.failure();
                batch.failAll(engine, lostCause);
                gathering.forEach(request -> engine.fail(request.sequence(), lostCause));
                gathering.clear();
            }
        } catch (Error e) {
            running.failAll(new IllegalStateException("step failed: " + e, e));
            throw e;
        }
    }
}
