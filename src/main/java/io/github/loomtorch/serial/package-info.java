/** The serialized form of options. */
@NullMarked
package io.github.loomtorch.serial;

import org.jspecify.annotations.NullMarked;
