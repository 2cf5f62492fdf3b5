package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Arrivals;
import io.github.loomtorch.options.QueueOptions;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.OptionalLong;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "offline",
        header = "Measures schedulers side by side on many requests that come at once.",
        description = "Several devices run a replica of the model each.",
        footer = {
            "  loomtorch bench offline --requests 64 --max-batch-size 8 --output-len uniform:16:128",
            "  loomtorch bench offline --shape gpt2 --requests 1024 --max-batch-size 256 --scheduler continuous --json r.json",
            "  loomtorch bench offline --shape gpt2 --scheduler continuous --device cuda:0,cuda:1"
        })
final class BenchOfflineCommand extends RequestBenchmark {
    @Mixin
    private SchedulerBenchOptions options;

    @Option(names = "--requests", paramLabel = "N", description = "How many (default: ${DEFAULT-VALUE}).")
    private int requests = 100;

    @Option(
            names = "--max-batch-size",
            paramLabel = "N",
            description = "Most sequences that run at once (default: ${DEFAULT-VALUE}).")
    private int maxBatchSize = 16;

    @Option(names = "--runs", paramLabel = "N", description = "How often to measure (default: ${DEFAULT-VALUE}).")
    private int runs = 1;

    @Mixin
    private TimeoutOptions timeout = new TimeoutOptions(0.05);

    @Override
    Report measure(PrintWriter out) throws IOException {
        Checks.atLeast(1, requests, "requests");
        Checks.atLeast(1, runs, "runs");
        options.check(maxBatchSize);
        timeout.timeout();
        Report report =
                new Report(this, "offline", requests + " requests at once", OptionalLong.of(options.seed()), out);
        report.workload("requests", requests);
        options.describe(report);
        options.measure(
                report,
                new SchedulerBenchOptions.Plan(
                        options.drawn(requests, Arrivals.at(Double.POSITIVE_INFINITY, 1)),
                        Integer.MAX_VALUE,
                        0,
                        0,
                        runs,
                        maxBatchSize,
                        timeout.timeout(),
                        QueueOptions.unbounded()));
        return report;
    }
}
