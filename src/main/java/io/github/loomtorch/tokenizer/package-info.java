/**
 * Text to token ids and back, lossless on bytes: the byte-level byte-pair encoding of GPT-2 (Radford et al. 2019, section 2.2;
 * {@code openai/gpt-2}, {@code src/encoder.py}; merges after Sennrich et al., arXiv:1508.07909). Uses the JDK and Jackson only.
 *
 * <p>Nothing here is ever {@code null}. Arrays handed out are the caller's own.
 */
package io.github.loomtorch.tokenizer;
