package io.github.loomtorch.request;

/**
 * No token can be sampled, because the model's logits are not finite, or bias and penalties leave no token to choose.
 * It fails the request it belongs to and no other; the message says which.
 */
public final class UnusableLogitsException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /**
     * A failure to sample.
     *
     * @param message what is wrong with the logits, and what to do
     */
    public UnusableLogitsException(String message) {
        super(message);
    }
}
