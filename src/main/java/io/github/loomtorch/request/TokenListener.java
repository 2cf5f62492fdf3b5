package io.github.loomtorch.request;

/**
 * Receives the tokens of one request as they are sampled: in order, one call at a time. An asynchronous scheduler calls
 * it on a virtual thread of the request, so a listener that is slow or throws does not affect other requests.
 */
@FunctionalInterface
public interface TokenListener {
    /** Ignores all tokens. */
    TokenListener NONE = event -> {};

    /**
     * Called once for each output token.
     *
     * @param event the token and the text that it adds
     */
    void onToken(TokenEvent event);
}
