/**
 * What a GPT-2 checkpoint is, in plain Java: its configuration ({@link Gpt2Config}), the file format of its weights
 * ({@link Safetensors}), the tensors it consists of ({@link Gpt2Weights}) and the directory they lie in
 * ({@link ModelDirectory}). Uses the JDK and Jackson only, no native code.
 *
 * <p>Shapes everywhere in the library use these letters: B batch, T tokens this call, P past tokens, L layers, H heads,
 * D head size, C hidden size ({@code H * D}), V vocabulary size, F inner size of the feed-forward block.
 *
 * <p>Nothing here is ever {@code null}. Arrays handed out are shared and must not be modified. Whatever is wrong with a
 * file is an {@link java.io.IOException} whose one sentence names the file, the key or tensor in it, what was expected
 * and what was found.
 */
package io.github.loomtorch.model;
