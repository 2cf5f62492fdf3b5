package io.github.loomtorch.cli;

import picocli.CommandLine.Command;

@Command(
        name = "bench",
        description = "Measures speed.",
        synopsisSubcommandLabel = "COMMAND",
        footer = {"  loomtorch bench naive"})
final class BenchCommand {
}
