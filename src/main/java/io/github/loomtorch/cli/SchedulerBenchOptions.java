package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Summary;
import io.github.loomtorch.bench.Workload;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.Speculation;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.tokenizer.Tokenizer;
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

/** Options of the benchmarks that compare schedulers, and how these measure. */
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

    @Option(names = "--input-len", paramLabel = "N", description = "Random tokens of each prompt (default: 128).")
    private Integer inputLen;

    @Option(
            names = "--prompt-file",
            paramLabel = "FILE",
            description = "Text in UTF-8 that is the prompt of every request instead.")
    private Path promptFile;

    @Option(
            names = "--speculate",
            paramLabel = "ngram:K",
            converter = SpeculationConverter.class,
            description = "Measure each scheduler a second time with speculative decoding. "
                    + SpeculationConverter.DESCRIPTION)
    private Speculation speculation;

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

    private int[] prompt = {}; // empty until the file is read

    /** How many requests arrive, how fast, and the least number of tokens that one generates. */
    record Load(int requests, int minOutputLen, double requestsPerSecond) {}

    /** Tokens of each prompt. */
    int inputLen() throws IOException {
        if (promptFile != null) {
            return prompt().length;
        }
        int length = inputLen == null ? 128 : inputLen;
        Checks.atLeast(1, length, "inputLen");
        return length;
    }

    /** The ids of the prompt file. */
    private int[] prompt() throws IOException {
        if (prompt.length == 0) {
            if (inputLen != null) {
                throw new IllegalArgumentException("inputLen must not be given together with --prompt-file");
            }
            Tokenizer tokenizer = model.load(new TokenizerOptions());
            try (InputLines in = InputLines.open(promptFile)) {
                prompt = tokenizer.encode(in.rest());
            }
            if (prompt.length == 0) {
                throw new IllegalArgumentException("promptFile must hold at least one token, got none");
            }
            Checks.fits(prompt, tokenizer, model.config());
        }
        return prompt;
    }

    int outputLen() {
        Checks.atLeast(1, outputLen, "outputLen");
        return outputLen;
    }

    /** What makes a column of the results. */
    private record Variant(String name, SchedulerKind scheduler, SamplingParams sampling) {}

    /** Adds up what the steps do. */
    private static final class StepTotals implements EngineListener {
        private final AtomicLong deviceNanos = new AtomicLong();
        private final AtomicLong candidates = new AtomicLong();
        private final AtomicLong accepted = new AtomicLong();

        @Override
        public void onStep(StepStats step) {
            deviceNanos.addAndGet(step.deviceNanos());
            candidates.addAndGet(step.candidateTokens());
            accepted.addAndGet(step.acceptedTokens());
        }

        void reset() {
            deviceNanos.set(0);
            candidates.set(0);
            accepted.set(0);
        }

        /** The mean of the devices' times, and all tokens. */
        Summary.Steps perReplica(int replicas) {
            return new Summary.Steps(deviceNanos.get() / replicas, candidates.get(), accepted.get());
        }
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
        SamplingParams plain = distribution.builder().maxNewTokens(outputLen).build();
        List<ModelOptions> options = model.replicas(batchSize);
        StepTotals totals = new StepTotals();
        EngineOptions engine = EngineOptions.builder()
                .maxPrefillTokensBesideDecode(maxPrefillTokensBesideDecode)
                .listener(totals)
                .build();
        Gpt2Config config = model.config();
        if (inputLen() + outputLen() > config.contextLength()) {
            throw new IllegalArgumentException("inputLen (" + inputLen() + ") + outputLen (" + outputLen
                    + ") must be <= contextLength (" + config.contextLength() + "), got " + (inputLen() + outputLen));
        }
        Report report = new Report(title, out);
        report.setting("model", model.describe());
        report.setting("batch", "at most " + batchSize + " sequences" + (options.size() > 1 ? " on each device" : ""));
        report.setting("prefill", "at most " + maxPrefillTokensBesideDecode + " tokens a step beside decodes");
        report.setting("sampling", Report.describe(plain));
        boolean allFinished = true;
        for (Variant variant : variants(plain)) {
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
            try (Scheduler scheduler = variant.scheduler.create(engines, batchSize, batchTimeout);
                    Progress progress = new Progress(variant.name, (long) runs * load.requests, System.err)) {
                if (report.isWithoutResults()) {
                    report.environment(loaded);
                }
                RandomGenerator random = new SplittableRandom(SEED);
                int warmUpLen = Math.min(WARM_UP_TOKENS, outputLen);
                Load warmUp = new Load(batchSize * options.size(), warmUpLen, Double.POSITIVE_INFINITY);
                workload(warmUp, warmUpLen, variant.sampling, random).run(scheduler, () -> {});
                for (int run = 0; run < warmUpRuns; run++) {
                    workload(load, outputLen, variant.sampling, random).run(scheduler, () -> {});
                }
                List<Workload.Outcome> outcomes = new ArrayList<>();
                totals.reset();
                for (int run = 0; run < runs; run++) {
                    outcomes.add(
                            workload(load, outputLen, variant.sampling, random).run(scheduler, progress::step));
                }
                allFinished &=
                        outcomes.stream().allMatch(outcome -> outcome.failures().isEmpty());
                report.result(variant.name, Workload.Outcome.all(outcomes), totals.perReplica(options.size()), limits);
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

    /** Each scheduler, and after it the same with speculative decoding if that is measured. */
    private List<Variant> variants(SamplingParams plain) {
        List<Variant> variants = new ArrayList<>();
        for (SchedulerKind kind : schedulers) {
            String name = NamedConverter.nameOf(kind);
            variants.add(new Variant(name, kind, plain));
            if (speculation != null) {
                SamplingParams speculating = plain.toBuilder()
                        .speculation(speculation.ngram(), speculation.candidates())
                        .build();
                String form = speculation.ngram() + ":" + speculation.candidates();
                variants.add(new Variant(name + " " + form, kind, speculating));
            }
        }
        return variants;
    }

    private Workload workload(Load load, int maxOutputLen, SamplingParams sampling, RandomGenerator random)
            throws IOException {
        int length = inputLen();
        int vocabSize = model.config().vocabSize();
        return Workload.of(
                load.requests,
                () -> promptFile != null
                        ? prompt
                        : random.ints(length, 0, vocabSize).toArray(),
                load.minOutputLen,
                maxOutputLen,
                load.requestsPerSecond,
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
