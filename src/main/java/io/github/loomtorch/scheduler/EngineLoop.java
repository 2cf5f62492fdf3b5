package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.SequenceListener;
import io.github.loomtorch.engine.StepFailedException;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import java.util.Comparator;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What an engine thread does, turn by turn: take the new requests, admit, compute a step. Confined to the engine
 * thread, but for {@link #cancelRequested()} and {@link #probeWhenStepsFail()}.
 */
final class EngineLoop {
    /** The next turn has something to do. */
    static final long AT_ONCE = Long.MIN_VALUE;

    private static final Logger LOG = LoggerFactory.getLogger(EngineLoop.class);

    /** A replica that fails so many steps in a row has to show that it still works. */
    private static final int PROBE_AFTER_FAILED_STEPS = 3;

    private final Engine engine;
    private final SubmissionQueue submissions;
    private final AdmissionRule rule;
    private final boolean retriesSteps;
    private final WaitingQueue waiting;
    private final RunningRequests running;

    private volatile boolean cancelRequested;
    private volatile boolean probes;
    private boolean closing;
    private int failedSteps; // in a row
    private long finishedSteps; // of the engine, when the last step failed

    /**
     * A loop without requests.
     *
     * @param turn most urgent request first
     * @param retriesSteps whether the requests of a failed step wait again; else they fail
     */
    EngineLoop(
            Engine engine,
            SubmissionQueue submissions,
            Comparator<QueuedRequest> turn,
            AdmissionRule rule,
            boolean retriesSteps) {
        this.engine = engine;
        this.submissions = submissions;
        this.rule = rule;
        this.retriesSteps = retriesSteps;
        waiting = new WaitingQueue(turn);
        running = new RunningRequests(engine, turn);
    }

    /** A request was cancelled that may wait here. */
    void cancelRequested() {
        cancelRequested = true;
    }

    /** From now on three failed steps in a row need a proof that the engine still works. */
    void probeWhenStepsFail() {
        probes = true;
    }

    /** Whether there will never be anything to do again. */
    boolean isDone() {
        return waiting.isEmpty() && engine.isIdle() && submissions.endIfDrained();
    }

    /**
     * Takes a turn.
     *
     * @return when to take the next one though nothing has come, in nanoseconds of the engine's clock:
     *     {@link #AT_ONCE}, or {@link Long#MAX_VALUE} for never
     * @throws RuntimeException if the engine is lost: why
     */
    long turn() {
        receive();
        waiting.endExpired(engine);
        try {
            long askAgain = rule.admit(running, waiting, engine.clock().nanoTime(), closing);
            submissions.updateLoad(waiting, engine.runningTokens(), engine.maxBatchSize() - engine.runningSequences());
            if (!engine.isIdle()) {
                running.step(waiting::add);
                return AT_ONCE;
            }
            return closing ? AT_ONCE : Math.min(askAgain, waiting.nextDeadlineNanos());
        } catch (StepFailedException e) {
            stepFailed(e.failure());
            return AT_ONCE;
        }
    }

    private void receive() {
        SubmissionQueue.News news = submissions.take();
        closing = news.closing();
        news.requests().forEach(waiting::add);
        if (news.cancelsAll()) {
            waiting.forEach(request -> request.sequence().cancel());
            running.cancelAll();
        }
        boolean anyCancelled = cancelRequested || news.cancelsAll();
        cancelRequested = false;
        waiting.endCancelled(engine, anyCancelled);
    }

    /** What ran in the step waits again, or fails if it was the cause or steps are not retried. */
    private void stepFailed(RuntimeException cause) {
        failedSteps = engine.finishedSteps() == finishedSteps ? failedSteps + 1 : 1;
        finishedSteps = engine.finishedSteps();
        List<QueuedRequest> stopped = running.takeStopped();
        boolean isCulprit = stopped.size() == 1 && stopped.getFirst().isSuspect();
        if (!retriesSteps || isCulprit || engine.isLost()) {
            stopped.forEach(request -> engine.fail(request.sequence(), cause));
        } else {
            LOG.warn("a step failed; its {} requests are computed again", stopped.size(), cause);
            for (QueuedRequest request : stopped) {
                request.stepFailed();
                waiting.add(request);
            }
        }
        if (engine.isLost() || probes && failedSteps >= PROBE_AFTER_FAILED_STEPS && !passesProbe()) {
            throw cause;
        }
    }

    /** Whether the engine can compute a token of a harmless sequence. */
    private boolean passesProbe() {
        Sequence probe = engine.newSequence(
                new GenerationRequest(new int[] {0}, SamplingParams.greedy(1)), SequenceListener.NONE);
        engine.tryAdmit(probe);
        try {
            while (!engine.isIdle()) {
                engine.step();
            }
            failedSteps = 0;
            return true;
        } catch (StepFailedException e) {
            return false;
        }
    }

    /** Stops and fails what runs. */
    void failRunning(RuntimeException cause) {
        running.failAll(cause);
    }

    /** Refuses all requests from now on, and returns those that wait. */
    List<QueuedRequest> lose(RuntimeException cause) {
        List<QueuedRequest> left = waiting.removeAll();
        left.addAll(submissions.lose(cause));
        left.forEach(submissions::remove);
        return left;
    }
}
