package io.github.loomtorch.cli;

import picocli.CommandLine.Command;

@Command(
        name = "bench",
        header = "Measures speed.",
        description = "Definitions are those of vLLM's benchmarks: TTFT, ITL, TPOT, E2EL, throughput, goodput.",
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {BenchNaiveCommand.class},
        footer = {"  loomtorch bench naive"})
final class BenchCommand {
}
