package io.github.loomtorch.scheduler;

import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.SchedulerState;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Where submitters hand requests to an engine thread, and the limits of what waits. The engine thread takes the
 * requests once per step and tells how many still wait then. Thread-safe.
 */
final class SubmissionQueue {
    private final QueueOptions limits;
    private final Runnable wake;

    private final ReentrantLock lock = new ReentrantLock();

    // Guarded by the lock.
    private List<QueuedRequest> inbox = new ArrayList<>();
    private long arrivals;
    private int queuedRequests;
    private long queuedTokens;
    private long runningTokens;
    private int freeSlots; // slots of the batch for requests to come; none while others wait, for pages or their turn
    private boolean closed;
    private boolean cancelsAll;
    private boolean ended; // nothing is ever taken out again
    private @Nullable RuntimeException failure; // null unless the engine is lost

    /** All that wait or run here. */
    private final Set<QueuedRequest> present = ConcurrentHashMap.newKeySet();

    private volatile Room room = new Room();

    /**
     * An empty queue.
     *
     * @param freeSlots slots of the batch: so many requests do not count as waiting
     * @param wake called when the engine thread has something to do; not under the lock, which that thread then takes
     */
    SubmissionQueue(QueueOptions limits, int freeSlots, Runnable wake) {
        this.limits = limits;
        this.freeSlots = freeSlots;
        this.wake = wake;
    }

    /** Where submitters wait for room. */
    Room room() {
        return room;
    }

    /** Has submitters wait for room in any of several queues. Called before the first request. */
    void share(Room shared) {
        room = shared;
    }

    /**
     * Queues a new request if there is room; false if there is none and the limits say to wait.
     *
     * @throws IllegalStateException if the queue is closed or the engine is lost
     * @throws RejectedExecutionException if the queue is full and rejects
     */
    boolean offer(QueuedRequest request) {
        boolean isFirst;
        lock.lock();
        try {
            requireOpen();
            int tokens = request.sequence().maxLength();
            if (isFullFor(tokens)) {
                if (limits.whenFull() == QueueOptions.WhenFull.REJECT) {
                    throw new RejectedExecutionException(whyFull(tokens));
                }
                return false;
            }
            isFirst = add(request);
        } finally {
            lock.unlock();
        }
        if (isFirst) {
            wake.run();
        }
        return true;
    }

    /**
     * Queues a request that another engine can no longer run, whatever the limits; false if it is too late for that.
     */
    boolean adopt(QueuedRequest request) {
        boolean isFirst;
        lock.lock();
        try {
            if (ended) {
                return false;
            }
            isFirst = add(request);
        } finally {
            lock.unlock();
        }
        if (isFirst) {
            wake.run();
        }
        return true;
    }

    private void requireOpen() {
        if (failure != null) {
            throw new IllegalStateException("engine is lost: " + failure.getMessage(), failure);
        }
        if (closed) {
            throw new IllegalStateException("scheduler is closed");
        }
    }

    /** A request that finds a free slot of the batch is taken in any case: it runs with the next step. */
    private boolean isFullFor(int tokens) {
        return hasTooManyRequests()
                || queuedRequests >= Math.max(1, freeSlots) && queuedTokens > limits.maxQueuedTokens() - tokens;
    }

    private boolean hasTooManyRequests() {
        return queuedRequests - freeSlots >= limits.maxQueuedRequests();
    }

    private String whyFull(int tokens) {
        return hasTooManyRequests()
                ? "queue is full: " + (queuedRequests - freeSlots) + " requests waiting (maxQueuedRequests="
                        + limits.maxQueuedRequests() + ")"
                : "queue is full: " + queuedTokens + " tokens waiting and " + tokens
                        + " more asked for (maxQueuedTokens=" + limits.maxQueuedTokens() + ")";
    }

    /** Whether it is the first that the engine thread has not taken: then that has to be woken. */
    private boolean add(QueuedRequest request) {
        request.arrival(++arrivals);
        request.enter(this);
        present.add(request);
        inbox.add(request);
        queuedRequests++;
        queuedTokens += request.sequence().maxLength();
        return inbox.size() == 1;
    }

    /** The requests that wait or run here; changes concurrently. */
    Set<QueuedRequest> present() {
        return present;
    }

    /** A request has ended. */
    void remove(QueuedRequest request) {
        present.remove(request);
    }

    /** Takes no more requests. */
    void close(boolean cancel) {
        lock.lock();
        try {
            closed = true;
            cancelsAll |= cancel;
        } finally {
            lock.unlock();
        }
        wake.run();
        room.signal();
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

    /** Tokens that all that waits or runs has at most in the end; {@link Long#MAX_VALUE} if no requests are taken. */
    long outstandingTokens() {
        lock.lock();
        try {
            return closed || failure != null ? Long.MAX_VALUE : queuedTokens + runningTokens;
        } finally {
            lock.unlock();
        }
    }

    SchedulerState state() {
        lock.lock();
        try {
            if (failure != null) {
                return new SchedulerState.Lost(failure);
            }
            return closed ? new SchedulerState.Draining() : new SchedulerState.Running(1, 1);
        } finally {
            lock.unlock();
        }
    }

    // The engine thread calls what follows.

    /** What the engine thread finds. */
    record News(List<QueuedRequest> requests, boolean closing, boolean cancelsAll) {}

    /** Takes the new requests. */
    News take() {
        lock.lock();
        try {
            List<QueuedRequest> taken = inbox.isEmpty() ? List.of() : inbox;
            if (!taken.isEmpty()) {
                inbox = new ArrayList<>();
            }
            return new News(taken, closed, cancelsAll);
        } finally {
            lock.unlock();
        }
    }

    /** Ends the queue if it is closed and no request is left in it; the caller has none either. */
    boolean endIfDrained() {
        lock.lock();
        try {
            ended = closed && inbox.isEmpty();
            return ended;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Tells submitters what the engine thread has now, beside the new requests.
     *
     * @param unusedSlots slots of the batch in which nothing runs
     */
    void updateLoad(WaitingQueue waiting, long tokensRunning, int unusedSlots) {
        boolean hasRoom;
        lock.lock();
        try {
            queuedRequests = waiting.size() + inbox.size();
            queuedTokens = waiting.tokens();
            for (QueuedRequest request : inbox) {
                queuedTokens += request.sequence().maxLength();
            }
            runningTokens = tokensRunning;
            freeSlots = waiting.isEmpty() ? unusedSlots : 0;
            hasRoom = !isFullFor(1);
        } finally {
            lock.unlock();
        }
        if (hasRoom) {
            room.signal();
        }
    }

    /** Refuses all requests from now on, because the engine is lost; returns those not taken. */
    List<QueuedRequest> lose(RuntimeException cause) {
        List<QueuedRequest> left;
        lock.lock();
        try {
            failure = cause;
            ended = true;
            left = inbox;
            inbox = new ArrayList<>();
            queuedRequests = 0;
            queuedTokens = 0;
            runningTokens = 0;
        } finally {
            lock.unlock();
        }
        room.signal();
        return left;
    }
}
