/**
 * Text to token ids and back, lossless on bytes: the byte-level byte-pair encoding of GPT-2 (Radford et al. 2019,
 * section 2.2; {@code openai/gpt-2}, {@code src/encoder.py}; merges after Sennrich et al., arXiv:1508.07909). Uses the
 * JDK and Jackson only.
 *
 * <p>How to read it, in the order of the data: {@code BpeFiles} reads and checks a {@code BpeModel};
 * {@link io.github.loomtorch.tokenizer.BpeTokenizer} is made of it. To encode, {@code Pretokenizer} splits text into
 * pieces, {@code TokenTable} finds those that are tokens, and {@code BpeEncoder} merges the others with
 * {@code BytePairs} and {@code MergeTable}. To decode, {@code Utf8} makes text of the tokens' bytes, for
 * {@link io.github.loomtorch.tokenizer.IncrementalDecoder} as they come.
 *
 * <p>Nothing here is ever {@code null}. Arrays handed out are the caller's own, unless a method says otherwise.
 */
package io.github.loomtorch.tokenizer;
