package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Arrivals;
import io.github.loomtorch.options.QueueOptions;
import java.io.IOException;
import java.io.PrintWriter;
import java.time.temporal.ChronoUnit;
import java.util.OptionalLong;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "latency",
        header = "Measures schedulers side by side on one batch at a time.",
        footer = {
            "  loomtorch bench latency --batch-size 1 --input-len 12 --output-len 128",
            "  loomtorch bench latency --shape gpt2 --batch-size 8 --temperature 0"
        })
final class BenchLatencyCommand extends RequestBenchmark {
    @Mixin
    private SchedulerBenchOptions options;

    @Mixin
    private RunOptions runOptions = new RunOptions(5, 1);

    @Option(
            names = "--warm-up-runs",
            paramLabel = "N",
            description = "Runs before those, not counted (default: ${DEFAULT-VALUE}).")
    private int warmUpRuns = 1;

    @Override
    Report measure(PrintWriter out) throws IOException {
        int runs = runOptions.runs();
        int batchSize = runOptions.batchSize();
        Checks.atLeast(0, warmUpRuns, "warmUpRuns");
        options.check(batchSize);
        String title = runs + " runs of a batch of " + batchSize + ", after " + warmUpRuns + " to warm up";
        Report report = new Report(this, "latency", title, OptionalLong.of(options.seed()), out);
        report.workload("batch-size", batchSize);
        options.describe(report);
        Arrivals atOnce = Arrivals.at(Double.POSITIVE_INFINITY, 1);
        options.measure(
                report,
                new SchedulerBenchOptions.Plan(
                        options.drawn(batchSize, atOnce),
                        Integer.MAX_VALUE,
                        0,
                        warmUpRuns * batchSize,
                        runs,
                        batchSize,
                        // All requests of a batch are there at once, so every batch fills and no timeout is needed.
                        ChronoUnit.FOREVER.getDuration(),
                        QueueOptions.unbounded()));
        return report;
    }
}
