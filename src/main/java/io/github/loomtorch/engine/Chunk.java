package io.github.loomtorch.engine;

import io.github.loomtorch.request.TokenLogprobs;

/**
 * Tokens of one sequence computed in one step: the whole prompt or a part of it (prefill), or the one token sampled
 * last (decode). If they reach the sequence's end the step samples the next token too. The token of a decode may be
 * pending: the step before, which is still in flight, samples it. Confined to the engine thread.
 */
public final class Chunk {
    private final Sequence sequence;
    private final int start;
    private final int count;
    private final boolean pending;
    private final boolean samples;
    private int tokenId = -1;
    private TokenLogprobs logprobs;
    private RuntimeException failure;

    /**
     * A chunk to compute.
     *
     * @param sequence whose tokens
     * @param start position of the first token; all before it are in the cache, or will be after the steps in flight.
     *     If it is the sequence's length the token is pending
     * @param count how many tokens, &gt;= 1; one if it is pending
     */
    public Chunk(Sequence sequence, int start, int count) {
        pending = start == sequence.length();
        assert count >= 1 && (pending ? count == 1 : start + count <= sequence.length());
        this.sequence = sequence;
        this.start = start;
        this.count = count;
        samples = pending || start + count == sequence.length();
    }

    /**
     * The sequence that the tokens belong to. Its slot and pages are its own while the chunk is launched; by the time
     * that the step is finished it may have ended, or hold the token that was pending.
     *
     * @return its state, not to be changed by the model
     */
    public Sequence sequence() {
        return sequence;
    }

    /**
     * Position of the first token.
     *
     * @return &gt;= 0
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
     * Position behind the last token: how long the sequence is if the chunk samples.
     *
     * @return start + count
     */
    public int end() {
        return start + count;
    }

    /**
     * Whether the sequence did not have the token yet when the chunk was made: it is the one that the step launched
     * just before samples for the same sequence, in the same slot.
     *
     * @return true for the one token of some chunks, which then sample too
     */
    public boolean isPending() {
        return pending;
    }

    /**
     * Whether a token is to be sampled after this chunk.
     *
     * @return true if the chunk reaches the end of the sequence
     */
    public boolean samples() {
        return samples;
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
