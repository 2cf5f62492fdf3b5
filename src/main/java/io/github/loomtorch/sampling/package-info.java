/**
 * Logits to one token id. {@link io.github.loomtorch.sampling.Sampler} is the reference: whatever samples elsewhere, on
 * a device or in another language, must give the same token for the same logits, parameters, seed and index.
 *
 * <p>The order of operations, all in float32 without fused multiply-add; a token's <em>rank</em> is its place in
 * descending order of logit, the lower id first among equals (-0 equals 0):
 *
 * <ol>
 *   <li>Logit bias is added. The logit of a banned id becomes negative infinity: of all that are not allowed, if some
 *       are named; of those that would end the output too early; and of the last of a bad word whose other ids have
 *       just been drawn.
 *   <li>Repetition penalty r (CTRL, <a href="https://arxiv.org/abs/1909.05858">arXiv:1909.05858</a>): the logit of each
 *       token in the prompt or the output, once, is divided by r if positive and multiplied by r otherwise.
 *   <li>Frequency penalty, then presence penalty: a token that occurs n &gt; 0 times in the output loses n times the
 *       one, then the other once.
 *   <li>Temperature T: 0 takes the token of rank 0 and ends here. Otherwise a token's exponent is {@code e = (logit -
 *       max) * s}, {@code s = min(log2(e) / T, largest float)}, and its weight the integer 2<sup>40 + e</sup>, rounded
 *       down; {@code Sampler.mantissa} fixes the polynomial. Sums of weights are exact, in any order.
 *   <li>Top-k (<a href="https://arxiv.org/abs/1805.04833">arXiv:1805.04833</a>): keeps the tokens whose logit is not
 *       below the k-th largest. Let M be the sum of their weights.
 *   <li>Top-p (<a href="https://arxiv.org/abs/1904.09751">arXiv:1904.09751</a>): of these, in rank order, keeps each
 *       whose preceding sum is below {@code p * M}.
 *   <li>Min-p (<a href="https://arxiv.org/abs/2407.01082">arXiv:2407.01082</a>): of these, keeps those whose exponent
 *       is at least log2(minP). Let M' be the sum of the weights that are left.
 *   <li>Draw: {@code u = Philox.uniform(seed, index)}; the first token, in rank order, up to which the sum exceeds
 *       {@code floor(u * M')}.
 * </ol>
 *
 * {@code p * M} and {@code u * M'} are products of doubles.
 *
 * <p>Random numbers are {@link io.github.loomtorch.sampling.Philox}'s, so a request's do not depend on its batch,
 * scheduler or device.
 *
 * <p>{@code Sampler.score} is the reference for scores: log-probabilities by the same weights as the draw, at
 * temperature 1 and without bias, penalties and truncation.
 *
 * <p>Nothing here is ever {@code null}. V is the size of the vocabulary.
 */
@NullMarked
package io.github.loomtorch.sampling;

import org.jspecify.annotations.NullMarked;
