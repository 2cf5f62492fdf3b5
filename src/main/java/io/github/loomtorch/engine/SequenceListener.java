package io.github.loomtorch.engine;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.TokenEvent;

/**
 * Receives what one sequence produces: its tokens in order, then one of the two ends, once. Called on the engine thread
 * while the device computes the next step, so it must return fast, and must not throw.
 */
public interface SequenceListener {
    /** Ignores everything. */
    SequenceListener NONE = new SequenceListener() {
        @Override
        public void onToken(TokenEvent event) {}

        @Override
        public void onFinished(Completion completion) {}

        @Override
        public void onFailed(RuntimeException cause) {}
    };

    /**
     * More of the prompt is computed.
     *
     * @param tokens how many of its tokens are
     */
    default void onPromptComputed(int tokens) {}

    /**
     * A token was sampled.
     *
     * @param event the token and the text that it adds
     */
    void onToken(TokenEvent event);

    /**
     * The sequence completed.
     *
     * @param completion what was produced
     */
    void onFinished(Completion completion);

    /**
     * The sequence failed.
     *
     * @param cause why
     */
    void onFailed(RuntimeException cause);
}
