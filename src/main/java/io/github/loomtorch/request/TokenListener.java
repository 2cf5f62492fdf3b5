package io.github.loomtorch.request;

/**
 * Receives the tokens of one request as they are sampled. Called in order, one call at a time, on a thread of the
 * request's own where the scheduler is asynchronous: a slow or throwing listener delays and harms no other request.
 */
@FunctionalInterface
public interface TokenListener {
    /**
     * Called once for each output token.
     *
     * @param event the token and the text that it adds
     */
    void onToken(TokenEvent event);
}
