package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Limits;
import io.github.loomtorch.bench.Measurement;
import io.github.loomtorch.bench.NaiveBenchmark;
import io.github.loomtorch.bench.NaiveCsv;
import io.github.loomtorch.bench.NaiveResult;
import io.github.loomtorch.bench.Prompts;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "naive",
        header = "Measures the asynchronous naive scheduler on texts, request by request.",
        description = "Every run has a scheduler of its own. Before the first, one batch that is not counted warms up.",
        footer = {
            "  loomtorch bench naive",
            "  loomtorch bench naive --shape gpt2 --dtype float32 --runs 1",
            "  loomtorch bench naive --batch-size 8 --in-flight 16 --output b8.csv"
        })
final class BenchNaiveCommand extends RequestBenchmark {
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

    @Option(
            names = "--in-flight",
            paramLabel = "N",
            description = "Most requests in flight at once (default: ${DEFAULT-VALUE}).")
    private int inFlight = 10;

    @Mixin
    private SamplingOptions sampling;

    @Option(
            names = "--output",
            paramLabel = "FILE",
            description = "CSV file of all requests; each has its line as soon as it ends (default: ${DEFAULT-VALUE}).")
    private Path output = Path.of("benchmark_results.csv");

    @Override
    Report measure(PrintWriter out) throws IOException {
        int runs = runOptions.runs();
        int batchSize = runOptions.batchSize();
        Checks.atLeast(1, prompts, "prompts");
        Checks.atLeast(1, inFlight, "inFlight");
        timeout.timeout();
        SamplingParams params = sampling.builder().build();
        ModelOptions options = model.torch(batchSize);
        Tokenizer tokenizer = model.load(tokenizerOptions);
        List<String> texts = Prompts.of(prompts);
        Gpt2Config config = model.config();
        for (String text : texts) {
            Checks.fits(tokenizer.encode(text), tokenizer, config);
        }
        Report report = new Report(this, "naive", "Asynchronous naive scheduler", params.seed(), out);
        report.workload("prompts", prompts);
        report.workload("in-flight", inFlight);
        report.workload("max-new-tokens", params.maxNewTokens());
        report.workload("sampling", Report.describe(params));
        report.setting("model", model.describe());
        report.setting("batch", "at most " + batchSize + " sequences");
        report.setting("timeout", timeout.seconds() + " s");
        AtomicReference<@Nullable String> device = new AtomicReference<>();
        StepRecorder steps = new StepRecorder();
        EngineOptions engineOptions = EngineOptions.builder().listener(steps).build();
        EngineFactory engines = () -> {
            Gpt2 gpt2 = model.load(options);
            if (device.getAndSet(gpt2.device()) == null) {
                report.environment(List.of(gpt2));
            }
            return new Engine(gpt2, tokenizer, engineOptions, Clock.system(), Runnable::run);
        };
        run(0, engines, tokenizer, params, Prompts.of(batchSize), result -> {}); // warm-up
        out.println();

        String loadedOn = Objects.requireNonNull(device.get());
        NaiveReport original = new NaiveReport(out);
        List<NaiveBenchmark.Run> all = new ArrayList<>();
        List<Measurement> measured = new ArrayList<>();
        try (NaiveCsv csv = new NaiveCsv(output)) {
            for (int number = 1; number <= runs; number++) {
                original.start(number, runs, prompts, batchSize, loadedOn, inFlight, timeout.seconds());
                NaiveBenchmark.Run run;
                steps.take();
                try (Progress progress = new Progress("run " + number, prompts, System.err)) {
                    run = run(number, engines, tokenizer, params, texts, result -> {
                        csv.add(result);
                        progress.step();
                    });
                }
                original.results(number, run);
                all.add(run);
                measured.add(run.measurement().with(steps.take(), batchSize, 1, Optional.empty()));
            }
        }
        original.summary(all);
        out.println("Results saved to " + output);
        report.measured(Map.of("scheduler", NamedConverter.nameOf(SchedulerKind.ASYNC_NAIVE)), measured, Limits.NONE);
        return report;
    }

    /** Runs prompts through a new scheduler, which loads the model anew. */
    private NaiveBenchmark.Run run(
            int number,
            EngineFactory engines,
            Tokenizer tokenizer,
            SamplingParams params,
            List<String> texts,
            Consumer<NaiveResult> onResult)
            throws IOException {
        try (AsyncNaiveScheduler scheduler =
                new AsyncNaiveScheduler(engines, runOptions.batchSize(), timeout.timeout())) {
            return new NaiveBenchmark(scheduler, tokenizer, params, inFlight).run(number, texts, onResult);
        }
    }
}
