/** What all that reads JSON says of bad JSON. */
@NullMarked
package io.github.loomtorch.json;

import org.jspecify.annotations.NullMarked;
