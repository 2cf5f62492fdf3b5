package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Sequence;
import java.time.Duration;
import java.util.Comparator;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * A request that waits or runs, with what decides when it runs. Confined to the engine thread, but for
 * {@link #sequence()} and while it is being submitted.
 */
final class QueuedRequest {
    /** In the order of submission. */
    static final Comparator<QueuedRequest> BY_ARRIVAL = Comparator.comparingLong(request -> request.arrival);

    /** A request that was in so many failed steps runs alone. */
    private static final int SUSPECT_AFTER_FAILED_STEPS = 3;

    private final Sequence sequence;
    private final Consumer<RuntimeException> giveUp;
    private volatile @Nullable SubmissionQueue home; // null before it is queued
    private long arrival;
    private int batchNumber;
    private int failedSteps;
    private int failedAtLength;

    /**
     * A request.
     *
     * @param giveUp fails it, on any thread, whatever the engine still does with the sequence
     */
    QueuedRequest(Sequence sequence, Consumer<RuntimeException> giveUp) {
        this.sequence = sequence;
        this.giveUp = giveUp;
    }

    /**
     * Most urgent first. One level of priority is worth one interval of waiting: a request counts as submitted that
     * much earlier for each level, so a request that waits long enough comes before any new one. Equals are ordered by
     * arrival.
     */
    static Comparator<QueuedRequest> byUrgency(Duration ageingInterval) {
        double ageingNanos = ageingInterval.getSeconds() * 1e9 + ageingInterval.getNano();
        return Comparator.<QueuedRequest>comparingDouble(
                        request -> request.sequence.submittedNanos() - request.priority() * ageingNanos)
                .thenComparing(BY_ARRIVAL);
    }

    Sequence sequence() {
        return sequence;
    }

    /** Fails it, whatever the engine still does with the sequence. Called on any thread. */
    void giveUp(RuntimeException cause) {
        giveUp.accept(cause);
    }

    /** Called when a queue takes it. */
    void enter(SubmissionQueue queue) {
        home = queue;
    }

    /** Called when it has ended. */
    void leave() {
        SubmissionQueue queue = home;
        if (queue != null) {
            queue.remove(this);
        }
    }

    /** It ran in a step that failed. */
    void stepFailed() {
        failedSteps++;
        failedAtLength = sequence.length();
    }

    void forgetFailedSteps() {
        failedSteps = 0;
    }

    /** Whether it may be the cause of failed steps, and has to run alone to show that it is not. */
    boolean isSuspect() {
        return failedSteps >= SUSPECT_AFTER_FAILED_STEPS;
    }

    /** Clears it of suspicion, if it has passed the token at which the last step failed, and decoded one more. */
    void clearIfPassed() {
        if (sequence.length() > failedAtLength + 1) {
            failedSteps = 0;
        }
    }

    int priority() {
        return sequence.request().priority();
    }

    /** Place in the order of submission. */
    long arrival() {
        return arrival;
    }

    /** Called when a scheduler takes the request; no other request there has the same arrival. */
    void arrival(long number) {
        arrival = number;
    }

    /** The batch that it belongs to, from 1; 0 if it belongs to none. */
    int batchNumber() {
        return batchNumber;
    }

    void batchNumber(int number) {
        batchNumber = number;
    }
}
