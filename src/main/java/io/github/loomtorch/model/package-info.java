/**
 * What a GPT-2 checkpoint is, in plain Java: its configuration ({@link Gpt2Config}), its named tensors in any file
 * format ({@link Checkpoint}), the tensors that the model consists of ({@link Gpt2Weights}) and the directory that
 * holds all of it ({@link ModelDirectory}). Uses the JDK and Jackson only, no native code.
 *
 * <p>Shapes everywhere in the library use these letters: B batch, T tokens this call, P past tokens, L layers, H heads,
 * D head size, C hidden size ({@code H * D}), V vocabulary size, F inner size of the feed-forward block.
 *
 * <p>Nothing here is ever {@code null}. Arrays handed out are shared and must not be modified. Whatever is wrong with a
 * file is an {@link java.io.IOException} whose one sentence names the file, the key or tensor in it, what was expected
 * and what was found.
 *
 * <p>Files may come from anywhere. Sizes are checked before memory is allocated: JSON files and safetensors headers
 * have at most 4 MiB, pickles 16 MiB and 1,000,000 instructions, and {@link Gpt2Config} has maximum sizes. File names
 * in an index, and symbolic links, must stay in the directory. Nothing in a file is executed.
 */
@NullMarked
package io.github.loomtorch.model;

import org.jspecify.annotations.NullMarked;
