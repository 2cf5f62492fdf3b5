package io.github.loomtorch.testing;

import io.github.loomtorch.engine.Clock;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/**
 * A clock that a test moves. It knows who is parked and until when, so a test can wait until a thread has done all it
 * can.
 */
public final class FakeClock implements Clock {
    private long now;
    private final Map<Thread, Long> parked = new HashMap<>(); // until
    private final Set<Thread> permits = new HashSet<>();

    public FakeClock(long now) {
        this.now = now;
    }

    public FakeClock() {
        this(0);
    }

    @Override
    public synchronized long nanoTime() {
        return now;
    }

    @Override
    public synchronized void park(long nanos) {
        Thread thread = Thread.currentThread();
        if (permits.remove(thread)) {
            return;
        }
        long until = nanos > Long.MAX_VALUE - Math.max(0, now) ? Long.MAX_VALUE : now + nanos;
        parked.put(thread, until);
        notifyAll();
        try {
            while (parked.containsKey(thread)) {
                wait();
            }
        } catch (InterruptedException e) {
            parked.remove(thread);
            thread.interrupt();
        }
        permits.remove(thread);
    }

    @Override
    public synchronized void unpark(Thread thread) {
        permits.add(thread);
        parked.remove(thread);
        notifyAll();
    }

    /** Moves the time, and wakes those that wait for it. */
    public synchronized void advance(Duration duration) {
        now += duration.toNanos();
        parked.values().removeIf(until -> until <= now);
        notifyAll();
    }

    /** Waits until a thread is parked; returns until when, {@link Long#MAX_VALUE} if for ever. */
    public synchronized long awaitParked() throws InterruptedException {
        while (parked.isEmpty()) {
            wait();
        }
        return parked.values().iterator().next();
    }

    /** Waits until so many threads are parked. */
    public synchronized void awaitParked(int threads) throws InterruptedException {
        while (parked.size() < threads) {
            wait();
        }
    }
}
