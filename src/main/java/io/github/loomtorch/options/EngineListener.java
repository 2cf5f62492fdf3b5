package io.github.loomtorch.options;

/** Watches an engine. Called on the engine thread, so it must return fast; what it throws is logged. */
@FunctionalInterface
public interface EngineListener {

    /**
     * A step ended.
     *
     * @param stats what it did
     */
    void onStep(StepStats stats);
}
