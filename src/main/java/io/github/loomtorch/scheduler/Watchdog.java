package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.StepMonitor;
import io.github.loomtorch.request.StepTimeoutException;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Watches the calls that an engine thread makes of its model, on a thread of its own, and abandons one that does not
 * return in time. Keeps the process alive until the engine is closed, unless its options say no. Thread-safe.
 */
final class Watchdog {
    private static final Logger LOG = LoggerFactory.getLogger(Watchdog.class);

    private static final long CHECK_MILLIS = 100;
    private static final long WARM_UP_CALLS = 4;
    private static final int WARM_UP_FACTOR = 10;

    /** From here on a call is late: requests past their deadline do not wait for it to return. */
    private static final long LATE_NANOS = TimeUnit.SECONDS.toNanos(5);

    /** {@code closeNow} returns within 5 s. */
    private static final long CLOSE_NANOS = TimeUnit.SECONDS.toNanos(4);

    private final Engine engine;
    private final Thread engineThread;
    private final SubmissionQueue submissions;
    private final Consumer<RuntimeException> onAbandoned;
    private final long timeoutNanos;
    private final CountDownLatch done = new CountDownLatch(1);
    private volatile boolean abandoned;

    /**
     * Starts the watchdog of an engine.
     *
     * @param onAbandoned called once a call was abandoned: what was confined to the engine thread is the caller's then
     */
    Watchdog(Engine engine, Thread engineThread, SubmissionQueue submissions, Consumer<RuntimeException> onAbandoned) {
        this.engine = engine;
        this.engineThread = engineThread;
        this.submissions = submissions;
        this.onAbandoned = onAbandoned;
        timeoutNanos = TimeUnit.NANOSECONDS.convert(engine.stepTimeout());
        Thread.ofPlatform()
                .name("watchdog-" + engine.device())
                .daemon(engine.hasDaemonThreads())
                .start(this::watch);
    }

    /** The engine thread has ended. */
    void engineEnded() {
        done.countDown();
    }

    /** Waits until the engine thread has ended or was abandoned. */
    void awaitEnd() throws InterruptedException {
        done.await();
        awaitThread();
    }

    private void awaitThread() throws InterruptedException {
        if (!abandoned) {
            engineThread.join();
        }
    }

    /** As {@link #awaitEnd()}, but abandons a call that does not return within 4 s. */
    void awaitEndNow() throws InterruptedException {
        if (done.await(CLOSE_NANOS, TimeUnit.NANOSECONDS)) {
            awaitThread();
            return;
        }
        for (int attempt = 0; attempt < 8 && done.getCount() > 0; attempt++) {
            engine.monitor().current().ifPresent(call -> abandon(call, "closing now"));
            done.await(CHECK_MILLIS, TimeUnit.MILLISECONDS);
        }
        if (done.getCount() > 0) {
            LOG.error("{} has not ended within 5 s of closing; it is left to itself", engineThread.getName());
        }
    }

    private void watch() {
        try {
            while (!done.await(CHECK_MILLIS, TimeUnit.MILLISECONDS)) {
                Optional<StepMonitor.Call> call = engine.monitor().current();
                if (call.isPresent()) {
                    check(call.get());
                }
            }
        } catch (InterruptedException e) {
            throw new AssertionError("nobody knows this thread", e);
        }
    }

    private void check(StepMonitor.Call call) {
        long elapsed = call.elapsedNanos();
        long limit = timeoutNanos;
        if (engine.monitor().returnedCalls() < WARM_UP_CALLS) {
            limit = limit > Long.MAX_VALUE / WARM_UP_FACTOR ? Long.MAX_VALUE : WARM_UP_FACTOR * limit;
        }
        if (elapsed > limit) {
            abandon(call, "stepTimeout " + engine.stepTimeout());
        } else if (elapsed > Math.min(limit / 2, LATE_NANOS)) {
            failExpired(call);
        }
    }

    /** Fails the requests past their deadline: the step that would end them does not return. */
    private void failExpired(StepMonitor.Call call) {
        long now = engine.clock().nanoTime();
        for (QueuedRequest request : submissions.present()) {
            if (request.sequence().deadlineNanos() <= now) {
                request.giveUp(new StepTimeoutException(
                        "the deadline passed while " + describe(call) + " on " + engineThread.getName()));
            }
        }
    }

    private void abandon(StepMonitor.Call call, String why) {
        if (engine.monitor().abandon(call)) {
            abandoned = true;
            StepTimeoutException cause = new StepTimeoutException(describe(call) + " (" + why + "); thread "
                    + engineThread.getName() + " and the native memory of its model are abandoned");
            LOG.error(cause.getMessage());
            try {
                onAbandoned.accept(cause);
            } finally {
                done.countDown();
            }
        }
    }

    private static String describe(StepMonitor.Call call) {
        return call.what() + " has not returned for "
                + Duration.ofNanos(call.elapsedNanos()).toMillis() + " ms";
    }
}
