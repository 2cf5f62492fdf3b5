package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Arrivals;
import io.github.loomtorch.bench.GpuUse;
import io.github.loomtorch.bench.Lengths;
import io.github.loomtorch.bench.Measurement;
import io.github.loomtorch.bench.PlannedRequest;
import io.github.loomtorch.bench.SchedulerTarget;
import io.github.loomtorch.bench.Workload;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.Speculation;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.cuda.GpuMonitor;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Function;
import java.util.function.IntFunction;
import java.util.random.RandomGenerator;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Options of the benchmarks that compare schedulers, and how these measure. */
final class SchedulerBenchOptions {
    private static final int WARM_UP_TOKENS = 8;
    private static final Lengths DEFAULT_LENGTH = new Lengths.Fixed(128);

    @Mixin
    private BenchModelOptions model;

    @Option(
            names = "--scheduler",
            paramLabel = "NAME",
            converter = NamedConverter.OfScheduler.class,
            description = "naive, async-naive or continuous. May be given several times (default: all three).")
    private List<SchedulerKind> schedulers = List.of(SchedulerKind.values());

    @Option(
            names = "--input-len",
            paramLabel = "LENGTH",
            converter = LengthsConverter.class,
            description = "Random tokens of each prompt: " + LengthsConverter.FORMS + " (default: 128).")
    private @Nullable Lengths inputLen;

    @Option(
            names = "--prompt-file",
            paramLabel = "FILE",
            description = "Text in UTF-8 that is the prompt of every request instead.")
    private @Nullable Path promptFile;

    @Option(
            names = "--speculate",
            paramLabel = "ngram:K",
            converter = SpeculationConverter.class,
            description = "Measure each scheduler a second time with speculative decoding. "
                    + SpeculationConverter.DESCRIPTION)
    private @Nullable Speculation speculation;

    @Option(
            names = "--output-len",
            paramLabel = "LENGTH",
            converter = LengthsConverter.class,
            description = "New tokens of each request: " + LengthsConverter.FORMS + " (default: 128).")
    private Lengths outputLen = DEFAULT_LENGTH;

    @Option(
            names = "--max-prefill-tokens-beside-decode",
            paramLabel = "N",
            description =
                    "Prompt tokens computed in a step in which others decode; fewer keep the gaps between tokens short (default: ${DEFAULT-VALUE}).")
    private int maxPrefillTokensBesideDecode = EngineOptions.defaults().maxPrefillTokensBesideDecode();

    @Mixin
    private DistributionOptions distribution;

    @Mixin
    private GoodputOptions goodput;

    @Option(
            names = {"-s", "--seed"},
            paramLabel = "S",
            description = "Seed of lengths, prompts, arrivals and sampling (default: ${DEFAULT-VALUE}).")
    private long seed = 0;

    private int[] prompt = {}; // empty until the file is read

    /**
     * What is measured.
     *
     * @param requests draws the requests of a run
     * @param maxConcurrency most requests in flight
     * @param sharedPrefix share of each prompt that all have in common
     * @param warmUpRequests that run before those that are measured
     * @param runs how often
     * @param batchSize most sequences that run at once on a device
     * @param batchTimeout how long the asynchronous naive scheduler waits for a batch to fill
     * @param queue of the continuous scheduler
     */
    record Plan(
            Function<RandomGenerator, List<PlannedRequest>> requests,
            int maxConcurrency,
            double sharedPrefix,
            int warmUpRequests,
            int runs,
            int batchSize,
            Duration batchTimeout,
            QueueOptions queue) {}

    /** What makes a column of the results. */
    private record Variant(Map<String, String> parameters, SchedulerKind scheduler, SamplingParams sampling) {}

    long seed() {
        return seed;
    }

    GoodputOptions goodput() {
        return goodput;
    }

    Lengths outputLen() {
        return outputLen;
    }

    /** Tokens of each prompt. */
    Lengths inputLen() throws IOException {
        if (promptFile != null) {
            return new Lengths.Fixed(prompt(promptFile).length);
        }
        return inputLen == null ? DEFAULT_LENGTH : inputLen;
    }

    /** All but the lengths and the seed. */
    SamplingParams sampling() {
        return distribution.builder().build();
    }

    /** Adds the lengths and the sampling to a report. */
    void describe(Report report) throws IOException {
        report.workload("input-len", inputLen());
        report.workload("output-len", outputLen);
        report.workload("sampling", Report.describe(sampling()));
    }

    /** Draws requests of these lengths. */
    Function<RandomGenerator, List<PlannedRequest>> drawn(int requests, Arrivals arrivals) throws IOException {
        Lengths input = inputLen();
        return random -> arrivals.draw(requests, input, outputLen, random);
    }

    private int[] prompt(Path file) throws IOException {
        if (prompt.length == 0) {
            if (inputLen != null) {
                throw new IllegalArgumentException("inputLen must not be given together with --prompt-file");
            }
            Tokenizer tokenizer = model.load(new TokenizerOptions());
            try (InputLines in = InputLines.open(file)) {
                prompt = tokenizer.encode(in.rest());
            }
            if (prompt.length == 0) {
                throw new IllegalArgumentException("promptFile must hold at least one token, got none");
            }
            Checks.fits(prompt, tokenizer, model.config());
        }
        return prompt;
    }

    /** Refuses wrong values before a model is opened. */
    void check(int batchSize) {
        model.replicas(batchSize);
        sampling();
        engine(EngineListener.NONE);
        goodput.limits();
    }

    private EngineOptions engine(EngineListener listener) {
        return EngineOptions.builder()
                .maxPrefillTokensBesideDecode(maxPrefillTokensBesideDecode)
                .listener(listener)
                .build();
    }

    /** Measures every scheduler on the same workloads, after a few tokens and the requests to warm up. */
    void measure(Report report, Plan plan) throws IOException {
        List<ModelOptions> options = model.replicas(plan.batchSize);
        SamplingParams plain = sampling();
        checkContext(model.config().contextLength());
        report.setting("model", model.describe());
        report.setting(
                "batch", "at most " + plan.batchSize + " sequences" + (options.size() > 1 ? " on each device" : ""));
        report.setting("prefill", "at most " + maxPrefillTokensBesideDecode + " tokens a step beside decodes");
        for (Variant variant : variants(plain)) {
            measure(report, plan, variant, options);
        }
        report.printResults();
    }

    /** Lengths that are drawn are cut to the context; lengths that were asked for must fit. */
    void checkContext(int contextLength) throws IOException {
        if (inputLen() instanceof Lengths.Fixed input && outputLen instanceof Lengths.Fixed output) {
            long both = (long) input.tokens() + output.tokens();
            if (both > contextLength) {
                throw new IllegalArgumentException("inputLen (" + input + ") + outputLen (" + output
                        + ") must be <= contextLength (" + contextLength + "), got " + both);
            }
        }
    }

    private void measure(Report report, Plan plan, Variant variant, List<ModelOptions> options) throws IOException {
        StepRecorder steps = new StepRecorder();
        EngineOptions engine = engine(steps);
        List<Gpt2> loaded = new CopyOnWriteArrayList<>();
        List<EngineFactory> engines = new ArrayList<>();
        for (ModelOptions replica : options) {
            engines.add(() -> {
                Gpt2 gpt2 = model.load(replica);
                loaded.add(gpt2);
                // The listener only counts: called on the engine thread, it has counted all steps when a workload ends.
                return new Engine(gpt2, engine, Clock.system(), Runnable::run);
            });
        }
        RandomGenerator random = new SplittableRandom(seed);
        List<List<PlannedRequest>> runs = new ArrayList<>();
        for (int run = 0; run < plan.runs; run++) {
            runs.add(plan.requests.apply(random));
        }
        String name = String.join(" ", variant.parameters.values());
        long total = runs.stream().mapToLong(List::size).sum();
        try (Scheduler scheduler = variant.scheduler.create(engines, plan.batchSize, plan.batchTimeout, plan.queue);
                Progress progress = new Progress(name, total, System.err)) {
            steps.watch(scheduler);
            if (report.columns().isEmpty()) {
                report.environment(loaded);
            }
            SchedulerTarget target = new SchedulerTarget(scheduler);
            int slots = plan.batchSize * options.size();
            IntFunction<int[]> prompts = prompts(plan, random);
            PlannedRequest few = new PlannedRequest(0, 1, WARM_UP_TOKENS);
            workload(PlannedRequest.repeat(List.of(few), slots), plan, prompts, variant, random)
                    .run(target, Clock.system(), () -> {});
            workload(PlannedRequest.repeat(runs.getFirst(), plan.warmUpRequests), plan, prompts, variant, random)
                    .run(target, Clock.system(), () -> {});
            List<Measurement> measured = new ArrayList<>();
            for (List<PlannedRequest> run : runs) {
                Workload workload = workload(run, plan, prompts, variant, random);
                steps.take();
                try (GpuMonitor gpu = GpuMonitor.start(loaded)) {
                    Measurement measurement = workload.run(target, Clock.system(), progress::step);
                    measured.add(measurement.with(steps.take(), slots, options.size(), use(gpu)));
                }
            }
            report.measured(variant.parameters, measured, goodput.limits());
        }
    }

    private static Optional<GpuUse> use(GpuMonitor gpu) {
        return gpu.use().map(use -> new GpuUse(use.utilization(), use.powerWatts(), use.maxMemoryBytes()));
    }

    private IntFunction<int[]> prompts(Plan plan, RandomGenerator random) throws IOException {
        Gpt2Config config = model.config();
        if (promptFile != null) {
            int[] ids = prompt(promptFile);
            return length -> ids;
        }
        return Workload.randomPrompts(config.vocabSize(), config.contextLength(), plan.sharedPrefix, random);
    }

    private Workload workload(
            List<PlannedRequest> requests,
            Plan plan,
            IntFunction<int[]> prompts,
            Variant variant,
            RandomGenerator random)
            throws IOException {
        return Workload.of(
                requests, prompts, model.config().contextLength(), plan.maxConcurrency, variant.sampling, random);
    }

    /** Each scheduler, and after it the same with speculative decoding if that is measured. */
    private List<Variant> variants(SamplingParams plain) {
        List<Variant> variants = new ArrayList<>();
        for (SchedulerKind kind : schedulers) {
            Map<String, String> parameters = Map.of("scheduler", NamedConverter.nameOf(kind));
            variants.add(new Variant(parameters, kind, plain));
            if (speculation != null) {
                SamplingParams speculating = plain.toBuilder()
                        .speculation(speculation.ngram(), speculation.candidates())
                        .build();
                Map<String, String> both = new LinkedHashMap<>(parameters);
                both.put("speculate", speculation.ngram() + ":" + speculation.candidates());
                variants.add(new Variant(both, kind, speculating));
            }
        }
        return variants;
    }
}
