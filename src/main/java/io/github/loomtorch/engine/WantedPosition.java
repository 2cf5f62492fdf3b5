package io.github.loomtorch.engine;

import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.TokenLogprobs;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A position of a {@link Chunk} whose logits are wanted. The model either samples the token that follows, or scores the
 * token that follows in the prompt. Confined to the engine thread.
 */
public final class WantedPosition {
    private static final int NONE = -1;

    private final int position;
    private final int targetId; // NONE if a token is sampled
    private int tokenId = NONE;
    private Optional<TokenLogprobs> logprobs = Optional.empty();
    private @Nullable PositionScore score; // null until it is scored

    private WantedPosition(int position, int targetId) {
        this.position = position;
        this.targetId = targetId;
    }

    static WantedPosition toSample(int position) {
        return new WantedPosition(position, NONE);
    }

    static WantedPosition toScore(int position, int targetId) {
        return new WantedPosition(position, targetId);
    }

    /**
     * The position whose logits are wanted; the sampled or scored token belongs to the position after it.
     *
     * @return in {@code [chunk.start(), chunk.end())}
     */
    public int position() {
        return position;
    }

    /**
     * Whether a known token is scored; otherwise a token is sampled.
     *
     * @return true if {@link #scored} is to be called, false if {@code sampled} is
     */
    public boolean isScored() {
        return targetId != NONE;
    }

    /**
     * The token to score, which follows in the prompt. {@link io.github.loomtorch.request.SamplingParams#promptScoring}
     * of the sequence says what its score holds.
     *
     * @return in {@code [0, V)}
     */
    public int targetId() {
        assert isScored();
        return targetId;
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

    /**
     * Called by the model with the score of the target.
     *
     * @param positionScore holds what {@link PromptScoring} asks for
     */
    public void scored(PositionScore positionScore) {
        score = positionScore;
    }

    int tokenId() {
        assert tokenId != NONE;
        return tokenId;
    }

    Optional<TokenLogprobs> logprobs() {
        return logprobs;
    }

    PositionScore score() {
        return Objects.requireNonNull(score);
    }
}
