package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.SequenceListener;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenListener;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A generation whose sequence an engine runs. The engine writes the log, which all readers share. Thread-safe. */
final class SubmittedGeneration implements Generation, SequenceListener {
    private static final Logger LOG = LoggerFactory.getLogger(SubmittedGeneration.class);

    private final Executor executor;
    private final Runnable onCancel;
    private final CompletableFuture<Completion> future = new CompletableFuture<>();
    private final TokenLog log = new TokenLog();
    private final QueuedRequest queued;
    private volatile int promptTokensComputed; // written by the engine
    private volatile List<PositionScore> promptScores = List.of(); // written by the engine

    // Written once, before the log ends, and read after that.
    private @Nullable Completion result;
    private @Nullable RuntimeException failure; // null unless it failed

    /**
     * A generation that is submitted now; the caller queues its request.
     *
     * @param engine checks the request
     * @param request what to generate
     * @param listener receives the tokens
     * @param executor runs all user code
     * @param onCancel called, on any thread, after the sequence was cancelled
     */
    SubmittedGeneration(
            Engine engine, GenerationRequest request, TokenListener listener, Executor executor, Runnable onCancel) {
        Objects.requireNonNull(listener, "listener");
        this.executor = executor;
        this.onCancel = onCancel;
        queued = new QueuedRequest(engine.newSequence(request, this), this::giveUp);
        // However the future ends, by its owner's cancel(), orTimeout() or otherwise: nobody waits for tokens any more.
        var unused = future.whenComplete((completed, cause) -> cancel());
        new ListenerSink(listener).start();
    }

    /** The request as its scheduler sees it. */
    QueuedRequest queued() {
        return queued;
    }

    @Override
    public CompletableFuture<Completion> completion() {
        return future;
    }

    @Override
    public Completion join() {
        try {
            return future.get();
        } catch (InterruptedException e) {
            throw interrupted();
        } catch (ExecutionException e) {
            throw new CompletionException(e.getCause());
        }
    }

    @Override
    public Completion join(Duration timeout) throws TimeoutException {
        if (timeout.isNegative()) {
            throw new IllegalArgumentException("timeout must be >= 0, got " + timeout);
        }
        try {
            return future.get(TimeUnit.NANOSECONDS.convert(timeout), TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            throw interrupted();
        } catch (ExecutionException e) {
            throw new CompletionException(e.getCause());
        } catch (TimeoutException e) {
            throw new TimeoutException("the generation has not ended within " + timeout);
        }
    }

    private static CancellationException interrupted() {
        Thread.currentThread().interrupt();
        return new CancellationException("interrupted while waiting for the completion");
    }

    @Override
    public void cancel() {
        if (!log.hasEnded()) {
            queued.sequence().cancel();
            onCancel.run();
        }
    }

    @Override
    public Iterable<TokenEvent> tokens() {
        return log;
    }

    @Override
    public Flow.Publisher<TokenEvent> publisher() {
        return subscriber -> {
            SubscriberSink sink = new SubscriberSink(subscriber);
            subscriber.onSubscribe(sink);
            sink.start();
        };
    }

    @Override
    public int promptTokensComputed() {
        return promptTokensComputed;
    }

    @Override
    public List<PositionScore> promptScores() {
        return promptScores;
    }

    // What follows is called by the engine.

    @Override
    public void onPromptComputed(int tokens) {
        promptTokensComputed = tokens;
    }

    @Override
    public void onPromptScored(List<PositionScore> scores) {
        promptScores = scores;
    }

    @Override
    public void onToken(TokenEvent event) {
        log.add(event);
    }

    @Override
    public void onFinished(Completion completion) {
        Completion numbered = completion.withBatchNumber(queued.batchNumber());
        log.end(() -> result = numbered);
        queued.leave();
    }

    @Override
    public void onFailed(RuntimeException cause) {
        giveUp(cause);
    }

    /** Fails the generation, whatever the engine still does with its sequence. Called on any thread. */
    private void giveUp(RuntimeException cause) {
        log.fail(cause, () -> failure = cause);
        queued.sequence().cancel();
        queued.leave();
    }

    /** Pushes to the listener that came with the request, and completes the future. */
    private final class ListenerSink extends TokenSink {
        private final TokenListener listener;

        ListenerSink(TokenListener listener) {
            super(log, executor);
            this.listener = listener;
            if (listener == TokenListener.NONE) {
                skipTokens();
            }
            demand(Long.MAX_VALUE);
        }

        @Override
        void onToken(TokenEvent event) {
            try {
                listener.onToken(event);
            } catch (Throwable t) {
                LOG.warn(
                        "token listener failed at token {}; it gets no more, the generation goes on", event.index(), t);
                skipTokens();
            }
        }

        @Override
        void onEnd() {
            if (failure != null) {
                future.completeExceptionally(failure);
            } else {
                future.complete(result);
            }
        }
    }

    private final class SubscriberSink extends TokenSink implements Flow.Subscription {
        private final Flow.Subscriber<? super TokenEvent> subscriber;
        private volatile @Nullable IllegalArgumentException refusal; // null unless it has asked for less than one token

        SubscriberSink(Flow.Subscriber<? super TokenEvent> subscriber) {
            super(log, executor);
            this.subscriber = subscriber;
        }

        @Override
        public void request(long n) {
            if (n <= 0) {
                refusal = new IllegalArgumentException("n must be > 0 (rule 3.9 of Reactive Streams), got " + n);
                refuse();
            } else {
                demand(n);
            }
        }

        @Override
        public void cancel() {
            close();
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
