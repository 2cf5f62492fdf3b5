package io.github.loomtorch.testing;

import java.util.concurrent.Semaphore;

/**
 * Lets a test decide when each step of a {@link FakeCausalLm} ends: {@code new FakeCausalLm(...).onAwait(chunks ->
 * gate.pass())}.
 */
public final class StepGate {
    private final Semaphore arrived = new Semaphore(0);
    private final Semaphore permits = new Semaphore(0);
    private volatile boolean open;

    /** Called within a step. */
    public void pass() {
        arrived.release();
        if (!open) {
            permits.acquireUninterruptibly();
        }
    }

    /** Waits until the next step has begun. */
    public void awaitStep() throws InterruptedException {
        arrived.acquire();
    }

    /** Ends the step that has begun, and waits until the next has begun. */
    public void nextStep() throws InterruptedException {
        permits.release();
        arrived.acquire();
    }

    /** Lets all steps pass from now on. */
    public void open() {
        open = true;
        permits.release();
    }
}
