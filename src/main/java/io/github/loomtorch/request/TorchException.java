package io.github.loomtorch.request;

/**
 * A failure of libtorch or CUDA, or of getting at them. The message says what failed and what to do; the cause is kept.
 */
public class TorchException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /**
     * A failure without a cause.
     *
     * @param message what failed, and what to do
     */
    public TorchException(String message) {
        super(message);
    }

    /**
     * A failure.
     *
     * @param message what failed, and what to do
     * @param cause what libtorch or the JVM said
     */
    public TorchException(String message, Throwable cause) {
        super(message, cause);
    }
}
