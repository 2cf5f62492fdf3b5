package io.github.loomtorch.cli;

import java.io.IOException;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "offline",
        header = "Measures schedulers side by side on many requests.",
        description = {"All requests come at once, or at a rate.", "Several devices run a replica of the model each."},
        footer = {
            "  loomtorch bench offline --requests 64 --max-batch-size 8 --output-len-min 16",
            "  loomtorch bench offline --shape gpt2 --requests 1024 --max-batch-size 256 --scheduler continuous --json r.json",
            "  loomtorch bench offline --request-rate 50 --goodput-ttft-ms 200 --goodput-tpot-ms 10",
            "  loomtorch bench offline --shape gpt2 --scheduler continuous --device cuda:0,cuda:1"
        })
final class BenchOfflineCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Mixin
    private SchedulerBenchOptions options;

    @Option(names = "--requests", paramLabel = "N", description = "How many (default: ${DEFAULT-VALUE}).")
    private int requests = 100;

    @Option(
            names = "--output-len-min",
            paramLabel = "N",
            description = "Draw each request's new tokens between this and --output-len (default: --output-len).")
    private Integer outputLenMin;

    @Option(
            names = "--max-batch-size",
            paramLabel = "N",
            description = "Most sequences that run at once (default: ${DEFAULT-VALUE}).")
    private int maxBatchSize = 16;

    @Mixin
    private TimeoutOptions timeout = new TimeoutOptions(0.05);

    @Option(
            names = "--request-rate",
            paramLabel = "N",
            description = "Requests a second, arriving as a Poisson process (default: all at once).")
    private double requestRate = Double.POSITIVE_INFINITY;

    @Override
    public Integer call() throws IOException {
        int least = outputLenMin == null ? options.outputLen() : outputLenMin;
        Checks.atLeast(1, requests, "requests");
        if (least < 1 || least > options.outputLen()) {
            throw new IllegalArgumentException(
                    "outputLenMin must be in [1, outputLen (" + options.outputLen() + ")], got " + least);
        }
        if (!(requestRate > 0)) {
            throw new IllegalArgumentException("requestRate must be > 0, got " + requestRate);
        }
        String title = String.format(
                "%d requests %s, %d tokens in, %s out",
                requests,
                requestRate == Double.POSITIVE_INFINITY ? "at once" : "at " + requestRate + " a second",
                options.inputLen(),
                least == options.outputLen() ? "" + least : least + " to " + options.outputLen());
        SchedulerBenchOptions.Load load = new SchedulerBenchOptions.Load(requests, least, requestRate);
        return options.measure(
                title,
                load,
                0,
                1,
                maxBatchSize,
                timeout.timeout(),
                spec.commandLine().getOut());
    }
}
