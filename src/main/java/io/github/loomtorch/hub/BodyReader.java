package io.github.loomtorch.hub;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * The body of an answer, read by one thread that does not wait for ever. At most two lists of buffers are in memory.
 */
final class BodyReader implements Flow.Subscriber<List<ByteBuffer>>, AutoCloseable {
    /** Some buffers, or the end, with its cause if that is a failure. */
    private record Signal(
            List<ByteBuffer> buffers,
            boolean isEnd,
            @Nullable Throwable failure) {}

    private final String what;
    private final Duration stall;
    private final BlockingQueue<Signal> signals = new LinkedBlockingQueue<>();
    private volatile Flow.@Nullable Subscription subscription;
    private volatile boolean closed;

    /**
     * A reader, to be subscribed.
     *
     * @param what is read; failures begin with it
     * @param stall how long to wait for the next bytes
     */
    BodyReader(String what, Duration stall) {
        this.what = what;
        this.stall = stall;
    }

    @Override
    public void onSubscribe(Flow.Subscription subscription) {
        this.subscription = subscription;
        if (closed) {
            subscription.cancel();
        } else {
            subscription.request(1);
        }
    }

    @Override
    public void onNext(List<ByteBuffer> buffers) {
        signals.add(new Signal(buffers, false, null));
    }

    @Override
    public void onError(Throwable failure) {
        signals.add(new Signal(List.of(), true, failure));
    }

    @Override
    public void onComplete() {
        signals.add(new Signal(List.of(), true, null));
    }

    /**
     * Waits for the next bytes.
     *
     * @return empty at the end
     * @throws HubFailure if none come in time, or the connection fails
     */
    List<ByteBuffer> next() throws HubFailure, InterruptedException {
        while (true) {
            Signal signal = signals.poll(stall.toNanos(), TimeUnit.NANOSECONDS);
            if (signal == null) {
                throw HubFailure.connection(what + ": no byte came for " + stall.toMillis() + " ms", null);
            }
            if (signal.failure() != null) {
                throw HubFailure.connection(
                        what + ": the connection broke: " + signal.failure().getMessage(), signal.failure());
            }
            Flow.Subscription source = subscription;
            if (!signal.isEnd() && source != null) {
                source.request(1);
            }
            if (signal.isEnd() || !signal.buffers().isEmpty()) {
                return signal.buffers();
            }
        }
    }

    /** Ends the connection if not all was read. */
    @Override
    public void close() {
        closed = true;
        Flow.Subscription source = subscription;
        if (source != null) {
            source.cancel();
        }
    }
}
