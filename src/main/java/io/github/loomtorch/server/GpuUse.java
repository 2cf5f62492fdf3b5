package io.github.loomtorch.server;

/**
 * What a GPU does at the time of a scrape. A value that is not known is NaN, and is not published. Immutable.
 *
 * @param device {@code cuda:n}
 * @param utilization share of the last moments in which a kernel ran, in [0, 1]
 * @param usedBytes memory in use, by other processes too
 * @param totalBytes memory of the GPU
 * @param powerWatts power that the GPU draws
 */
public record GpuUse(String device, double utilization, double usedBytes, double totalBytes, double powerWatts) {}
