package io.github.loomtorch.testing;

import io.github.loomtorch.engine.Clock;
import java.time.Duration;
import java.util.PriorityQueue;

/**
 * A clock of one thread, whose time passes only while that thread is parked: from event to event, at once. Confined to
 * one thread.
 */
public final class SimulatedClock implements Clock {
    private record Event(long nanos, long number, Runnable action) {}

    private final PriorityQueue<Event> events = new PriorityQueue<>(
            (a, b) -> a.nanos != b.nanos ? Long.compare(a.nanos, b.nanos) : Long.compare(a.number, b.number));
    private long now;
    private long count;
    private boolean permit;

    /** Runs an action when so much time has passed. */
    public void after(Duration delay, Runnable action) {
        events.add(new Event(now + delay.toNanos(), count++, action));
    }

    @Override
    public long nanoTime() {
        return now;
    }

    @Override
    public void park(long nanos) {
        long until = nanos > Long.MAX_VALUE - now ? Long.MAX_VALUE : now + nanos;
        while (!permit && !events.isEmpty() && events.peek().nanos <= until) {
            Event event = events.remove();
            now = event.nanos;
            event.action.run();
        }
        if (!permit) {
            if (until == Long.MAX_VALUE) {
                throw new IllegalStateException("parked for ever: nothing will happen any more");
            }
            now = until;
        }
        permit = false;
    }

    @Override
    public void unpark(Thread thread) {
        permit = true;
    }
}
