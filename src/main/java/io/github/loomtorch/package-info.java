/**
 * GPT-2 in the JVM: {@link io.github.loomtorch.TextGenerator} turns a model directory into a generator that many
 * threads share.
 *
 * <p>A request goes down, from text through tokenizer, scheduler and engine to the model; its tokens and their text
 * come back up the same way. Nothing is ever {@code null}.
 */
@NullMarked
package io.github.loomtorch;

import org.jspecify.annotations.NullMarked;
