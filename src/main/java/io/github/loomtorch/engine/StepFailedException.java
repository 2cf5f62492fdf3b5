package io.github.loomtorch.engine;

/**
 * A step failed as a whole. What ran is stopped, not ended: each sequence can be failed, or admitted again and computed
 * from its tokens.
 */
public final class StepFailedException extends Exception {
    private static final long serialVersionUID = 1L;

    /** What the model threw. */
    private final RuntimeException failure;

    StepFailedException(RuntimeException failure) {
        super(failure);
        this.failure = failure;
    }

    /**
     * Why the step failed.
     *
     * @return what the model threw
     */
    public RuntimeException failure() {
        return failure;
    }
}
