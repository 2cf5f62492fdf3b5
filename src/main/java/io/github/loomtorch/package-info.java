/**
 * GPT-2 in the JVM: {@link io.github.loomtorch.TextGenerator} turns a model directory into a generator that many
 * threads share.
 *
 * <p>Data flows one way, and imports follow it: text, {@code tokenizer}, {@code request}, {@code scheduler},
 * {@code engine}, {@code torch}, {@code sampling}, token ids, {@code tokenizer}, text. Nothing is ever {@code null}.
 */
@NullMarked
package io.github.loomtorch;

import org.jspecify.annotations.NullMarked;
