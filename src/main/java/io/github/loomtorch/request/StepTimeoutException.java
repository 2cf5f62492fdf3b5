package io.github.loomtorch.request;

/**
 * A step of the engine did not return in time. The requests that were in it fail with this; the engine is lost, and its
 * thread and the native memory of its model are abandoned, because a native call cannot be interrupted.
 */
public final class StepTimeoutException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /**
     * A step that did not return.
     *
     * @param message which step, and for how long
     */
    public StepTimeoutException(String message) {
        super(message);
    }
}
