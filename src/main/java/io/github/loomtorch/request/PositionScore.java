package io.github.loomtorch.request;

import java.util.Optional;
import java.util.OptionalDouble;

/**
 * What the model says of one token of a prompt, from the softmax of its own logits after the tokens before. All
 * logarithms are natural. Immutable.
 *
 * @param logprobs of the token, and of the most probable ones
 * @param statistics of the whole distribution; empty unless {@link PromptScoring#statistics()}
 * @param wordStartLogprob log of the probability, &lt;= 0, of all token ids together that begin a word or end the text;
 *     empty unless {@link PromptScoring#wordStarts()}
 */
public record PositionScore(TokenLogprobs logprobs, Optional<Statistics> statistics, OptionalDouble wordStartLogprob) {

    /**
     * How the token stands in the distribution p over all token ids, and how wide that is.
     *
     * @param rank of the token: the number of ids with a larger logit, plus one
     * @param entropy the sum of {@code -p ln p}, &gt;= 0
     * @param variance of {@code ln p} under p: the sum of {@code p (ln p)^2}, less the entropy's square, &gt;= 0
     */
    public record Statistics(int rank, float entropy, float variance) {}
}
