package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.StepFailedException;

/**
 * Decides which waiting requests run now: the difference between the asynchronous schedulers. Confined to the engine
 * thread.
 */
@FunctionalInterface
interface AdmissionRule {

    /**
     * Called before each step: admits requests and removes them from the queue.
     *
     * @param running what runs
     * @param waiting what waits
     * @param nowNanos the engine's time
     * @param closing whether no more requests will come
     * @return if nothing runs after that, when to ask again though no request came; {@link Long#MAX_VALUE} for never
     * @throws StepFailedException if a step in flight had to be finished and failed
     */
    long admit(RunningRequests running, WaitingQueue waiting, long nowNanos, boolean closing)
            throws StepFailedException;
}
