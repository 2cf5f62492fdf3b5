/** The native libraries: loading libtorch, freeing native memory, and turning native failures into exceptions. */
package io.github.loomtorch.torch.natives;
