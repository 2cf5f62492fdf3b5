package io.github.loomtorch.scheduler;

import io.github.loomtorch.request.TokenEvent;
import java.util.Arrays;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * The tokens of one generation so far, and its end, which is written once. One thread writes tokens; any number of
 * threads read, each from the first token. Thread-safe.
 */
final class TokenLog implements Iterable<TokenEvent> {

    /** What a reader at some index finds. */
    enum Next {
        /** A token. */
        TOKEN,
        /** No token yet. */
        NOTHING,
        /** The end: there are no more tokens. */
        END
    }

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition grown = lock.newCondition();

    // Guarded by the lock.
    private TokenEvent[] events = new TokenEvent[16];
    private int count;
    private boolean ended;
    private @Nullable RuntimeException failure; // null unless it ended with one

    /** Called after the log has grown or ended. Copied on change. */
    private volatile Runnable[] observers = {};

    /** Adds a token; does nothing after the end. */
    void add(TokenEvent event) {
        lock.lock();
        try {
            if (ended) {
                return;
            }
            if (count == events.length) {
                events = Arrays.copyOf(events, count * 2);
            }
            events[count++] = event;
            grown.signalAll();
        } finally {
            lock.unlock();
        }
        notifyObservers();
    }

    /** Ends the log, if it has not ended; runs an action before any reader sees the end. */
    void end(Runnable before) {
        end(null, before);
    }

    /** Ends the log with a failure, which readers see after the last token, if it has not ended. */
    void fail(RuntimeException cause, Runnable before) {
        end(cause, before);
    }

    private void end(@Nullable RuntimeException cause, Runnable before) {
        lock.lock();
        try {
            if (ended) {
                return;
            }
            before.run();
            failure = cause;
            ended = true;
            grown.signalAll();
        } finally {
            lock.unlock();
        }
        notifyObservers();
    }

    private void notifyObservers() {
        for (Runnable observer : observers) {
            observer.run();
        }
    }

    /** Has an action run, on the writer's thread, each time the log grows or ends. */
    void addObserver(Runnable observer) {
        lock.lock();
        try {
            observers = Arrays.copyOf(observers, observers.length + 1);
            observers[observers.length - 1] = observer;
        } finally {
            lock.unlock();
        }
    }

    void removeObserver(Runnable observer) {
        lock.lock();
        try {
            observers =
                    Arrays.stream(observers).filter(other -> other != observer).toArray(Runnable[]::new);
        } finally {
            lock.unlock();
        }
    }

    boolean hasEnded() {
        lock.lock();
        try {
            return ended;
        } finally {
            lock.unlock();
        }
    }

    /** What a reader finds that has read the tokens before an index. Does not wait. */
    Next next(int index) {
        lock.lock();
        try {
            return index < count ? Next.TOKEN : ended ? Next.END : Next.NOTHING;
        } finally {
            lock.unlock();
        }
    }

    /** The token at an index for which {@link #next} has said {@link Next#TOKEN}. */
    TokenEvent get(int index) {
        lock.lock();
        try {
            assert index < count;
            return events[index];
        } finally {
            lock.unlock();
        }
    }

    @Override
    public Iterator<TokenEvent> iterator() {
        return new WaitingIterator();
    }

    /** Waits for the next token or the end. */
    private final class WaitingIterator implements Iterator<TokenEvent> {
        private int taken;

        @Override
        public boolean hasNext() {
            lock.lock();
            try {
                while (taken == count && !ended) {
                    grown.await();
                }
                if (taken == count && failure != null) {
                    throw new CompletionException(failure);
                }
                return taken < count;
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new CancellationException("interrupted while waiting for a token");
            } finally {
                lock.unlock();
            }
        }

        @Override
        public TokenEvent next() {
            if (!hasNext()) {
                throw new NoSuchElementException("the generation has ended after " + taken + " tokens");
            }
            return get(taken++);
        }
    }
}
