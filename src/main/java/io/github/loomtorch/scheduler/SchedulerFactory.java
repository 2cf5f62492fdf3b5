package io.github.loomtorch.scheduler;

import java.io.IOException;

/**
 * Chooses the scheduler, for example {@code engines -> new AsyncNaiveScheduler(engines, 4, Duration.ofMillis(500))}.
 */
@FunctionalInterface
public interface SchedulerFactory {

    /**
     * Called once.
     *
     * @param engines makes the scheduler's engine
     * @return a scheduler, owned by the caller
     * @throws IOException if the model cannot be read
     */
    Scheduler create(EngineFactory engines) throws IOException;
}
