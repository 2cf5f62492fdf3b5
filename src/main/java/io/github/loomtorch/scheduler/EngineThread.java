package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenListener;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Runs an engine on a thread of its own: what the asynchronous schedulers share. Thread-safe. */
final class EngineThread {
    /*
     * Submitters put sequences into the inbox, under the lock. The engine thread takes them out once per step, and from then on they are
     * its own. It parks when nothing runs and nothing is due; whoever puts something into an empty inbox wakes it.
     */

    private static final Logger LOG = LoggerFactory.getLogger(EngineThread.class);

    private final AdmissionRule rule;
    private final WaitingQueue waiting;
    private final QueueOptions limits;
    private final Thread thread;
    private final Engine engine;

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition room = lock.newCondition();

    // Guarded by the lock.
    private List<Sequence> inbox = new ArrayList<>();
    private long arrivals;
    private int queuedRequests;
    private long queuedTokens;
    private long runningTokens;
    private boolean closed;
    private boolean cancelsAll;
    private boolean ended;
    private Successor successor = this::failAll;
    private RuntimeException failure; // null unless the engine is lost

    private volatile boolean cancelRequested;
    private volatile boolean woken; // since the engine thread last looked for news

    // Confined to the engine thread.
    private List<Sequence> received = new ArrayList<>();
    private boolean closing;

    private volatile int maxFailedSteps = Integer.MAX_VALUE;
    private volatile Runnable onRoom = this::signalRoom;
    private RuntimeException closeFailure; // null unless closing the engine failed; read after the thread has ended

    /** Takes over the sequences that wait when an engine is lost. Called on the engine thread. */
    @FunctionalInterface
    interface Successor {
        void accept(Engine lost, List<Sequence> sequences, RuntimeException cause);
    }

    /**
     * Platform threads named {@code engine}; like those of an executor, they keep the process alive until it is closed.
     */
    static ThreadFactory defaultThreads() {
        return Thread.ofPlatform().name("engine").daemon(false).factory();
    }

    /**
     * Starts the thread and waits until it has its engine.
     *
     * @throws IOException if the factory throws it; so it does with unchecked exceptions and errors
     */
    EngineThread(
            EngineFactory factory,
            ThreadFactory threads,
            QueueOptions limits,
            Comparator<Sequence> turn,
            AdmissionRule rule)
            throws IOException {
        this.rule = rule;
        this.limits = limits;
        waiting = new WaitingQueue(turn);
        CompletableFuture<Engine> created = new CompletableFuture<>();
        thread = threads.newThread(() -> run(factory, created));
        thread.start();
        try {
            engine = created.join();
        } catch (CompletionException e) {
            switch (e.getCause()) {
                case IOException cause -> throw cause;
                case RuntimeException cause -> throw cause;
                case Error cause -> throw cause;
                default -> throw e;
            }
        }
    }

    Engine engine() {
        return engine;
    }

    Generation submit(GenerationRequest request, TokenListener listener) {
        Generation generation =
                new Generation(engine, request, listener, Generation.VIRTUAL_THREADS, this::cancelRequested);
        enqueue(generation.sequence());
        return generation;
    }

    /**
     * Queues a new sequence, or does with it what the limits say.
     *
     * @throws IllegalStateException if this is closed or the engine is lost
     * @throws RejectedExecutionException if the queue is full
     * @throws CancellationException if interrupted while waiting for room
     */
    void enqueue(Sequence sequence) {
        lock.lock();
        try {
            while (!offer(sequence)) {
                room.await();
            }
        } catch (InterruptedException e) {
            throw interruptedWaitingForRoom();
        } finally {
            lock.unlock();
        }
    }

    /** Leaves the interrupt flag set. */
    static CancellationException interruptedWaitingForRoom() {
        Thread.currentThread().interrupt();
        return new CancellationException("interrupted while waiting for room in the queue");
    }

    /**
     * Queues a new sequence if there is room; false if there is not and the limits say to wait.
     *
     * @throws IllegalStateException if this is closed or the engine is lost
     * @throws RejectedExecutionException if the queue is full
     */
    boolean offer(Sequence sequence) {
        lock.lock();
        try {
            requireOpen();
            if (!isFullFor(sequence.maxLength())) {
                add(sequence);
                return true;
            }
            if (limits.whenFull() == QueueOptions.WhenFull.REJECT) {
                throw new RejectedExecutionException(whyFull(sequence));
            }
            return false;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Queues a sequence that another engine can no longer run, whatever the limits; false if it is too late for that.
     */
    boolean adopt(Sequence sequence) {
        lock.lock();
        try {
            if (ended) {
                return false;
            }
            add(sequence);
            return true;
        } finally {
            lock.unlock();
        }
    }

    private void requireOpen() {
        if (failure != null) {
            throw new IllegalStateException("engine is lost: " + failure.getMessage(), failure);
        }
        if (closed) {
            throw new IllegalStateException("scheduler is closed");
        }
    }

    private boolean isFullFor(int tokens) {
        return queuedRequests >= limits.maxQueuedRequests()
                || queuedRequests > 0 && queuedTokens > limits.maxQueuedTokens() - tokens;
    }

    private String whyFull(Sequence sequence) {
        return queuedRequests >= limits.maxQueuedRequests()
                ? "queue is full: " + queuedRequests + " requests waiting (maxQueuedRequests="
                        + limits.maxQueuedRequests() + ")"
                : "queue is full: " + queuedTokens + " tokens waiting and " + sequence.maxLength()
                        + " more asked for (maxQueuedTokens=" + limits.maxQueuedTokens() + ")";
    }

    private void add(Sequence sequence) {
        sequence.arrival(++arrivals);
        inbox.add(sequence);
        queuedRequests++;
        queuedTokens += sequence.maxLength();
        if (inbox.size() == 1) {
            wake();
        }
    }

    /** Called after a sequence was cancelled that may wait here. */
    void cancelRequested() {
        cancelRequested = true;
        wake();
    }

    private void wake() {
        woken = true;
        engine.clock().unpark(thread);
    }

    /**
     * Names who takes over if so many steps fail in a row.
     *
     * @param onRoom called on the engine thread, without the lock, when there may be room for those whose
     *     {@link #offer} was in vain, or never will be
     */
    void joinPool(Successor successor, int maxFailedSteps, Runnable onRoom) {
        lock.lock();
        try {
            this.successor = successor;
            this.maxFailedSteps = maxFailedSteps;
            this.onRoom = onRoom;
        } finally {
            lock.unlock();
        }
    }

    /** Requests that wait. */
    int queuedRequests() {
        lock.lock();
        try {
            return queuedRequests;
        } finally {
            lock.unlock();
        }
    }

    /** Most tokens that all that wait or run can come to hold; {@link Long#MAX_VALUE} if no more requests are taken. */
    long outstandingTokens() {
        lock.lock();
        try {
            return closed || failure != null ? Long.MAX_VALUE : queuedTokens + runningTokens;
        } finally {
            lock.unlock();
        }
    }

    /** Whether the engine failed for good. */
    boolean isLost() {
        lock.lock();
        try {
            return failure != null;
        } finally {
            lock.unlock();
        }
    }

    /** Takes no more requests. */
    void stopAdmission(boolean cancel) {
        lock.lock();
        try {
            closed = true;
            cancelsAll |= cancel;
            room.signalAll();
        } finally {
            lock.unlock();
        }
        wake();
    }

    /** Waits until all is done and freed. */
    void close(boolean cancel) {
        stopAdmission(cancel);
        boolean interrupted = false;
        while (true) {
            try {
                thread.join();
                break;
            } catch (InterruptedException e) {
                interrupted = true;
                stopAdmission(true);
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        if (closeFailure != null) {
            throw closeFailure;
        }
    }

    // What follows runs on the engine thread.

    private void run(EngineFactory factory, CompletableFuture<Engine> created) {
        Engine own;
        try {
            own = factory.create();
        } catch (Throwable t) {
            created.completeExceptionally(t);
            return;
        }
        created.complete(own);
        try {
            loop(own);
        } catch (Throwable t) {
            RuntimeException cause =
                    t instanceof RuntimeException e ? e : new IllegalStateException("engine thread failed: " + t, t);
            try {
                own.failAll(cause);
            } finally {
                handOver(own, cause);
            }
        } finally {
            try {
                own.close();
            } catch (RuntimeException e) {
                closeFailure = e;
            }
        }
    }

    private void loop(Engine own) {
        Clock clock = own.clock();
        while (receive(own)) {
            long now = clock.nanoTime();
            while (waiting.nextDeadlineNanos() <= now) {
                own.finish(waiting.removeNextDeadline(), FinishReason.DEADLINE);
            }
            long askAgain = rule.admit(own, waiting, now, closing);
            updateLoad(own);
            if (!own.isIdle()) {
                own.step().forEach(waiting::add);
                if (own.isLost() || own.failedSteps() >= maxFailedSteps) {
                    throw own.lastFailure();
                }
            } else if (!closing) {
                long until = Math.min(askAgain, waiting.nextDeadlineNanos());
                if (!woken) {
                    clock.park(until == Long.MAX_VALUE ? until : Math.max(1, until - now));
                }
                Thread.interrupted(); // means nothing here, but would keep it from parking
            }
        }
    }

    /** Takes what was put in since the last call; false if there will never be anything to do again. */
    private boolean receive(Engine own) {
        boolean cancelling;
        woken = false;
        lock.lock();
        try {
            if (closed && inbox.isEmpty() && waiting.isEmpty() && own.isIdle()) {
                ended = true;
                return false;
            }
            List<Sequence> empty = received;
            received = inbox;
            inbox = empty;
            closing = closed;
            cancelling = cancelsAll;
        } finally {
            lock.unlock();
        }
        received.forEach(waiting::add);
        received.clear();
        if (cancelling) {
            waiting.forEach(Sequence::cancel);
            own.cancelAll();
        }
        if (cancelRequested || cancelling || waiting.mayHoldCancelled()) {
            cancelRequested = false;
            waiting.removeCancelled().forEach(sequence -> own.finish(sequence, FinishReason.CANCELLED));
        }
        return true;
    }

    /** Tells submitters how much waits and runs now. */
    private void updateLoad(Engine own) {
        boolean hasRoom;
        lock.lock();
        try {
            queuedRequests = waiting.size();
            queuedTokens = waiting.tokens();
            for (Sequence sequence : inbox) {
                queuedRequests++;
                queuedTokens += sequence.maxLength();
            }
            runningTokens = own.runningTokens();
            hasRoom = !isFullFor(1);
        } finally {
            lock.unlock();
        }
        if (hasRoom) {
            onRoom.run();
        }
    }

    private void signalRoom() {
        lock.lock();
        try {
            room.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private void handOver(Engine own, RuntimeException cause) {
        List<Sequence> left = waiting.removeAll();
        Successor next;
        lock.lock();
        try {
            failure = cause;
            ended = true;
            left.addAll(inbox);
            inbox.clear();
            queuedRequests = 0;
            queuedTokens = 0;
            runningTokens = 0;
            next = successor;
        } finally {
            lock.unlock();
        }
        LOG.error(
                "{} lost its engine; {} waiting requests are handed over or fail",
                thread.getName(),
                left.size(),
                cause);
        onRoom.run();
        next.accept(own, left, cause);
    }

    private void failAll(Engine own, List<Sequence> sequences, RuntimeException cause) {
        sequences.forEach(sequence -> own.fail(sequence, cause));
    }
}
