package io.github.loomtorch.engine;

import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * Time, and waiting for it: the one source of both for an engine and its scheduler, so that a test can move it.
 * Thread-safe.
 */
public interface Clock {

    /**
     * The time.
     *
     * @return monotonic nanoseconds since an arbitrary origin
     */
    long nanoTime();

    /**
     * Waits until {@link #unpark} is called for the current thread or the time has passed; not at all if it was called
     * before, unless the thread has waited for something else since. May return early for no reason.
     *
     * @param nanos &gt; 0
     */
    void park(long nanos);

    /**
     * Ends that thread's {@link #park}, the next one if it is not parked now.
     *
     * @param thread to wake
     */
    void unpark(Thread thread);

    /**
     * A time and a duration later.
     *
     * @param nanos a time of a clock
     * @param duration &gt;= 0
     * @return nanoseconds; {@link Long#MAX_VALUE} if the clock never comes to that
     */
    static long later(long nanos, Duration duration) {
        long added = TimeUnit.NANOSECONDS.convert(duration); // saturates
        return nanos > Long.MAX_VALUE - added ? Long.MAX_VALUE : nanos + added;
    }

    /**
     * The clock of this process.
     *
     * @return {@link System#nanoTime} and {@link LockSupport}
     */
    static Clock system() {
        return new Clock() {
            @Override
            public long nanoTime() {
                return System.nanoTime();
            }

            @Override
            public void park(long nanos) {
                LockSupport.parkNanos(this, nanos);
            }

            @Override
            public void unpark(Thread thread) {
                LockSupport.unpark(thread);
            }
        };
    }
}
