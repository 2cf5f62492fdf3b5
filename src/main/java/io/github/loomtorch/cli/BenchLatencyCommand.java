package io.github.loomtorch.cli;

import java.io.IOException;
import java.time.temporal.ChronoUnit;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "latency",
        header = "Measures schedulers side by side on one batch at a time.",
        footer = {
            "  loomtorch bench latency --batch-size 1 --input-len 12 --output-len 128",
            "  loomtorch bench latency --shape gpt2 --batch-size 8 --temperature 0"
        })
final class BenchLatencyCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

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
    public Integer call() throws IOException {
        int runs = runOptions.runs();
        int batchSize = runOptions.batchSize();
        Checks.atLeast(0, warmUpRuns, "warmUpRuns");
        String title = String.format(
                "%d runs of a batch of %d, after %d to warm up, %d tokens in, %d out",
                runs, batchSize, warmUpRuns, options.inputLen(), options.outputLen());
        SchedulerBenchOptions.Load load =
                new SchedulerBenchOptions.Load(batchSize, options.outputLen(), Double.POSITIVE_INFINITY);
        // All requests of a batch are there at once, so every batch fills and no timeout is needed.
        return options.measure(
                title,
                load,
                warmUpRuns,
                runs,
                batchSize,
                ChronoUnit.FOREVER.getDuration(),
                spec.commandLine().getOut());
    }
}
