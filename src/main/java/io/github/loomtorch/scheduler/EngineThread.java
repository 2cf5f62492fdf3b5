package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.CallbackExecutor;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.SequenceListener;
import io.github.loomtorch.engine.StepFailedException;
import io.github.loomtorch.engine.StepMonitor;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
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

    /** A pool's replica that fails so many steps in a row has to show that it still works. */
    private static final int PROBE_AFTER_FAILED_STEPS = 3;

    private final AdmissionRule rule;
    private final boolean retriesSteps;
    private final WaitingQueue waiting;
    private final SubmissionQueue submissions;
    private final Thread thread;
    private final Engine engine;
    private final Watchdog watchdog;

    private volatile boolean cancelRequested;
    private volatile boolean woken; // since the engine thread last looked for news

    // Confined to the engine thread.
    private boolean closing;
    private int failedSteps; // in a row
    private long finishedSteps; // of the engine, when the last step failed

    private volatile boolean isReplica;
    private volatile Successor successor = EngineThread::failAll;
    private volatile RuntimeException closeFailure; // null unless closing the engine failed

    /** Takes over the requests that wait when an engine is lost. Called on the engine thread or its watchdog's. */
    @FunctionalInterface
    interface Successor {
        void accept(Engine lost, List<QueuedRequest> requests, RuntimeException cause);
    }

    /**
     * Starts the thread and waits until it has its engine.
     *
     * @param turn most urgent request first
     * @param retriesSteps whether the requests of a failed step wait again; else they fail
     * @throws IOException if the factory throws it; so it does with unchecked exceptions and errors
     */
    EngineThread(
            EngineFactory factory,
            QueueOptions limits,
            Comparator<QueuedRequest> turn,
            AdmissionRule rule,
            boolean retriesSteps)
            throws IOException {
        this.rule = rule;
        this.retriesSteps = retriesSteps;
        waiting = new WaitingQueue(turn);
        submissions = new SubmissionQueue(limits, this::wake);
        CompletableFuture<Engine> created = new CompletableFuture<>();
        CompletableFuture<Watchdog> watched = new CompletableFuture<>();
        thread = Thread.ofPlatform().name("engine").daemon(true).unstarted(() -> run(factory, turn, created, watched));
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
        watchdog = new Watchdog(engine, thread, submissions, this::abandoned);
        watched.complete(watchdog);
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

    /** Makes this a replica: waiting requests move to the others if it is lost. Called before the first request. */
    void joinPool(Successor pool, Room room) {
        isReplica = true;
        successor = pool;
        submissions.share(room);
    }

    /** Waits until all is done and freed; if requests are cancelled, not longer than 5 s. */
    void close(boolean cancel) {
        submissions.close(cancel);
        boolean interrupted = false;
        boolean now = cancel;
        while (true) {
            try {
                if (now) {
                    watchdog.awaitEndNow();
                } else {
                    watchdog.awaitEnd();
                }
                break;
            } catch (InterruptedException e) {
                interrupted = true;
                now = true;
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

    /** Called on the watchdog's or a closing thread; the engine thread touches nothing any more. */
    private void abandoned(RuntimeException cause) {
        handOver(engine, cause);
        submissions.present().forEach(request -> request.giveUp(cause)); // what ran
    }

    // What follows runs on the engine thread.

    private void run(
            EngineFactory factory,
            Comparator<QueuedRequest> turn,
            CompletableFuture<Engine> created,
            CompletableFuture<Watchdog> watched) {
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
        Watchdog ownWatchdog = watched.join();
        try {
            loop(own, running);
        } catch (StepMonitor.AbandonedException e) {
            LOG.warn("the abandoned call on {} has returned; its model is freed now", thread.getName());
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
            } catch (StepMonitor.AbandonedException e) {
                LOG.debug("closed an abandoned engine", e);
            } catch (RuntimeException e) {
                closeFailure = e;
            } finally {
                ownWatchdog.engineEnded();
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

    /** What ran in the step waits again, or fails if it was the cause or steps are not retried. */
    private void stepFailed(Engine own, RunningRequests running, RuntimeException cause) {
        failedSteps = own.finishedSteps() == finishedSteps ? failedSteps + 1 : 1;
        finishedSteps = own.finishedSteps();
        List<QueuedRequest> stopped = running.takeStopped();
        boolean isCulprit = stopped.size() == 1 && stopped.getFirst().isSuspect();
        if (!retriesSteps || isCulprit || own.isLost()) {
            failAll(own, stopped, cause);
        } else {
            LOG.warn("a step failed; its {} requests are computed again", stopped.size(), cause);
            for (QueuedRequest request : stopped) {
                request.stepFailed();
                waiting.add(request);
            }
        }
        if (own.isLost() || isReplica && failedSteps >= PROBE_AFTER_FAILED_STEPS && !passesProbe(own)) {
            throw cause;
        }
    }

    /** Whether the engine can compute a token of a harmless sequence. */
    private boolean passesProbe(Engine own) {
        Sequence probe =
                own.newSequence(new GenerationRequest(new int[] {0}, SamplingParams.greedy(1)), SequenceListener.NONE);
        own.tryAdmit(probe);
        try {
            while (!own.isIdle()) {
                own.step();
            }
            failedSteps = 0;
            return true;
        } catch (StepFailedException e) {
            return false;
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
        left.forEach(submissions::remove);
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
