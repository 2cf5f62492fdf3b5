package io.github.loomtorch.engine;

import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Which call of the model an engine thread is in. A watchdog that finds a call too long can abandon it: from then on
 * what was confined to the engine thread is the watchdog's, and the engine thread, should the call ever return, gets an
 * {@link AbandonedException}. Thread-safe.
 */
public final class StepMonitor {

    /** A call of the model. Immutable; its description is made when it is asked for, not in each step. */
    public static final class Call {
        private final String name;
        private final List<Chunk> step;
        private final long sinceNanos = System.nanoTime();

        private Call(String name, List<Chunk> step) {
            this.name = name;
            this.step = step;
        }

        /**
         * How long it has taken.
         *
         * @return nanoseconds until now
         */
        public long elapsedNanos() {
            return System.nanoTime() - sinceNanos;
        }

        /**
         * The call and its step, for messages.
         *
         * @return for example {@code launch of a decode step of 3 sequences}
         */
        public String what() {
            boolean decodes = step.stream().allMatch(chunk -> chunk.count() == 1);
            return name + " of a " + (decodes ? "decode" : "prefill") + " step of " + step.size()
                    + (step.size() == 1 ? " sequence" : " sequences");
        }
    }

    /** Ends the engine thread after its call was abandoned. */
    public static final class AbandonedException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        private AbandonedException() {
            super("the engine was abandoned");
        }
    }

    private static final Call NONE = new Call("none", List.of());
    private static final Call ABANDONED = new Call("abandoned", List.of());

    private final AtomicReference<Call> current = new AtomicReference<>(NONE);
    private volatile long returnedCalls; // written by the engine thread only

    StepMonitor() {}

    /** Makes a call on the engine thread. */
    @SuppressWarnings("Finally") // how an abandoned call ends interests nobody
    void call(String name, List<Chunk> step, Runnable call) {
        Call own = new Call(name, step);
        if (!current.compareAndSet(NONE, own)) {
            throw new AbandonedException();
        }
        try {
            call.run();
        } finally {
            if (!current.compareAndSet(own, NONE)) {
                throw new AbandonedException();
            }
            returnedCalls++;
        }
    }

    /**
     * The call that the engine thread is in.
     *
     * @return empty if it is in none
     */
    public Optional<Call> current() {
        Call call = Objects.requireNonNull(current.get());
        return call == NONE || call == ABANDONED ? Optional.empty() : Optional.of(call);
    }

    /**
     * How many calls have returned.
     *
     * @return &gt;= 0
     */
    public long returnedCalls() {
        return returnedCalls;
    }

    /**
     * Abandons a call.
     *
     * @param call that may have returned meanwhile
     * @return whether it had not, and the engine is abandoned
     */
    public boolean abandon(Call call) {
        return current.compareAndSet(call, ABANDONED);
    }
}
