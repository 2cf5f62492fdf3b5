/**
 * Text to token ids and back: the byte-level byte-pair encoding of GPT-2 (Radford et al. 2019, section 2.2;
 * {@code openai/gpt-2}, {@code src/encoder.py}; merges after Sennrich et al., arXiv:1508.07909), from the files that
 * Hugging Face {@code tokenizers} and {@code transformers} write. Needs no native code.
 *
 * <p>How to read it, in the order of the data. Loading: {@code TokenizerFiles} finds the files; {@code TokenizerJson}
 * or {@code VocabAndMerges} reads them with {@code JsonFile}, and {@code TokenizerConfig} reads what lies beside them;
 * {@code BpeModelBuilder} checks the {@code BpeModel} of which {@link io.github.loomtorch.tokenizer.BpeTokenizer} is
 * made. Encoding: {@code AddedTokens} finds added tokens in the text, {@code Normalizer} changes the rest,
 * {@code PreTokenizer} splits it with {@code Gpt2Pattern} into pieces, {@code TokenTable} finds those that are tokens,
 * {@code BpeEncoder} merges the others with {@code BytePairs} and {@code MergeTable}, and {@code PostProcessor} adds
 * the tokens that every text gets. Decoding: {@code Utf8} makes text of the tokens' bytes, for
 * {@link io.github.loomtorch.tokenizer.IncrementalDecoder} as they come.
 *
 * <p>Nothing here is ever {@code null}. Arrays handed out are the caller's own, unless a method says otherwise.
 */
@NullMarked
package io.github.loomtorch.tokenizer;

import org.jspecify.annotations.NullMarked;
