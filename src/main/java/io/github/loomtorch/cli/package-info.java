/**
 * The command line: {@code java -jar target/loomtorch.jar generate|serve|tokenize|export|bench|demo}. Each command is a
 * class; {@link io.github.loomtorch.cli.Main} turns what they throw into one sentence and an exit status.
 */
@NullMarked
package io.github.loomtorch.cli;

import org.jspecify.annotations.NullMarked;
