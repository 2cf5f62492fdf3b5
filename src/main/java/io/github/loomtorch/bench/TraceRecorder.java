package io.github.loomtorch.bench;

import io.github.loomtorch.bench.RequestTrace.Status;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.request.RequestTimings;
import java.util.Arrays;
import java.util.Optional;

/** Records what comes of a request. Confined to one thread at a time. */
final class TraceRecorder implements Target.Receiver {
    private final long arrivalNanos;
    private final long sentNanos;
    private final Clock clock;
    private final Runnable onEnd;
    private long[] tokenNanos;
    private int count;

    private Status status = Status.FAILED;
    private String failure = "";
    private Optional<RequestTimings> timings = Optional.empty();
    private long endNanos;
    private int inputTokens;
    private int outputTokens;

    TraceRecorder(long arrivalNanos, Clock clock, Runnable onEnd, int maxTokens) {
        this.arrivalNanos = arrivalNanos;
        this.clock = clock;
        this.onEnd = onEnd;
        sentNanos = clock.nanoTime();
        tokenNanos = new long[maxTokens];
    }

    @Override
    public void onTokens() {
        if (count == tokenNanos.length) { // a server that sends more than was asked for
            tokenNanos = Arrays.copyOf(tokenNanos, 2 * count + 1);
        }
        tokenNanos[count++] = clock.nanoTime();
    }

    @Override
    public void onEnd(
            Status status, String failure, Optional<RequestTimings> timings, int inputTokens, int outputTokens) {
        boolean isEmpty = status == Status.COMPLETED && count == 0;
        this.status = isEmpty ? Status.FAILED : status;
        this.failure = isEmpty ? "no output token came" : failure;
        this.timings = timings;
        this.inputTokens = inputTokens;
        this.outputTokens = outputTokens;
        endNanos = clock.nanoTime();
        onEnd.run();
    }

    RequestTrace trace() {
        return new RequestTrace(
                status,
                failure,
                arrivalNanos,
                sentNanos,
                timings,
                endNanos,
                inputTokens,
                outputTokens,
                Arrays.copyOf(tokenNanos, count));
    }
}
