package io.github.loomtorch.engine;

import io.github.loomtorch.request.TokenLogprobs;
import java.util.Optional;

/**
 * A position of a {@link Chunk} whose logits are wanted: the model samples the token that follows it. Confined to the
 * engine thread.
 */
public final class WantedPosition {
    private static final int NOT_SAMPLED = -1;

    private final int position;
    private int tokenId = NOT_SAMPLED;
    private Optional<TokenLogprobs> logprobs = Optional.empty();

    WantedPosition(int position) {
        this.position = position;
    }

    /**
     * The position whose logits are wanted; the sampled token belongs to the position after it.
     *
     * @return in {@code [chunk.start(), chunk.end())}
     */
    public int position() {
        return position;
    }

    /**
     * Called by the model with the sampled token.
     *
     * @param id in {@code [0, V)}
     */
    public void sampled(int id) {
        tokenId = id;
    }

    /**
     * Called by the model with the sampled token and the log-probabilities that the request asks for.
     *
     * @param id in {@code [0, V)}
     * @param tokenLogprobs at this position
     */
    public void sampled(int id, TokenLogprobs tokenLogprobs) {
        tokenId = id;
        logprobs = Optional.of(tokenLogprobs);
    }

    int tokenId() {
        assert tokenId != NOT_SAMPLED;
        return tokenId;
    }

    Optional<TokenLogprobs> logprobs() {
        return logprobs;
    }
}
