package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Summary;
import io.github.loomtorch.bench.Workload;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.torch.program.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalDouble;
import java.util.SplittableRandom;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import java.util.random.RandomGenerator;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Options of the benchmarks that compare schedulers on prompts of random tokens, and how these measure. */
final class SchedulerBenchOptions {
    private static final int WARM_UP_TOKENS = 8;
    private static final long SEED = 0;

    @Mixin
    private BenchModelOptions model;

    @Option(
            names = "--scheduler",
            paramLabel = "NAME",
            converter = NamedConverter.OfScheduler.class,
            description = "naive, async-naive or continuous. May be given several times (default: all three).")
    private List<SchedulerKind> schedulers = List.of(SchedulerKind.values());

    @Option(names = "--input-len", paramLabel = "N", description = "Tokens of each prompt (default: ${DEFAULT-VALUE}).")
    private int inputLen = 128;

    @Option(
            names = "--output-len",
            paramLabel = "N",
            description = "New tokens of each request (default: ${DEFAULT-VALUE}).")
    private int outputLen = 128;

    @Option(
            names = "--max-prefill-tokens-beside-decode",
            paramLabel = "N",
            description =
                    "Prompt tokens computed in a step in which others decode; fewer keep the gaps between tokens short (default: ${DEFAULT-VALUE}).")
    private int maxPrefillTokensBesideDecode = EngineOptions.defaults().maxPrefillTokensBesideDecode();

    @Mixin
    private DistributionOptions distribution;

    @Option(
            names = "--goodput-ttft-ms",
            paramLabel = "MS",
            description = "A request counts for goodput up to this TTFT.")
    private Double goodputTtftMs;

    @Option(
            names = "--goodput-tpot-ms",
            paramLabel = "MS",
            description = "A request counts for goodput up to this TPOT.")
    private Double goodputTpotMs;

    @Option(names = "--json", paramLabel = "FILE", description = "Write settings and results as JSON.")
    private Path json;

    @Option(names = "--csv", paramLabel = "FILE", description = "Write the results as CSV, a line for each scheduler.")
    private Path csv;

    /** How many requests arrive, how fast, and the least number of tokens that one generates. */
    record Load(int requests, int minOutputLen, double requestsPerSecond) {}

    int inputLen() {
        Checks.atLeast(1, inputLen, "inputLen");
        return inputLen;
    }

    int outputLen() {
        Checks.atLeast(1, outputLen, "outputLen");
        return outputLen;
    }

    /**
     * Measures every scheduler on the same {@code runs} workloads, after a few tokens and {@code warmUpRuns} workloads
     * as warm-up. Returns the exit status.
     */
    int measure(
            String title, Load load, int warmUpRuns, int runs, int batchSize, Duration batchTimeout, PrintWriter out)
            throws IOException {
        Summary.Limits limits =
                new Summary.Limits(limit(goodputTtftMs, "goodputTtftMs"), limit(goodputTpotMs, "goodputTpotMs"));
        SamplingParams sampling = distribution.builder().maxNewTokens(outputLen).build();
        List<ModelOptions> options = model.replicas(batchSize);
        AtomicLong deviceNanos = new AtomicLong();
        EngineOptions engine = EngineOptions.builder()
                .maxPrefillTokensBesideDecode(maxPrefillTokensBesideDecode)
                .listener(step -> deviceNanos.addAndGet(step.deviceNanos()))
                .build();
        Gpt2Config config = model.config();
        if (inputLen() + outputLen() > config.contextLength()) {
            throw new IllegalArgumentException("inputLen (" + inputLen + ") + outputLen (" + outputLen
                    + ") must be <= contextLength (" + config.contextLength() + "), got " + (inputLen + outputLen));
        }
        Report report = new Report(title, out);
        report.setting("model", model.describe());
        report.setting("batch", "at most " + batchSize + " sequences" + (options.size() > 1 ? " on each device" : ""));
        report.setting("prefill", "at most " + maxPrefillTokensBesideDecode + " tokens a step beside decodes");
        report.setting("sampling", Report.describe(sampling));
        boolean allFinished = true;
        for (SchedulerKind kind : schedulers) {
            List<Gpt2> loaded = new CopyOnWriteArrayList<>();
            List<EngineFactory> engines = new ArrayList<>();
            for (ModelOptions replica : options) {
                engines.add(() -> {
                    Gpt2 gpt2 = model.load(replica);
                    loaded.add(gpt2);
                    // The listener only counts: called on the engine thread, it has counted all steps when a workload
                    // ends.
                    return new Engine(gpt2, engine, Clock.system(), Runnable::run);
                });
            }
            try (Scheduler scheduler = kind.create(engines, batchSize, batchTimeout);
                    Progress progress =
                            new Progress(NamedConverter.nameOf(kind), (long) runs * load.requests, System.err)) {
                if (kind == schedulers.get(0)) {
                    report.environment(loaded);
                }
                RandomGenerator random = new SplittableRandom(SEED);
                int vocabSize = config.vocabSize();
                int warmUpLen = Math.min(WARM_UP_TOKENS, outputLen);
                Workload.random(
                                batchSize * options.size(),
                                inputLen,
                                warmUpLen,
                                warmUpLen,
                                Double.POSITIVE_INFINITY,
                                vocabSize,
                                sampling,
                                random)
                        .run(scheduler, () -> {});
                for (int run = 0; run < warmUpRuns; run++) {
                    workload(load, vocabSize, sampling, random).run(scheduler, () -> {});
                }
                List<Workload.Outcome> outcomes = new ArrayList<>();
                deviceNanos.set(0);
                for (int run = 0; run < runs; run++) {
                    outcomes.add(workload(load, vocabSize, sampling, random).run(scheduler, progress::step));
                }
                allFinished &=
                        outcomes.stream().allMatch(outcome -> outcome.failures().isEmpty());
                report.result(kind, Workload.Outcome.all(outcomes), deviceNanos.get() / options.size(), limits);
            }
        }
        report.printResults();
        if (json != null) {
            report.writeJson(json);
        }
        if (csv != null) {
            report.writeCsv(csv);
        }
        return allFinished ? 0 : 1;
    }

    private Workload workload(Load load, int vocabSize, SamplingParams sampling, RandomGenerator random) {
        return Workload.random(
                load.requests,
                inputLen,
                load.minOutputLen,
                outputLen,
                load.requestsPerSecond,
                vocabSize,
                sampling,
                random);
    }

    private static OptionalDouble limit(Double millis, String name) {
        if (millis != null && !(millis > 0)) {
            throw new IllegalArgumentException(name + " must be > 0, got " + millis);
        }
        return millis == null ? OptionalDouble.empty() : OptionalDouble.of(millis);
    }
}
