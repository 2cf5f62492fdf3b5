package io.github.loomtorch.cli;

import picocli.CommandLine.Command;

@Command(
        name = "bench",
        header = "Measures speed.",
        description = "Definitions are those of vLLM's benchmarks: TTFT, ITL, TPOT, E2EL, throughput, goodput.",
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {
            BenchNaiveCommand.class,
            BenchServeCommand.class,
            BenchOfflineCommand.class,
            BenchLatencyCommand.class,
            BenchStepCommand.class,
            BenchPrefillCommand.class,
            BenchScoreCommand.class,
            BenchSweepCommand.class,
            BenchCompareCommand.class
        },
        footer = {
            "  loomtorch bench naive",
            "  loomtorch bench latency --batch-size 1 --input-len 12 --output-len 128",
            "  loomtorch bench serve --request-rate 20 --requests 200 --report report.html"
        })
final class BenchCommand {}
