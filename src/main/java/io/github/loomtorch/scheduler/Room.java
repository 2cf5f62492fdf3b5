package io.github.loomtorch.scheduler;

import java.util.concurrent.CancellationException;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;

/** Where submitters wait for room in a queue, or in any of several. Thread-safe. */
final class Room {
    // Taken before a queue's lock, never within it.
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();

    /**
     * Offers a request until it is taken, each time there may be room.
     *
     * @param offer returns whether the request was taken; what it throws ends the wait
     * @throws CancellationException if the thread is interrupted while it waits; its interrupt flag stays set
     */
    void await(BooleanSupplier offer) {
        lock.lock();
        try {
            while (!offer.getAsBoolean()) {
                changed.await();
            }
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
