package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.CallbackExecutor;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.StepFailedException;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenListener;
import java.io.IOException;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Runs an engine on a platform thread of its own, named {@code engine-} and the device: what the asynchronous
 * schedulers share. Like the threads of an executor, it keeps the process alive until it is closed. Thread-safe.
 */
final class EngineThread {
    /*
     * Submitters put requests into the submission queue. The engine thread takes them out once per step; from then on they are confined
     * to it. It parks when nothing runs and nothing is due; whoever puts a request into an empty queue wakes it.
     */

    private static final Logger LOG = LoggerFactory.getLogger(EngineThread.class);

    private final AdmissionRule rule;
    private final WaitingQueue waiting;
    private final SubmissionQueue submissions;
    private final Thread thread;
    private final Engine engine;

    private volatile boolean cancelRequested;
    private volatile boolean woken; // since the engine thread last looked for news

    // Confined to the engine thread.
    private boolean closing;
    private int failedSteps; // in a row
    private long finishedSteps; // of the engine, when the last step failed

    private volatile int maxFailedSteps = Integer.MAX_VALUE;
    private volatile Successor successor = EngineThread::failAll;
    private volatile RuntimeException closeFailure; // null unless closing the engine failed

    /** Takes over the requests that wait when an engine is lost. Called on the engine thread. */
    @FunctionalInterface
    interface Successor {
        void accept(Engine lost, List<QueuedRequest> requests, RuntimeException cause);
    }

    /**
     * Starts the thread and waits until it has its engine.
     *
     * @param turn most urgent request first
     * @throws IOException if the factory throws it; so it does with unchecked exceptions and errors
     */
    EngineThread(EngineFactory factory, QueueOptions limits, Comparator<QueuedRequest> turn, AdmissionRule rule)
            throws IOException {
        this.rule = rule;
        waiting = new WaitingQueue(turn);
        submissions = new SubmissionQueue(limits, this::wake);
        CompletableFuture<Engine> created = new CompletableFuture<>();
        thread = Thread.ofPlatform().name("engine").daemon(false).unstarted(() -> run(factory, turn, created));
        thread.start();
        try {
            engine = created.join();
        } catch (CompletionException e) {
            switch (e.getCause()) {
                case IOException cause -> throw cause;
                case RuntimeException cause -> throw cause;
                case Error cause -> throw cause;
                default -> throw e;
            }
        }
    }

    Engine engine() {
        return engine;
    }

    SubmissionQueue submissions() {
        return submissions;
    }

    /** Submits a request, and waits for room if the limits say so. */
    Generation submit(GenerationRequest request, TokenListener listener) {
        SubmittedGeneration generation =
                new SubmittedGeneration(engine, request, listener, CallbackExecutor.shared(), this::cancelRequested);
        if (!submissions.room().await(() -> submissions.offer(generation.queued()), request.timeout())) {
            engine.finish(generation.queued().sequence(), FinishReason.DEADLINE); // no engine thread knows it
        }
        return generation;
    }

    /** Called after a request was cancelled that may wait here. */
    void cancelRequested() {
        cancelRequested = true;
        wake();
    }

    private void wake() {
        woken = true;
        engine.clock().unpark(thread);
    }

    /** Names who takes over if so many steps fail in a row. Called before the first request. */
    void joinPool(Successor pool, int maxFailures, Room room) {
        successor = pool;
        maxFailedSteps = maxFailures;
        submissions.share(room);
    }

    /** Waits until all is done and freed. */
    void close(boolean cancel) {
        submissions.close(cancel);
        boolean interrupted = false;
        while (true) {
            try {
                thread.join();
                break;
            } catch (InterruptedException e) {
                interrupted = true;
                submissions.close(true);
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        if (closeFailure != null) {
            throw closeFailure;
        }
    }

    // What follows runs on the engine thread.

    private void run(EngineFactory factory, Comparator<QueuedRequest> turn, CompletableFuture<Engine> created) {
        Engine own;
        try {
            own = factory.create();
        } catch (Throwable t) {
            created.completeExceptionally(t);
            return;
        }
        Thread.currentThread().setName("engine-" + own.device());
        RunningRequests running = new RunningRequests(own, turn);
        created.complete(own);
        try {
            loop(own, running);
        } catch (Throwable t) {
            RuntimeException cause =
                    t instanceof RuntimeException e ? e : new IllegalStateException("engine thread failed: " + t, t);
            try {
                running.failAll(cause);
            } finally {
                handOver(own, cause);
            }
        } finally {
            try {
                own.close();
            } catch (RuntimeException e) {
                closeFailure = e;
            }
        }
    }

    private void loop(Engine own, RunningRequests running) {
        while (!isDone(own)) {
            receive(own, running);
            waiting.endExpired(own);
            long askAgain = Long.MAX_VALUE;
            try {
                askAgain = rule.admit(running, waiting, own.clock().nanoTime(), closing);
                submissions.updateLoad(waiting, own.runningTokens());
                if (!own.isIdle()) {
                    running.step(waiting::add);
                    continue;
                }
            } catch (StepFailedException e) {
                stepFailed(own, running, e.failure());
                continue;
            }
            if (!closing) {
                park(own.clock(), Math.min(askAgain, waiting.nextDeadlineNanos()));
            }
        }
    }

    private boolean isDone(Engine own) {
        return waiting.isEmpty() && own.isIdle() && submissions.endIfDrained();
    }

    /** Takes what came since the last call. */
    private void receive(Engine own, RunningRequests running) {
        woken = false;
        SubmissionQueue.News news = submissions.take();
        closing = news.closing();
        news.requests().forEach(waiting::add);
        if (news.cancelsAll()) {
            waiting.forEach(request -> request.sequence().cancel());
            running.cancelAll();
        }
        boolean anyCancelled = cancelRequested || news.cancelsAll();
        cancelRequested = false;
        waiting.endCancelled(own, anyCancelled);
    }

    /** What ran fails with the step; what waits does not. */
    private void stepFailed(Engine own, RunningRequests running, RuntimeException cause) {
        running.failAll(cause);
        failedSteps = own.finishedSteps() == finishedSteps ? failedSteps + 1 : 1;
        finishedSteps = own.finishedSteps();
        if (own.isLost() || failedSteps >= maxFailedSteps) {
            throw cause;
        }
    }

    private void park(Clock clock, long untilNanos) {
        if (!woken) {
            long nanos = untilNanos - clock.nanoTime();
            clock.park(untilNanos == Long.MAX_VALUE ? Long.MAX_VALUE : Math.max(1, nanos));
        }
        Thread.interrupted(); // a stray interrupt has no meaning on this thread, and would make park() return at once
    }

    private void handOver(Engine own, RuntimeException cause) {
        List<QueuedRequest> left = waiting.removeAll();
        left.addAll(submissions.lose(cause));
        LOG.error(
                "{} lost its engine; {} waiting requests are handed over or fail",
                thread.getName(),
                left.size(),
                cause);
        successor.accept(own, left, cause);
    }

    private static void failAll(Engine own, List<QueuedRequest> requests, RuntimeException cause) {
        requests.forEach(request -> own.fail(request.sequence(), cause));
    }
}
