package io.github.loomtorch.tokenizer;

import java.util.Map;

/**
 * What the files hold, checked. Immutable.
 *
 * @param tokens bytes of each token by id
 * @param vocabulary finds the ids of all tokens that are not special
 * @param merges by the pair of ids they merge
 * @param specialTokens ids by text
 */
record BpeModel(byte[][] tokens, TokenTable vocabulary, MergeTable merges, Map<String, Integer> specialTokens) {}
