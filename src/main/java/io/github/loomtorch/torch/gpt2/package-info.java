/** What all implementations of GPT-2 have in common. Uses no native code. */
@NullMarked
package io.github.loomtorch.torch.gpt2;

import org.jspecify.annotations.NullMarked;
