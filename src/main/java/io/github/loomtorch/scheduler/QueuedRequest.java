package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Sequence;
import java.time.Duration;
import java.util.Comparator;

/**
 * A request that waits or runs, with what decides when it runs. Confined to the engine thread, but for
 * {@link #sequence()} and while it is being submitted.
 */
final class QueuedRequest {
    /** In the order of submission. */
    static final Comparator<QueuedRequest> BY_ARRIVAL = Comparator.comparingLong(request -> request.arrival);

    private final Sequence sequence;
    private long arrival;
    private int batchNumber;

    QueuedRequest(Sequence sequence) {
        this.sequence = sequence;
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
