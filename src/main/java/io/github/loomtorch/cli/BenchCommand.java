package io.github.loomtorch.cli;

import picocli.CommandLine.Command;

@Command(
        name = "bench",
        header = "Measures speed.",
        description = "Definitions are those of vLLM's benchmarks: TTFT, ITL, TPOT, E2EL, throughput, goodput.",
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {
            BenchNaiveCommand.class,
            BenchOfflineCommand.class,
            BenchLatencyCommand.class,
            BenchStepCommand.class,
            BenchPrefillCommand.class,
            BenchScoreCommand.class
        },
        footer = {
            "  loomtorch bench naive",
            "  loomtorch bench latency --batch-size 1 --input-len 12 --output-len 128",
            "  loomtorch bench offline --requests 64 --max-batch-size 8 --output-len-min 16"
        })
final class BenchCommand {}
