package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.CallbackExecutor;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.StepMonitor;
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
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Runs an engine on a platform thread of its own, named {@code engine-} and the device: what the asynchronous
 * schedulers share. Its watchdog keeps the process alive until it is closed, unless
 * {@link io.github.loomtorch.options.EngineOptions#daemonThreads()} says no. Thread-safe.
 */
final class EngineThread {
    /*
     * Submitters put requests into the submission queue. The engine thread takes them out once per step; from then on they are confined
     * to it. It parks when nothing runs and nothing is due; whoever puts a request into an empty queue wakes it.
     */

    private static final Logger LOG = LoggerFactory.getLogger(EngineThread.class);

    private final SubmissionQueue submissions;
    private final Thread thread;
    private final Engine engine;
    private final EngineLoop loop;
    private final Watchdog watchdog;

    private volatile boolean woken; // since the engine thread last looked for news
    private volatile Successor successor = EngineThread::failAll;
    private volatile @Nullable RuntimeException closeFailure; // null unless closing the engine failed

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
        CompletableFuture<Engine> created = new CompletableFuture<>();
        CompletableFuture<Void> ready = new CompletableFuture<>();
        thread = Thread.ofPlatform().name("engine").daemon(true).unstarted(() -> run(factory, created, ready));
        thread.start();
        try {
            engine = created.join();
        } catch (CompletionException e) {
            switch (e.getCause()) {
                case null -> throw e;
                case IOException cause -> throw cause;
                case RuntimeException cause -> throw cause;
                case Error cause -> throw cause;
                default -> throw e;
            }
        }
        submissions = new SubmissionQueue(limits, engine.maxBatchSize(), this::wake);
        loop = new EngineLoop(engine, submissions, turn, rule, retriesSteps);
        watchdog = new Watchdog(engine, thread, submissions, this::abandoned);
        ready.complete(null);
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
        loop.cancelRequested();
        wake();
    }

    private void wake() {
        woken = true;
        engine.clock().unpark(thread);
    }

    /** Makes this a replica: waiting requests move to the others if it is lost. Called before the first request. */
    void joinPool(Successor pool, Room room) {
        loop.probeWhenStepsFail();
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
        handOver(cause);
        submissions.present().forEach(request -> request.giveUp(cause)); // what ran
    }

    // What follows runs on the engine thread.

    private void run(EngineFactory factory, CompletableFuture<Engine> created, CompletableFuture<Void> ready) {
        try {
            Engine own = factory.create();
            Thread.currentThread().setName("engine-" + own.device());
            created.complete(own);
        } catch (Throwable t) {
            created.completeExceptionally(t);
            return;
        }
        ready.join(); // all fields are set
        try {
            while (!loop.isDone()) {
                woken = false;
                long next = loop.turn();
                if (next != EngineLoop.AT_ONCE) {
                    parkUntil(next);
                }
            }
        } catch (StepMonitor.AbandonedException e) {
            LOG.warn("the abandoned call on {} has returned; its model is freed now", thread.getName());
        } catch (Throwable t) {
            RuntimeException cause =
                    t instanceof RuntimeException e ? e : new IllegalStateException("engine thread failed: " + t, t);
            try {
                loop.failRunning(cause);
            } finally {
                handOver(cause);
            }
        } finally {
            closeEngine();
            watchdog.engineEnded();
        }
    }

    private void parkUntil(long nanos) {
        if (!woken) {
            Clock clock = engine.clock();
            clock.park(nanos == Long.MAX_VALUE ? Long.MAX_VALUE : Math.max(1, nanos - clock.nanoTime()));
        }
        Thread.interrupted(); // a stray interrupt has no meaning on this thread, and would make park() return at once
    }

    private void closeEngine() {
        try {
            engine.close();
        } catch (StepMonitor.AbandonedException e) {
            LOG.debug("closed an abandoned engine", e);
        } catch (RuntimeException e) {
            closeFailure = e;
        }
    }

    private void handOver(RuntimeException cause) {
        List<QueuedRequest> left = loop.lose(cause);
        LOG.error(
                "{} lost its engine; {} waiting requests are handed over or fail",
                thread.getName(),
                left.size(),
                cause);
        successor.accept(engine, left, cause);
    }

    private static void failAll(Engine own, List<QueuedRequest> requests, RuntimeException cause) {
        requests.forEach(request -> own.fail(request.sequence(), cause));
    }
}
