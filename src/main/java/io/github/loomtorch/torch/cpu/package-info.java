/**
 * GPT-2 on a CPU by the C library {@code libloomtorch.so}, whose source is in {@code src/main/c}. Does not need
 * libtorch, which takes most of a second to load.
 *
 * <p>A row of activations goes through the same operations in the same order whatever rows are beside it, however many,
 * and whether its token belongs to a prompt or was sampled. So all results depend on the sequence alone, bit for bit.
 */
@NullMarked
package io.github.loomtorch.torch.cpu;

import org.jspecify.annotations.NullMarked;
