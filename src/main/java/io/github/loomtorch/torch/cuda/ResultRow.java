package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.request.SamplingParams;

/** The layout of one row of results, as ints (floats by their bits), which {@code sample.cu} writes. */
final class ResultRow {
    /** The token, or -1 if the logits are unusable. */
    static final int TOKEN = 0;

    /** With log probabilities: the token's raw logit, */
    static final int TOKEN_LOGIT = 1;
    /** the largest raw logit, */
    static final int MAX_LOGIT = 2;
    /** the mass of all raw weights at temperature 1, the low int, then the high one, */
    static final int MASS = 3;
    /** and from here on pairs of token id and raw logit. */
    static final int TOP = 5;

    /** Without a token: the ordinal of {@link io.github.loomtorch.sampling.Sampler.Unusable}, */
    static final int REASON = 1;
    /** a token id, */
    static final int ID = 2;
    /** and its logit. */
    static final int LOGIT = 3;

    /** Ints of a row. */
    static final int SIZE = TOP + 2 * SamplingParams.MAX_TOP_LOGPROBS;

    private ResultRow() {}
}
