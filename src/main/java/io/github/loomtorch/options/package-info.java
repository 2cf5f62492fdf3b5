/**
 * The options of a model, an engine and a queue, and what an engine reports while it runs. Every options type is an
 * immutable record with a builder; its defaults are those of the builder.
 *
 * <p>Nothing here is ever {@code null}.
 */
@NullMarked
package io.github.loomtorch.options;

import org.jspecify.annotations.NullMarked;
