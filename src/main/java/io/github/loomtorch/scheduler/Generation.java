package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.SequenceListener;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenListener;
import java.util.Arrays;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One request in flight. Its tokens can be taken as they come, in a loop ({@link #tokens()}) or pushed
 * ({@link #publisher()}), any number of times, each time from the first; or all at the end ({@link #join()}).
 * Thread-safe.
 */
public final class Generation {
    /** Wants no tokens. */
    static final TokenListener NO_LISTENER = event -> {};

    /** Runs user code of the asynchronous schedulers: a thread for each burst of tokens. */
    static final Executor VIRTUAL_THREADS =
            task -> Thread.ofVirtual().name("generation").start(task);

    private static final Logger LOG = LoggerFactory.getLogger(Generation.class);

    private final Sequence sequence;
    private final Executor executor;
    private final Runnable onCancel;
    private final CompletableFuture<Completion> completion = new CompletableFuture<>();

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition grown = lock.newCondition();

    // Guarded by the lock; written by the engine thread.
    private TokenEvent[] events = new TokenEvent[16];
    private int eventCount;
    private boolean ended;
    private Completion result; // null until it ends
    private RuntimeException failure; // null unless it failed

    /** All that get tokens pushed. Copied on change. */
    private volatile Sink[] sinks;

    /**
     * A generation that is submitted now; the caller hands its sequence to an engine.
     *
     * @param engine checks the request
     * @param request what to generate
     * @param listener sees the tokens
     * @param executor runs all user code
     * @param onCancel called, on any thread, after the sequence was cancelled
     */
    Generation(Engine engine, GenerationRequest request, TokenListener listener, Executor executor, Runnable onCancel) {
        this.executor = executor;
        this.onCancel = onCancel;
        sinks = new Sink[] {new ListenerSink(listener)};
        sequence = engine.newSequence(request, new Events());
        // However the future ends, by its owner's cancel(), orTimeout() or otherwise, nobody waits for the tokens any
        // more.
        completion.whenComplete((completed, cause) -> cancel());
    }

    Sequence sequence() {
        return sequence;
    }

    /**
     * The result, when it is there. It fails with the generation's failure. Cancelling it, or completing it otherwise,
     * cancels the generation.
     *
     * @return the same future each time
     */
    public CompletableFuture<Completion> completion() {
        return completion;
    }

    /**
     * Waits for the result.
     *
     * @return the completion
     * @throws CompletionException if the generation failed, with its cause
     * @throws CancellationException if the future was cancelled
     */
    public Completion join() {
        return completion.join();
    }

    /**
     * Ends the generation at the next step: it completes with what was produced until then and
     * {@link FinishReason#CANCELLED}. Does nothing if it has ended.
     */
    public void cancel() {
        lock.lock();
        try {
            if (ended) {
                return;
            }
        } finally {
            lock.unlock();
        }
        sequence.cancel();
        onCancel.run();
    }

    /**
     * The tokens, for a loop that waits for each; it ends with the generation. Leaving the loop early does not cancel
     * anything. Iterators throw {@link CompletionException} if the generation failed, and {@link CancellationException}
     * if their thread is interrupted as it waits (its interrupt flag stays set). Each iterator is confined to one
     * thread at a time.
     *
     * @return an iterable that starts at the first token each time
     */
    public Iterable<TokenEvent> tokens() {
        return TokenIterator::new;
    }

    /**
     * The tokens, pushed as they are asked for. Each subscriber gets all of them; cancelling a subscription does not
     * cancel the generation.
     *
     * @return a publisher for any number of subscribers
     */
    public Flow.Publisher<TokenEvent> publisher() {
        return subscriber -> {
            SubscriberSink sink = new SubscriberSink(subscriber);
            subscriber.onSubscribe(sink);
            sink.start();
        };
    }

    /** The engine's side. */
    private final class Events implements SequenceListener {
        @Override
        public void onToken(TokenEvent event) {
            lock.lock();
            try {
                if (eventCount == events.length) {
                    events = Arrays.copyOf(events, eventCount * 2);
                }
                events[eventCount++] = event;
                grown.signalAll();
            } finally {
                lock.unlock();
            }
            wakeSinks();
        }

        @Override
        public void onFinished(Completion completed) {
            end(completed, null);
        }

        @Override
        public void onFailed(RuntimeException cause) {
            end(null, cause);
        }

        private void end(Completion completed, RuntimeException cause) {
            lock.lock();
            try {
                result = completed;
                failure = cause;
                ended = true;
                grown.signalAll();
            } finally {
                lock.unlock();
            }
            wakeSinks();
        }

        private void wakeSinks() {
            for (Sink sink : sinks) {
                sink.wake();
            }
        }
    }

    private final class TokenIterator implements Iterator<TokenEvent> {
        private int taken;

        @Override
        public boolean hasNext() {
            lock.lock();
            try {
                while (taken == eventCount && !ended) {
                    grown.await();
                }
                if (taken == eventCount && failure != null) {
                    throw new CompletionException(failure);
                }
                return taken < eventCount;
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
            lock.lock();
            try {
                return events[taken++];
            } finally {
                lock.unlock();
            }
        }
    }

    /**
     * Something that tokens are pushed to, by one task at a time, which starts when there is something to push and ends
     * with it.
     */
    private abstract class Sink implements Runnable {
        // Guarded by the lock.
        private int taken;
        long demand;
        boolean wantsTokens = true;
        IllegalArgumentException refusal; // null unless it has asked for less than one token, which ends it at once
        boolean closed;
        boolean active;

        abstract void onToken(TokenEvent event);

        abstract void onEnd();

        /** Starts the task if there is something to push and it does not run yet. */
        final void wake() {
            lock.lock();
            try {
                if (active || !isReady()) {
                    return;
                }
                active = true;
            } finally {
                lock.unlock();
            }
            executor.execute(this);
        }

        @Override
        public final void run() {
            while (true) {
                TokenEvent event = null;
                lock.lock();
                try {
                    if (!isReady()) {
                        active = false;
                        return;
                    }
                    if (hasToken()) {
                        event = events[taken++];
                        demand--;
                    } else {
                        close();
                    }
                } finally {
                    lock.unlock();
                }
                if (event != null) {
                    onToken(event);
                } else {
                    onEnd();
                }
            }
        }

        private boolean isReady() {
            return !closed && (hasToken() ? demand > 0 : ended || refusal != null);
        }

        private boolean hasToken() {
            return wantsTokens && taken < eventCount;
        }

        /** Called with the lock held: pushes nothing any more. */
        final void close() {
            closed = true;
            sinks = Arrays.stream(sinks).filter(sink -> sink != this).toArray(Sink[]::new);
        }
    }

    /** The one that came with the request; completes the future. */
    private final class ListenerSink extends Sink {
        private final TokenListener listener;

        ListenerSink(TokenListener listener) {
            this.listener = listener;
            demand = Long.MAX_VALUE;
            wantsTokens = listener != NO_LISTENER;
        }

        @Override
        void onToken(TokenEvent event) {
            try {
                listener.onToken(event);
            } catch (Throwable t) {
                LOG.warn(
                        "token listener failed at token {}; it gets no more, the generation goes on", event.index(), t);
                lock.lock();
                try {
                    wantsTokens = false;
                } finally {
                    lock.unlock();
                }
            }
        }

        @Override
        void onEnd() {
            if (failure != null) {
                completion.completeExceptionally(failure);
            } else {
                completion.complete(result);
            }
        }
    }

    private final class SubscriberSink extends Sink implements Flow.Subscription {
        private final Flow.Subscriber<? super TokenEvent> subscriber;

        SubscriberSink(Flow.Subscriber<? super TokenEvent> subscriber) {
            this.subscriber = subscriber;
            active = true; // until onSubscribe has returned
            lock.lock();
            try {
                sinks = Arrays.copyOf(sinks, sinks.length + 1);
                sinks[sinks.length - 1] = this;
            } finally {
                lock.unlock();
            }
        }

        void start() {
            lock.lock();
            try {
                active = false;
            } finally {
                lock.unlock();
            }
            wake();
        }

        @Override
        public void request(long n) {
            lock.lock();
            try {
                if (n <= 0) {
                    wantsTokens = false;
                    refusal = new IllegalArgumentException("request(n): n must be > 0, got " + n);
                } else {
                    demand = demand > Long.MAX_VALUE - n ? Long.MAX_VALUE : demand + n;
                }
            } finally {
                lock.unlock();
            }
            wake();
        }

        @Override
        public void cancel() {
            lock.lock();
            try {
                close();
            } finally {
                lock.unlock();
            }
        }

        @Override
        void onToken(TokenEvent event) {
            try {
                subscriber.onNext(event);
            } catch (Throwable t) {
                LOG.warn(
                        "token subscriber failed at token {}; it gets no more, the generation goes on",
                        event.index(),
                        t);
                cancel();
            }
        }

        @Override
        void onEnd() {
            try {
                if (refusal != null) {
                    subscriber.onError(refusal);
                } else if (failure != null) {
                    subscriber.onError(failure);
                } else {
                    subscriber.onComplete();
                }
            } catch (Throwable t) {
                LOG.warn("token subscriber failed at the end", t);
            }
        }
    }
}
