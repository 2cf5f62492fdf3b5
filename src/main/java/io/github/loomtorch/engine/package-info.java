/**
 * One step of generation. {@link io.github.loomtorch.engine.Engine} has the step; {@code StepPlanner} decides what it
 * computes; {@code StepPipeline} launches, publishes and finishes it; {@code RunningBatch} has the slots and pages of
 * the sequences that run; a {@link io.github.loomtorch.engine.Sequence} is one request's tokens, {@code SequenceOutput}
 * its text and its end. The engine knows the model only as a {@link io.github.loomtorch.engine.CausalLm}. Schedulers
 * decide who runs, and on which thread.
 *
 * <p>Everything here is confined to the engine thread unless it says otherwise. Nothing is ever {@code null}.
 */
@NullMarked
package io.github.loomtorch.engine;

import org.jspecify.annotations.NullMarked;
