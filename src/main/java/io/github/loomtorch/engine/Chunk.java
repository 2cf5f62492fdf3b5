package io.github.loomtorch.engine;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Tokens of one sequence that one step computes: a prefill chunk, which is the prompt or some of it, or the token
 * sampled last (decode). The token of a decode may be pending: a step still in flight samples it. Each chunk lists the
 * positions whose logits are wanted; a prefill chunk may have many, each to be scored or sampled.
 *
 * <p>With speculation a chunk has the token sampled last and candidates for those after it, which stand in the
 * sequence's tokens behind its length. All its positions are sampled; the engine takes the tokens as far as each is the
 * candidate at its place. Confined to the engine thread.
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
        assert count >= 1 && (pending ? count == 1 : start + count <= sequence.length() + sequence.candidates());
        this.sequence = sequence;
        this.start = start;
        this.count = count;
        this.mayRunAhead = mayRunAhead;
        wanted = wanted(sequence, start, start + count);
    }

    private static List<WantedPosition> wanted(Sequence sequence, int start, int end) {
        List<WantedPosition> wanted = new ArrayList<>(1);
        int endOfScored = Math.min(end, sequence.promptLength() - 1);
        for (int position = Math.max(start, sequence.firstToScore()); position < endOfScored; position++) {
            wanted.add(WantedPosition.toScore(position, sequence.tokens()[position + 1]));
        }
        for (int position = Math.max(start, sequence.length() - 1); position < end; position++) {
            wanted.add(WantedPosition.toSample(position));
        }
        return wanted;
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
     * The positions whose logits are wanted. Each yields a score or a token. Most chunks have none, or only their last:
     * if the chunk reaches the end of the sequence, the next token is sampled there, and after each candidate. Of a
     * prompt that is scored, each position before a scored token is wanted too. Only the last position is wanted in a
     * pending chunk.
     *
     * @return ascending positions of this chunk; not to be modified
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
        return !wanted.isEmpty() && position >= wanted.getFirst().position(); // from the first on all are wanted
    }

    /**
     * Called by the model if it cannot sample or score for this sequence; other sequences are not affected.
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
