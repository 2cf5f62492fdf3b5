package io.github.loomtorch.scheduler;

import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;

/** Where submitters wait for room in a queue, or in any of several. Thread-safe. */
final class Room {
    // Taken before a queue's lock, never within it.
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();

    /**
     * Offers a request until it is taken, each time there may be room, or until its timeout.
     *
     * @param offer returns whether the request was taken; what it throws ends the wait
     * @param timeout how long to wait; empty for ever
     * @return whether the request was taken
     * @throws CancellationException if the thread is interrupted while it waits; its interrupt flag stays set
     */
    boolean await(BooleanSupplier offer, Optional<Duration> timeout) {
        if (offer.getAsBoolean()) {
            return true; // the usual case, without the lock that the engine thread needs to signal
        }
        lock.lock();
        try {
            long nanos = timeout.map(TimeUnit.NANOSECONDS::convert).orElse(1L);
            while (!offer.getAsBoolean()) {
                if (timeout.isEmpty()) {
                    changed.await();
                } else if (nanos > 0) {
                    nanos = changed.awaitNanos(nanos);
                } else {
                    return false;
                }
            }
            return true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new CancellationException("interrupted while waiting for room in the queue");
        } finally {
            lock.unlock();
        }
    }

    /** There may be room now, or there never will be. Not called with a queue's lock held. */
    void signal() {
        lock.lock();
        try {
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }
}
