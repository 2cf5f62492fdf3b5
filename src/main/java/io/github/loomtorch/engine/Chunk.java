package io.github.loomtorch.engine;

import io.github.loomtorch.request.TokenLogprobs;

/**
 * Tokens of one sequence computed in one step: the whole prompt or a part of it (prefill), or the one token sampled last (decode). If
 * they reach the sequence's end the step samples the next token too. Confined to the engine thread.
 */
public final class Chunk {
    private final Sequence sequence;
    private final int start;
    private final int count;
    private int tokenId = -1;
    private TokenLogprobs logprobs;
    private RuntimeException failure;

    /**
     * A chunk to compute.
     *
     * @param sequence whose tokens
     * @param start position of the first token; all before it are in the cache
     * @param count how many tokens, &gt;= 1
     */
    public Chunk(Sequence sequence, int start, int count) {
        assert count >= 1 && start + count <= sequence.length();
        this.sequence = sequence;
        this.start = start;
        this.count = count;
    }

    /**
     * The sequence that the tokens belong to.
     *
     * @return its state, not to be changed by the model
     */
    public Sequence sequence() {
        return sequence;
    }

    /**
     * Position of the first token.
     *
     * @return in {@code [0, sequence.length())}
     */
    public int start() {
        return start;
    }

    /**
     * How many tokens.
     *
     * @return &gt;= 1
     */
    public int count() {
        return count;
    }

    /**
     * Whether a token is to be sampled after this chunk.
     *
     * @return true if the chunk reaches the end of the sequence
     */
    public boolean samples() {
        return start + count == sequence.length();
    }

    /**
     * Called by the model: the token sampled.
     *
     * @param tokenId in {@code [0, V)}
     */
    public void sampled(int tokenId) {
        this.tokenId = tokenId;
    }

    /**
     * Called by the model: the token sampled, with the logprobs that were asked for.
     *
     * @param tokenId in {@code [0, V)}
     * @param logprobs of this position
     */
    public void sampled(int tokenId, TokenLogprobs logprobs) {
        this.tokenId = tokenId;
        this.logprobs = logprobs;
    }

    /**
     * Called by the model: no token could be sampled for this sequence; the others are not affected.
     *
     * @param cause why
     */
    public void failed(RuntimeException cause) {
        this.failure = cause;
    }

    int tokenId() {
        return tokenId;
    }

    TokenLogprobs logprobs() {
        return logprobs;
    }

    RuntimeException failure() {
        return failure;
    }
}
