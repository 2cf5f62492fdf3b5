package io.github.loomtorch.cli;

import io.github.loomtorch.bench.NaiveBenchmark;
import io.github.loomtorch.bench.NaiveCsv;
import io.github.loomtorch.bench.NaiveResult;
import io.github.loomtorch.bench.Prompts;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.program.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "naive",
        header = "Measures the asynchronous naive scheduler on texts, request by request.",
        description = "Every run has a scheduler of its own. Before the first, one batch that is not counted warms up.",
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
    public Integer call() throws IOException {
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
        PrintWriter out = spec.commandLine().getOut();
        Report environment = new Report("Asynchronous naive scheduler", out);
        environment.setting("model", model.describe());
        environment.setting("sampling", Report.describe(params));
        AtomicReference<@Nullable String> device = new AtomicReference<>();
        EngineFactory engines = () -> {
            Gpt2 gpt2 = model.load(options);
            if (device.getAndSet(gpt2.device()) == null) {
                environment.environment(List.of(gpt2));
            }
            return new Engine(gpt2, tokenizer, EngineOptions.defaults());
        };
        run(0, engines, tokenizer, params, Prompts.of(batchSize), result -> {}); // warm-up
        out.println();

        String loadedOn = Objects.requireNonNull(device.get());
        NaiveReport report = new NaiveReport(out);
        List<NaiveBenchmark.Run> all = new ArrayList<>();
        try (NaiveCsv csv = new NaiveCsv(output)) {
            for (int number = 1; number <= runs; number++) {
                report.start(number, runs, prompts, batchSize, loadedOn, inFlight, timeout.seconds());
                NaiveBenchmark.Run run;
                try (Progress progress = new Progress("run " + number, prompts, System.err)) {
                    run = run(number, engines, tokenizer, params, texts, result -> {
                        csv.add(result);
                        progress.step();
                    });
                }
                report.results(number, run);
                all.add(run);
            }
        }
        report.summary(all);
        out.println("Results saved to " + output);
        boolean allOk = all.stream().flatMap(run -> run.results().stream()).allMatch(NaiveResult::isSuccess);
        return allOk ? 0 : 1;
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
