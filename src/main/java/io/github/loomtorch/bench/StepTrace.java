package io.github.loomtorch.bench;

import io.github.loomtorch.options.StepStats;

/**
 * One step of an engine. Immutable.
 *
 * @param endNanos when it ended, on the clock of the requests
 * @param waiting requests that waited to run at that time
 * @param stats what it did
 */
public record StepTrace(long endNanos, int waiting, StepStats stats) {}
