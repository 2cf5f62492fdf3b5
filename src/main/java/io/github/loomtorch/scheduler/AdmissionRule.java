package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;

/**
 * What makes one asynchronous scheduler differ from another: who of those that wait runs now. Confined to the engine
 * thread.
 */
@FunctionalInterface
interface AdmissionRule {

    /**
     * Called before each step: admits sequences to the engine and removes them from the queue.
     *
     * @param nowNanos the engine's time
     * @param closing whether no more requests will come
     * @return if nothing runs after that, when to ask again though no request came; {@link Long#MAX_VALUE} for never
     */
    long admit(Engine engine, WaitingQueue waiting, long nowNanos, boolean closing);
}
