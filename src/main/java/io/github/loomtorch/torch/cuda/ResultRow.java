package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.request.UnusableLogitsException;
import io.github.loomtorch.sampling.Sampler;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntUnaryOperator;

/**
 * The layout of one row of results, as ints (floats by their bits), which {@code sample.cu} and {@code score.cu} write.
 */
final class ResultRow {
    /** The sampled token, or -1 if the logits are unusable. */
    static final int TOKEN = 0;
    /** In a score, in the same place: the target's rank, &gt;= 1, or -1 if the logits are unusable. */
    static final int RANK = 0;

    /** With log-probabilities: the token's raw logit, */
    static final int TOKEN_LOGIT = 1;
    /** the largest raw logit, */
    static final int MAX_LOGIT = 2;
    /** the mass of all raw weights at temperature 1, the low int, then the high one, */
    static final int MASS = 3;
    /** in a score that asks for statistics or word starts: the mean of logit less largest logit under the softmax, */
    static final int MEAN = 5;
    /** its variance, */
    static final int VARIANCE = 6;
    /** and the probability of the ids that begin a word, */
    static final int WORD_STARTS = 7;
    /** and from here on pairs of token id and raw logit. */
    static final int TOP = 8;

    /** Where logits are unusable: the ordinal of {@link io.github.loomtorch.sampling.Sampler.Unusable}, */
    static final int REASON = 1;
    /** a token id, */
    static final int ID = 2;
    /** and its logit. */
    static final int LOGIT = 3;

    /** Ints of a row, with room for most log-probabilities. */
    static final int SIZE = size(SamplingParams.MAX_TOP_LOGPROBS);

    private ResultRow() {}

    /** Ints of a row with so many of the most probable tokens. */
    static int size(int top) {
        return TOP + 2 * top;
    }

    /** A float of a row; {@code row} gives its ints by index, here and below. */
    static float number(IntUnaryOperator row, int index) {
        return Float.intBitsToFloat(row.applyAsInt(index));
    }

    /** Log of the sum of {@code exp(logit - largest logit)}. */
    static double logMass(IntUnaryOperator row) {
        long mass = row.applyAsInt(MASS) & 0xffffffffL | (long) row.applyAsInt(MASS + 1) << 32;
        return StrictMath.log(mass * 0x1p-40);
    }

    /** The log-probabilities of the token and of so many of the most probable ones. */
    static TokenLogprobs logprobs(IntUnaryOperator row, int top) {
        double logSum = number(row, MAX_LOGIT) + logMass(row);
        List<TokenLogprobs.Entry> entries = new ArrayList<>(top);
        for (int i = 0; i < top; i++) {
            int at = TOP + 2 * i;
            entries.add(new TokenLogprobs.Entry(row.applyAsInt(at), (float) (number(row, at + 1) - logSum)));
        }
        return new TokenLogprobs((float) (number(row, TOKEN_LOGIT) - logSum), entries);
    }

    /** Why the logits are unusable. */
    static UnusableLogitsException unusable(IntUnaryOperator row, int vocabSize) {
        Sampler.Unusable why = Sampler.Unusable.values()[row.applyAsInt(REASON)];
        return Sampler.unusable(why, row.applyAsInt(ID), number(row, LOGIT), vocabSize);
    }
}
