package io.github.loomtorch.hub;

import java.time.Duration;

/** Decides whether to try again, and waits before. Confined to one thread. */
final class Retries {
    private static final Duration MAX_WAIT = Duration.ofSeconds(60);

    /** Something to try. */
    @FunctionalInterface
    interface Attempt<T> {
        T run() throws HubFailure, InterruptedException;
    }

    private final HubSettings.Timing timing;
    private int failures;

    Retries(HubSettings.Timing timing) {
        this.timing = timing;
    }

    /** Tries until it succeeds, at most as often as is allowed. */
    static <T> T run(HubSettings.Timing timing, Attempt<T> attempt) throws HubFailure, InterruptedException {
        Retries retries = new Retries(timing);
        while (true) {
            try {
                return attempt.run();
            } catch (HubFailure e) {
                retries.failed(e);
            }
        }
    }

    /** Counts anew, because an attempt has brought something. */
    void progressed() {
        failures = 0;
    }

    /**
     * Waits before the next attempt.
     *
     * @throws HubFailure the last failure, if there is to be no further attempt
     */
    void failed(HubFailure failure) throws HubFailure, InterruptedException {
        failures++;
        Duration wait = timing.backOff().multipliedBy(1L << Math.min(failures - 1, 16));
        if (failure.retryAfter().compareTo(wait) > 0) {
            wait = failure.retryAfter();
        }
        if (!failure.isTemporary() || failures >= timing.attempts() || wait.compareTo(MAX_WAIT) > 0) {
            throw failure;
        }
        Thread.sleep(wait);
    }
}
