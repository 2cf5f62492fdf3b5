package io.github.loomtorch.tokenizer;

/**
 * A byte-pair encoding, checked. Immutable.
 *
 * @param tokens bytes of each token by id, those of added tokens too; empty for an id without a token
 * @param vocabulary finds the ids of the tokens that are written in byte symbols
 * @param merges by the pair of ids they merge
 * @param unknownId id of a byte that has no token, or -1 to drop such bytes
 * @param fusesUnknown whether adjacent bytes without a token share one {@code unknownId}
 * @param ignoresMerges whether a piece that is a token is never merged from its bytes
 */
record BpeModel(
        byte[][] tokens,
        TokenTable vocabulary,
        MergeTable merges,
        int unknownId,
        boolean fusesUnknown,
        boolean ignoresMerges) {}
