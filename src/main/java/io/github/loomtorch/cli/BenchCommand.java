package io.github.loomtorch.cli;

import picocli.CommandLine.Command;

@Command(
        name = "bench",
        header = "Measures speed.",
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {BenchNaiveCommand.class},
        footer = {"  loomtorch bench naive"})
final class BenchCommand {
}
