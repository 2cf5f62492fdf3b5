package io.github.loomtorch.request;

/**
 * The log-probability of a word, from those of its tokens. Immutable.
 *
 * <p>Where a token that begins a word carries the space before it, the tokens' sum is not that of the word: whether the
 * word ends is only known from the next token. The correction of <a href="https://arxiv.org/abs/2406.14561">Pimentel
 * and Meister 2024</a> adds the log of the probability that a word begins (or the text ends) after this word, and
 * subtracts that of this word's own beginning, unless the word begins without white space, as the first of a text may.
 *
 * @param text of the word, without white space around it
 * @param firstToken index of its first token in {@link TextScore#tokens()}
 * @param tokenCount how many tokens, white space before the word included
 * @param sum of the tokens' log-probabilities
 * @param logprob of the word: the sum with the correction
 */
public record WordScore(String text, int firstToken, int tokenCount, double sum, double logprob) {}
