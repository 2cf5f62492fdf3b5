package io.github.loomtorch.scheduler;

import io.github.loomtorch.request.TokenEvent;
import java.util.concurrent.Executor;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Pushes the tokens of a {@link TokenLog} to user code, by one task at a time: the task starts when there is something
 * to push and ends when there is nothing more. Thread-safe.
 */
abstract class TokenSink {
    private final TokenLog log;
    private final Executor executor;
    private final Runnable observer = this::wake;

    // Taken before the log's lock, never within it.
    private final ReentrantLock lock = new ReentrantLock();

    // Guarded by the lock.
    private int taken;
    private long demand;
    private boolean wantsTokens = true;
    private boolean refused;
    private boolean closed;
    private boolean active = true; // until start()

    TokenSink(TokenLog log, Executor executor) {
        this.log = log;
        this.executor = executor;
    }

    /** Called by the task for each token. */
    abstract void onToken(TokenEvent event);

    /** Called by the task once, after the last token or after {@link #refuse()}. */
    abstract void onEnd();

    /** Pushes what there is, and from now on what comes; does nothing after {@link #close()}. */
    final void start() {
        lock.lock();
        try {
            if (closed) {
                return;
            }
            log.addObserver(observer);
            active = false;
        } finally {
            lock.unlock();
        }
        wake();
    }

    /** Asks for more tokens, {@link Long#MAX_VALUE} for all. */
    final void demand(long n) {
        lock.lock();
        try {
            demand = demand > Long.MAX_VALUE - n ? Long.MAX_VALUE : demand + n;
        } finally {
            lock.unlock();
        }
        wake();
    }

    /** Pushes no more tokens, only the end. */
    final void skipTokens() {
        lock.lock();
        try {
            wantsTokens = false;
        } finally {
            lock.unlock();
        }
        wake();
    }

    /** Ends at once. */
    final void refuse() {
        lock.lock();
        try {
            refused = true;
        } finally {
            lock.unlock();
        }
        wake();
    }

    /** Pushes nothing any more. */
    final void close() {
        lock.lock();
        try {
            closed = true;
        } finally {
            lock.unlock();
        }
        log.removeObserver(observer);
    }

    private void wake() {
        lock.lock();
        try {
            if (active || next() == TokenLog.Next.NOTHING) {
                return;
            }
            active = true;
        } finally {
            lock.unlock();
        }
        executor.execute(this::push);
    }

    private void push() {
        while (true) {
            TokenLog.Next next;
            int index = 0;
            lock.lock();
            try {
                next = next();
                switch (next) {
                    case NOTHING -> {
                        active = false;
                        return;
                    }
                    case TOKEN -> {
                        index = taken++;
                        demand--;
                    }
                    case END -> closed = true;
                }
            } finally {
                lock.unlock();
            }
            if (next == TokenLog.Next.TOKEN) {
                onToken(log.get(index));
            } else {
                log.removeObserver(observer);
                onEnd();
            }
        }
    }

    /** What can be pushed now. */
    private TokenLog.Next next() {
        if (closed) {
            return TokenLog.Next.NOTHING;
        }
        if (refused) {
            return TokenLog.Next.END;
        }
        TokenLog.Next next = log.next(wantsTokens ? taken : Integer.MAX_VALUE);
        return next == TokenLog.Next.TOKEN && demand == 0 ? TokenLog.Next.NOTHING : next;
    }
}
