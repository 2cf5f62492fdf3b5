package io.github.loomtorch.bench;

/**
 * What GPUs did during a measurement, by NVML. Immutable.
 *
 * @param utilization mean share of the time in which a kernel ran, in [0, 1]
 * @param powerWatts mean power of all GPUs together
 * @param maxMemoryBytes most memory in use on all GPUs together, other processes included
 */
public record GpuUse(double utilization, double powerWatts, long maxMemoryBytes) {}
