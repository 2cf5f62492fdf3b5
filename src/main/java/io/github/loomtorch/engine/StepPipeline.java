package io.github.loomtorch.engine;

import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.FinishReason;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;

/** The steps in flight: launched, finished, and their results published and reported. Confined to the engine thread. */
final class StepPipeline {
    /** A step that was launched. */
    private record Step(List<Chunk> chunks, long startNanos) {}

    private final CausalLm lm;
    private final RunningBatch batch;
    private final Clock clock;
    private final StepMonitor monitor;
    private final StepReporter reporter;

    private final Deque<Step> inFlight = new ArrayDeque<>(); // two during Engine.step(), otherwise at most one
    private final Deque<Sequence> newTokens = new ArrayDeque<>(); // sequences with tokens or progress to publish
    private final Deque<Sequence> newEnds = new ArrayDeque<>(); // sequences whose end is to be published
    private Step last = new Step(List.of(), 0); // launched or finished last
    private long finished;
    private int reusedTokens; // since the last report
    private int preemptions; // since the last report
    private int candidates; // verified since the last report ...
    private int acceptedCandidates; // ... and accepted

    StepPipeline(CausalLm lm, RunningBatch batch, Clock clock, StepMonitor monitor, StepReporter reporter) {
        this.lm = lm;
        this.batch = batch;
        this.clock = clock;
        this.monitor = monitor;
        this.reporter = reporter;
    }

    /** Whether no step is in flight. */
    boolean isIdle() {
        return inFlight.isEmpty();
    }

    /** How many steps did not fail. */
    long finished() {
        return finished;
    }

    void countReused(int tokens) {
        reusedTokens += tokens;
    }

    void countPreempted(int sequences) {
        preemptions += sequences;
    }

    void launch(List<Chunk> plan) {
        last = new Step(plan, clock.nanoTime());
        monitor.call("launch", plan, () -> lm.launch(plan));
        inFlight.add(last);
        for (Chunk chunk : plan) {
            chunk.sequence().launched(chunk);
        }
    }

    /** Takes the results of the oldest steps, until so many are in flight. */
    void finishAllBut(int stepsAhead) {
        while (inFlight.size() > stepsAhead) {
            last = inFlight.remove();
            monitor.call("await", last.chunks(), lm::await);
            long deviceNanos = lm.deviceNanos();
            int sampled = takeResults(last.chunks());
            finished++;
            report(deviceNanos, sampled, false);
        }
        if (batch.running().isEmpty()) {
            publish(); // no later step would
        }
    }

    /** Gives the sequences their tokens and scores, and ends those that are done; returns how many were sampled. */
    private int takeResults(List<Chunk> chunks) {
        long now = clock.nanoTime();
        int sampled = 0;
        for (Chunk chunk : chunks) {
            if (!chunk.sequence().hasEnded()) { // else its row is wasted
                sampled += takeResults(chunk, now);
            }
        }
        for (Sequence sequence : batch.running()) {
            if (!sequence.hasEnded() && sequence.isCancelled()) {
                sequence.output().finish(FinishReason.CANCELLED, now);
            } else if (!sequence.hasEnded() && sequence.deadlineNanos() <= now) {
                sequence.output().finish(FinishReason.DEADLINE, now);
            }
            if (sequence.hasEnded()) {
                newEnds.add(sequence);
            }
        }
        batch.removeEnded();
        return sampled;
    }

    private int takeResults(Chunk chunk, long now) {
        Sequence sequence = chunk.sequence();
        if (chunk.failure().isPresent()) {
            sequence.output().fail(chunk.failure().get(), now);
            return 0;
        }
        boolean isPrompt = chunk.start() < sequence.promptLength();
        if (isPrompt) {
            sequence.output().promptComputed(Math.min(chunk.end(), sequence.promptLength()));
        }
        int before = sequence.length();
        for (WantedPosition wanted : chunk.wantedPositions()) {
            assert wanted.isScored() || wanted.tokenId() < lm.vocabSize();
            if (!sequence.take(wanted, now)) {
                break;
            }
        }
        sequence.resultsTaken(chunk, before);
        if (chunk.end() > before && !chunk.isPending()) {
            candidates += chunk.end() - before;
            acceptedCandidates += sequence.length() - before - 1;
        }
        batch.computed(chunk);
        if (isPrompt || sequence.length() > before) {
            newTokens.add(sequence);
        }
        return sequence.length() - before;
    }

    /** Tells the listeners of the sequences what is new. */
    void publish() {
        while (!newTokens.isEmpty()) {
            newTokens.remove().output().publishTokens();
        }
        while (!newEnds.isEmpty()) {
            newEnds.remove().output().publishEnd();
        }
    }

    /** Waits for the steps in flight without taking their results, stops all sequences, and forgets the cache. */
    void abandon(Throwable cause) {
        while (!inFlight.isEmpty()) {
            Step step = inFlight.remove();
            suppressFailure(() -> monitor.call("await", step.chunks(), lm::await), cause);
        }
        batch.clear();
        suppressFailure(this::publish, cause);
    }

    private static void suppressFailure(Runnable action, Throwable cause) {
        try {
            action.run();
        } catch (StepMonitor.AbandonedException e) {
            throw e;
        } catch (RuntimeException | Error e) {
            if (e != cause && e != cause.getCause()) {
                cause.addSuppressed(e);
            }
        }
    }

    void reportFailure() {
        report(0, 0, true);
    }

    private void report(long deviceNanos, int sampled, boolean failed) {
        int computed = 0;
        for (Chunk chunk : last.chunks()) {
            computed += chunk.count();
        }
        StepStats stats = new StepStats(
                last.chunks().size(),
                computed,
                reusedTokens,
                sampled,
                candidates,
                acceptedCandidates,
                batch.running().size(),
                preemptions,
                batch.availablePages(),
                lm.pageCount(),
                clock.nanoTime() - last.startNanos(),
                deviceNanos,
                failed,
                0);
        reusedTokens = 0;
        candidates = 0;
        acceptedCandidates = 0;
        preemptions = 0;
        reporter.report(stats);
    }
}
