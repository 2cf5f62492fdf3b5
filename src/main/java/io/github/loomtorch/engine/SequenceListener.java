package io.github.loomtorch.engine;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.TokenEvent;
import java.util.List;

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
     * The scores of the prompt are known. Called once, before the first token, if there are some.
     *
     * @param scores one for each scored token
     */
    default void onPromptScored(List<PositionScore> scores) {}

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
