package io.github.loomtorch.engine;

import java.util.List;
import java.util.Optional;

/**
 * Tokens of one sequence that one step computes: a prefill chunk, which is the prompt or a part of it, or the token
 * sampled last (decode). The token of a decode may be pending: a step still in flight samples it. Confined to the
 * engine thread.
 */
public final class Chunk {
    private final Sequence sequence;
    private final int start;
    private final int count;
    private final boolean pending;
    private final boolean mayRunAhead;
    private final List<WantedPosition> wanted;
    private Optional<RuntimeException> failure = Optional.empty();

    /**
     * A chunk to compute.
     *
     * @param sequence whose tokens
     * @param start position of the first token; all tokens before it are in the cache, or will be after the steps in
     *     flight. If it equals the sequence's length, the token is pending
     * @param count how many tokens, &gt;= 1; 1 if the token is pending
     * @param mayRunAhead whether the sequence's next chunk may be launched before this one's results are known
     */
    public Chunk(Sequence sequence, int start, int count, boolean mayRunAhead) {
        pending = start == sequence.length();
        assert count >= 1 && (pending ? count == 1 : start + count <= sequence.length());
        this.sequence = sequence;
        this.start = start;
        this.count = count;
        this.mayRunAhead = mayRunAhead;
        boolean reachesTheEnd = pending || start + count == sequence.length();
        wanted = reachesTheEnd ? List.of(new WantedPosition(start + count - 1)) : List.of();
    }

    /**
     * The sequence that the tokens belong to. It owns its slot and pages while the chunk is launched; when the step is
     * finished, the sequence may have ended, or hold the token that was pending.
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
     * Position behind the last token.
     *
     * @return start + count
     */
    public int end() {
        return start + count;
    }

    /**
     * Whether the host did not know the token when the chunk was made: the step launched just before samples it, for
     * the same sequence in the same slot.
     *
     * @return true for some chunks of one token
     */
    public boolean isPending() {
        return pending;
    }

    /**
     * Whether the sequence's next chunk may be launched while this one is in flight; its token is then pending.
     *
     * @return false if the engine has to know the results of this chunk first
     */
    public boolean mayRunAhead() {
        return mayRunAhead;
    }

    /**
     * The positions whose logits are wanted. Each yields a token.
     *
     * @return ascending positions of this chunk: the last one if the chunk reaches the end of the sequence, else none
     */
    public List<WantedPosition> wantedPositions() {
        return wanted;
    }

    /**
     * Whether the logits of a position are wanted.
     *
     * @param position in {@code [start, end)}
     * @return true if it is one of {@link #wantedPositions()}
     */
    public boolean wants(int position) {
        for (int i = 0; i < wanted.size(); i++) {
            if (wanted.get(i).position() == position) {
                return true;
            }
        }
        return false;
    }

    /**
     * Called by the model if it cannot sample for this sequence; other sequences are not affected.
     *
     * @param cause why
     */
    public void failed(RuntimeException cause) {
        failure = Optional.of(cause);
    }

    Optional<RuntimeException> failure() {
        return failure;
    }
}
