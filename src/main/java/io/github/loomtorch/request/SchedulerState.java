package io.github.loomtorch.request;

/** Whether a scheduler takes requests. Immutable. */
public sealed interface SchedulerState {

    /**
     * It takes requests.
     *
     * @param liveReplicas replicas that run requests, in [1, replicas]
     * @param replicas copies of the model that it started with, one for each device
     */
    record Running(int liveReplicas, int replicas) implements SchedulerState {}

    /** It is closed or being closed: it takes no requests, and finishes those it has. */
    record Draining() implements SchedulerState {}

    /**
     * It failed for good: every request fails or is refused.
     *
     * @param cause of the last failure
     */
    record Lost(RuntimeException cause) implements SchedulerState {}
}
