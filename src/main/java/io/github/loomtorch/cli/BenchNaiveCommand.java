package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Distribution;
import io.github.loomtorch.bench.NaiveBenchmark;
import io.github.loomtorch.bench.NaiveResult;
import io.github.loomtorch.bench.Prompts;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.program.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.ToDoubleFunction;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "naive",
        header = "Measures the asynchronous naive scheduler on texts, request by request.",
        footer = {
            "  loomtorch bench naive",
            "  loomtorch bench naive --shape gpt2 --dtype float32 --runs 1",
            "  loomtorch bench naive --batch-size 8 --in-flight 16 --output b8.csv"
        })
final class BenchNaiveCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Mixin
    private BenchModelOptions model;

    @Mixin
    private TokenizerOptions tokenizerOptions;

    @Mixin
    private RunOptions runOptions = new RunOptions(3, 4);

    @Option(names = "--prompts", paramLabel = "N", description = "Prompts in a run (default: ${DEFAULT-VALUE}).")
    private int prompts = 30;

    @Mixin
    private TimeoutOptions timeout = new TimeoutOptions(0.5);

    @Option(names = "--in-flight", paramLabel = "N", description = "Most requests at once (default: ${DEFAULT-VALUE}).")
    private int inFlight = 10;

    @Mixin
    private SamplingOptions sampling;

    @Option(
            names = "--output",
            paramLabel = "FILE",
            description = "Where to write all requests as CSV (default: ${DEFAULT-VALUE}).")
    private Path output = Path.of("benchmark_results.csv");

    @Override
    public Integer call() throws IOException {
        int runs = runOptions.runs();
        int batchSize = runOptions.batchSize();
        Checks.atLeast(1, prompts, "prompts");
        Checks.atLeast(1, inFlight, "inFlight");
        Duration batchTimeout = timeout.timeout();
        SamplingParams params = sampling.builder().build();
        ModelOptions options = model.torch(batchSize);
        Tokenizer tokenizer = model.load(tokenizerOptions);
        PrintWriter out = spec.commandLine().getOut();
        // Without prefix caching each run computes the same prompts anew.
        EngineOptions config = EngineOptions.builder().prefixCaching(false).build();
        AtomicReference<Gpt2> loaded = new AtomicReference<>();
        try (AsyncNaiveScheduler scheduler = new AsyncNaiveScheduler(
                () -> {
                    loaded.set(model.load(options));
                    return new Engine(loaded.get(), tokenizer, config);
                },
                batchSize,
                batchTimeout)) {
            Report report = new Report("Asynchronous naive scheduler", out);
            report.setting("model", model.describe());
            report.environment(loaded.get());
            report.setting(
                    "requests",
                    runs + (runs == 1 ? " run of " : " runs of ") + prompts + " prompts, at most " + inFlight
                            + " in flight");
            report.setting(
                    "batch", "at most " + batchSize + " requests, timeout " + batchTimeout.toNanos() / 1e9 + " s");
            report.setting("sampling", Report.describe(params));
            out.println();
            return measure(new NaiveBenchmark(scheduler, tokenizer, params, inFlight), out);
        }
    }

    private int measure(NaiveBenchmark benchmark, PrintWriter out) throws IOException {
        List<String> texts = Prompts.of(prompts);
        int runs = runOptions.runs();
        benchmark.run(0, Prompts.of(runOptions.batchSize()), () -> {}); // warm-up
        List<NaiveResult> results = new ArrayList<>();
        double seconds = 0;
        for (int number = 1; number <= runs; number++) {
            NaiveBenchmark.Run run;
            try (Progress progress = new Progress("run " + number, prompts, System.err)) {
                run = benchmark.run(number, texts, progress::step);
            }
            print(out, "run " + number, run.results(), run.durationSeconds());
            results.addAll(run.results());
            seconds += run.durationSeconds();
        }
        print(out, "all " + runs + " runs", results, seconds);
        NaiveResult.writeCsv(results, output);
        out.println(results.size() + " requests written to " + output);
        return results.stream().allMatch(NaiveResult::isSuccess) ? 0 : 1;
    }

    private static void print(PrintWriter out, String title, List<NaiveResult> all, double seconds) {
        List<NaiveResult> results = all.stream().filter(NaiveResult::isSuccess).toList();
        int inputTokens = results.stream().mapToInt(NaiveResult::inputTokens).sum();
        int outputTokens = results.stream().mapToInt(NaiveResult::outputTokens).sum();
        out.printf(
                Locale.ROOT,
                "%s: %d requests (%d failed) in %.2f s, %d input tokens, %d output tokens%n",
                title,
                all.size(),
                all.size() - results.size(),
                seconds,
                inputTokens,
                outputTokens);
        out.printf(
                Locale.ROOT,
                "  throughput   %8.2f requests/s  %8.1f output tokens/s%n",
                results.size() / seconds,
                outputTokens / seconds);
        print(out, "latency", results, NaiveResult::latencySeconds);
        print(out, "TTFT", results, NaiveResult::ttftSeconds);
        all.stream()
                .filter(result -> !result.isSuccess())
                .findFirst()
                .ifPresent(failed -> out.println("  first failure: prompt " + failed.seq() + ": " + failed.error()));
        out.println();
        out.flush();
    }

    private static void print(
            PrintWriter out, String name, List<NaiveResult> results, ToDoubleFunction<NaiveResult> seconds) {
        Distribution d = Distribution.of(results.stream().mapToDouble(seconds).toArray());
        out.printf(Locale.ROOT, "  %-12s mean %7.3f s   p50 %7.3f s   p99 %7.3f s%n", name, d.mean(), d.p50(), d.p99());
    }
}
