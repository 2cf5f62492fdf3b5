package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.StepFailedException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.function.Consumer;

/** The requests that an engine runs, and which of them is preempted for another. Confined to the engine thread. */
final class RunningRequests {
    private final Engine engine;
    private final Comparator<QueuedRequest> turn; // most urgent first
    private final List<QueuedRequest> running = new ArrayList<>(); // in order of admission

    RunningRequests(Engine engine, Comparator<QueuedRequest> turn) {
        this.engine = engine;
        this.turn = turn;
    }

    int size() {
        return running.size();
    }

    /** As {@link Engine#isFull()}. */
    boolean isFull() {
        return engine.isFull();
    }

    int maxSize() {
        return engine.maxBatchSize();
    }

    /** As {@link Engine#tryAdmit}. */
    Engine.Admission tryAdmit(QueuedRequest request) {
        Engine.Admission admission = engine.tryAdmit(request.sequence());
        if (admission == Engine.Admission.ADMITTED) {
            running.add(request);
        }
        return admission;
    }

    /**
     * The requests to preempt for one that found no room: of those with a lower priority that are also less urgent, the
     * least urgent first, and no more than necessary; empty if preempting all of them would not make room.
     */
    List<QueuedRequest> victimsFor(QueuedRequest waiting) {
        List<QueuedRequest> lessUrgent = running.stream()
                .filter(other -> other.priority() < waiting.priority() && turn.compare(waiting, other) < 0)
                .sorted(turn.reversed())
                .toList();
        List<Sequence> needed = engine.preemptionsFor(
                waiting.sequence(),
                lessUrgent.stream().map(QueuedRequest::sequence).toList());
        return lessUrgent.subList(0, needed.size());
    }

    /** Takes their slots and pages; they wait again. No step may be in flight. */
    void preempt(List<QueuedRequest> victims) {
        engine.preempt(victims.stream().map(QueuedRequest::sequence).toList());
        running.removeAll(victims);
    }

    /** Takes the results of the steps in flight: before a preemption, so that no token is lost. */
    void finishSteps() throws StepFailedException {
        engine.finishSteps();
        removeEnded();
    }

    /**
     * Computes the next step. If pages run out, the least urgent requests are preempted first.
     *
     * @param waitAgain takes the preempted requests
     */
    void step(Consumer<QueuedRequest> waitAgain) throws StepFailedException {
        if (engine.lacksPages()) {
            finishSteps();
        }
        while (engine.lacksPages()) {
            QueuedRequest leastUrgent = Collections.max(running, turn);
            preempt(List.of(leastUrgent));
            waitAgain.accept(leastUrgent);
        }
        engine.step();
        removeEnded();
        if (hasSuspect()) {
            running.getFirst().clearIfPassed();
        }
    }

    private void removeEnded() {
        running.removeIf(request -> request.sequence().hasEnded());
    }

    /** Whether one that is suspected to make steps fail runs, alone. */
    boolean hasSuspect() {
        return running.size() == 1 && running.getFirst().isSuspect();
    }

    /** Takes the requests that a failed step has stopped. */
    List<QueuedRequest> takeStopped() {
        removeEnded();
        List<QueuedRequest> stopped = List.copyOf(running);
        running.clear();
        return stopped;
    }

    void cancelAll() {
        running.forEach(request -> request.sequence().cancel());
    }

    /** Stops and fails all of them. */
    void failAll(RuntimeException cause) {
        engine.stopAll(cause);
        removeEnded();
        List<QueuedRequest> failing = List.copyOf(running);
        running.clear();
        RuntimeException thrown = null;
        for (QueuedRequest request : failing) {
            try {
                engine.fail(request.sequence(), cause);
            } catch (RuntimeException e) {
                thrown = e;
            }
        }
        if (thrown != null) {
            throw thrown;
        }
    }
}
