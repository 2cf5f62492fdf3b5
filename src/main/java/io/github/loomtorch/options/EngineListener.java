package io.github.loomtorch.options;

/**
 * Watches an engine. Called after each step, in order, one call at a time, and not on the engine's thread: a listener
 * that blocks, throws or closes the scheduler does not affect the engine. If it is more than 1024 steps behind, reports
 * are dropped, the oldest first, and counted in {@link StepStats#droppedReports()}.
 */
@FunctionalInterface
public interface EngineListener {
    /** Ignores all steps. */
    EngineListener NONE = stats -> {};

    /**
     * A step ended.
     *
     * @param stats what it did
     */
    void onStep(StepStats stats);
}
