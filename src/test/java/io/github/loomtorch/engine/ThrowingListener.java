package io.github.loomtorch.engine;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.TokenEvent;

/** Throws at each token. */
class ThrowingListener implements SequenceListener {
    @Override
    public void onToken(TokenEvent event) {
        throw new IllegalStateException("listener");
    }

    @Override
    public void onFinished(Completion completion) {}

    @Override
    public void onFailed(RuntimeException cause) {}
}
