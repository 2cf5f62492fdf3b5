/** The native libraries: loading libtorch, freeing native memory, and turning native failures into exceptions. */
@NullMarked
package io.github.loomtorch.torch.natives;

import org.jspecify.annotations.NullMarked;
