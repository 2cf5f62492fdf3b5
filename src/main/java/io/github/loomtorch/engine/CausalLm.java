package io.github.loomtorch.engine;

import java.util.List;

/**
 * A causal language model with its KV cache, as the engine needs it: one step at a time, a batch of chunks a step.
 *
 * <p>The cache has {@link #pageCount()} pages of {@link #pageSize()} tokens. Token {@code i} of a sequence is in row
 * {@code i % pageSize} of page {@code sequence.page(i / pageSize)}. The engine decides which sequence owns which page;
 * the model writes and reads them. Several sequences may read one page.
 *
 * <p>A step is launched, then finished by {@link #await}, in the same order. A model that {@link #runsAhead} has up to
 * two steps in flight; steps must behave as if executed one after the other. The engine therefore gives a slot or page
 * to another sequence as soon as its owner has ended, even if a step in flight still writes there.
 *
 * <p>Confined to the engine thread, {@link #close()} included.
 */
public interface CausalLm extends AutoCloseable {

    /**
     * The number of token ids.
     *
     * @return V, &gt;= 1
     */
    int vocabSize();

    /**
     * Where the model runs, for messages and thread names. Thread-safe.
     *
     * @return {@code cpu} or {@code cuda:n}
     */
    String device();

    /**
     * Most tokens that one sequence can hold, prompt and output together.
     *
     * @return &gt;= 1
     */
    int contextLength();

    /**
     * The tokens that end a text. A generation stops after any of them unless it ignores them; none has text.
     *
     * @return distinct ids in {@code [0, V)}, ascending; empty if no token ends a text; shared, do not modify
     */
    int[] endOfTextIds();

    /**
     * Most sequences in one step; their slots are {@code [0, maxBatchSize)}.
     *
     * @return &gt;= 1
     */
    int maxBatchSize();

    /**
     * Tokens in one page of the KV cache.
     *
     * @return &gt;= 1
     */
    int pageSize();

    /**
     * Pages that sequences can own, {@code [0, pageCount)}.
     *
     * @return at least enough for one sequence of {@code contextLength} tokens
     */
    int pageCount();

    /**
     * Whether a step can be launched while the one before is in flight. Chunks that follow one that
     * {@linkplain Chunk#mayRunAhead may run ahead} are then {@linkplain Chunk#isPending pending}: the host does not
     * know their token yet, the device does. By the time a step runs, a sequence may have ended. Its results are
     * ignored; computing them must be harmless.
     *
     * @return false by default: each step is finished before the next is launched, and no chunk is pending
     */
    default boolean runsAhead() {
        return false;
    }

    /**
     * Which token ids begin a word or end the text, for the requests that want
     * {@link io.github.loomtorch.request.PromptScoring#wordStarts}. Called once by an engine with a tokenizer, before
     * the first step; without it no request wants them.
     *
     * @param table [V], not modified afterwards
     */
    void wordStarts(boolean[] table);

    /**
     * Starts a step: computes the keys and values of every chunk's tokens and, for each of its
     * {@linkplain Chunk#wantedPositions wanted positions}, a token or a score. Both depend on the tokens up to that
     * position only: the penalties of a sampled token count those, and its random number is that of its place in the
     * output. May return before the work is done. Until the step is finished, the chunks do not change, and their
     * sequences only by what the step before sampled or by their end.
     *
     * @param chunks at most {@code maxBatchSize}, of different sequences; those of one token first
     * @throws RuntimeException if the step cannot start; there are no results, and it is not in flight
     */
    void launch(List<Chunk> chunks);

    /**
     * Finishes the oldest step in flight: calls {@link WantedPosition#sampled} or {@link WantedPosition#scored} for
     * each wanted position, or {@link Chunk#failed} for a chunk that has some.
     *
     * @throws RuntimeException if the step failed as a whole; there are no results, and it is no longer in flight
     */
    void await();

    /**
     * Whether a chunk's results depend on nothing but its sequence: the same chunk gives the same logits, bit for bit,
     * whatever else is in the step. The engine then cuts every sequence into the same chunks always, and computes each
     * prompt from its first token, whatever pages others have computed. Tokens of a prompt after the first that is
     * scored are chunks of one token, as if they had been sampled: their scores equal what decoding reports.
     *
     * <p>A model whose results do not depend on how a sequence is cut into chunks needs none of this, and says false.
     *
     * @return false unless the model says otherwise
     */
    default boolean deterministic() {
        return false;
    }

    /**
     * Most rows of decoding sequences in one step: the last token of each, and candidates. A deterministic model
     * computes as many rows in each step, so candidates can only take those that no sequence needs.
     *
     * @return 0 if no candidate can be verified; without a limit by default, but 0 for a deterministic model
     */
    default int maxDecodeRows() {
        return deterministic() ? 0 : Integer.MAX_VALUE;
    }

    /**
     * How long the device worked on the step finished last, from its first operation to its last.
     *
     * @return nanoseconds, or 0 if the model does not know
     */
    default long deviceNanos() {
        return 0;
    }

    /**
     * Whether the device is lost: no step can succeed any more.
     *
     * @return false unless the model says otherwise
     */
    default boolean isLost() {
        return false;
    }

    /** Frees the weights, the cache and all other native memory. Idempotent. */
    @Override
    void close();
}
