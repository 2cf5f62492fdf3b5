package io.github.loomtorch.sampling;

import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.TokenLogprobs;
import java.util.Optional;
import java.util.OptionalDouble;

/** What a score holds beside the log-probabilities, from the weights of all token ids. */
final class Scores {
    private Scores() {}

    /** The probability of each id, times the sum of all weights. */
    interface Weights {
        long of(int id);
    }

    static PositionScore of(
            float[] logits,
            int tokenId,
            PromptScoring scoring,
            TokenLogprobs logprobs,
            Weights weights,
            boolean[] wordStarts) {
        return new PositionScore(
                logprobs,
                scoring.statistics() ? Optional.of(statistics(logits, tokenId, weights)) : Optional.empty(),
                scoring.wordStarts()
                        ? OptionalDouble.of(logShare(wordStarts, logits.length, weights))
                        : OptionalDouble.empty());
    }

    private static PositionScore.Statistics statistics(float[] logits, int tokenId, Weights weights) {
        float target = logits[tokenId];
        float max = Float.NEGATIVE_INFINITY; // sums of differences from it are more exact
        int rank = 1;
        for (float logit : logits) {
            max = Math.max(max, logit);
            rank += logit > target ? 1 : 0;
        }
        double mass = 0;
        double sum = 0; // of weight * (logit - max)
        double squares = 0; // of weight * (logit - max)^2
        for (int id = 0; id < logits.length; id++) {
            double weight = weights.of(id);
            if (weight > 0) { // a logit of weight 0 may be infinite
                double logit = logits[id] - max;
                mass += weight;
                sum += weight * logit;
                squares += weight * logit * logit;
            }
        }
        double mean = sum / mass;
        double entropy = StrictMath.log(mass * 0x1p-40) - mean; // the largest weight is 2^40
        double variance = squares / mass - mean * mean;
        return new PositionScore.Statistics(rank, (float) Math.max(0, entropy), (float) Math.max(0, variance));
    }

    /** Log of the probability of the included ids together. */
    private static double logShare(boolean[] included, int vocabSize, Weights weights) {
        long share = 0;
        long mass = 0;
        for (int id = 0; id < vocabSize; id++) {
            long weight = weights.of(id);
            mass += weight;
            share += included[id] ? weight : 0;
        }
        return StrictMath.log((double) share / mass);
    }
}
