package io.github.loomtorch.request;

import java.util.List;

/**
 * Natural-log probabilities at one position, from the softmax of the model's own logits: before bias, penalties,
 * temperature and truncation. Immutable.
 *
 * @param logprob of the token that was sampled, or scored, &lt;= 0
 * @param top the most probable tokens, descending, ties by ascending id; as many as
 *     {@link SamplingParams#topLogprobs()} or {@link PromptScoring#top()} asks for
 */
public record TokenLogprobs(float logprob, List<Entry> top) {

    /**
     * One candidate.
     *
     * @param tokenId in {@code [0, V)}
     * @param logprob &lt;= 0
     */
    public record Entry(int tokenId, float logprob) {}

    /** Copies the list. */
    public TokenLogprobs {
        top = List.copyOf(top);
    }
}
