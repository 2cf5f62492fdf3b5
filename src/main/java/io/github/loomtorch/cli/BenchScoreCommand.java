package io.github.loomtorch.cli;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Random;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "score",
        header = "Measures the scoring of texts of random token ids, from requests to scores.",
        description =
                "Two batches of texts run by turns, a batch a step, so that the device works while the host takes the scores of the"
                        + " batch before. The first run warms up; a line is printed for each of the others.",
        footer = {
            "  loomtorch bench score --shape gpt2 --texts 32 --length 512",
            "  loomtorch bench score --shape gpt2 --texts 32 --length 512 --top 5 --statistics"
        })
final class BenchScoreCommand extends Benchmark {
    private static final int BATCHES = 6; // of a run
    private static final long SEED = 1;

    @Mixin
    private BenchModelOptions model;

    @Option(names = "--texts", paramLabel = "N", description = "Texts of a step (default: ${DEFAULT-VALUE}).")
    private int texts = 32;

    @Option(names = "--length", paramLabel = "N", description = "Tokens of each (default: ${DEFAULT-VALUE}).")
    private int length = 512;

    @Option(
            names = "--top",
            paramLabel = "N",
            description = "Most probable tokens to report at each position (default: ${DEFAULT-VALUE}).")
    private int top = 0;

    @Option(names = "--statistics", description = "Report rank, entropy and variance, too.")
    private boolean statistics;

    @Option(names = "--runs", paramLabel = "N", description = "How often to measure (default: ${DEFAULT-VALUE}).")
    private int runs = 3;

    @Override
    Report measure(PrintWriter out) throws IOException {
        Checks.atLeast(1, texts, "texts");
        Checks.atLeast(2, length, "length");
        Checks.atLeast(1, runs, "runs");
        SamplingParams params = SamplingParams.builder()
                .maxNewTokens(0)
                .promptScoring(new PromptScoring(1, top, statistics, false))
                .build();
        int requests = BATCHES * texts;
        EngineOptions engine = EngineOptions.builder()
                .maxPrefillTokensPerStep(texts * length)
                .maxPrefillTokensBesideDecode(texts * length)
                .prefixCaching(false)
                .build();
        ModelOptions options = model.torch(2 * texts);
        Report report = new Report(
                this,
                "score",
                "scores of " + texts + " texts of " + length + " tokens a step",
                OptionalLong.of(SEED),
                out);
        report.workload("texts", texts);
        report.workload("length", length);
        report.workload("top", top);
        report.workload("statistics", statistics);
        List<Map<String, Double>> numbers = new ArrayList<>();
        report.setting("model", model.describe());
        int vocabSize = model.config().vocabSize();
        try (ContinuousScheduler scheduler = new ContinuousScheduler(
                () -> {
                    Gpt2 loaded = model.load(options);
                    report.environment(List.of(loaded));
                    return new Engine(loaded, engine);
                },
                QueueOptions.unbounded())) {
            Random random = new Random(SEED);
            for (int run = 0; run <= runs; run++) {
                long start = System.nanoTime();
                List<Generation> running = new ArrayList<>();
                for (int i = 0; i < requests; i++) {
                    int[] text = random.ints(length, 0, vocabSize).toArray();
                    running.add(scheduler.submit(new GenerationRequest(text, params)));
                }
                long scored = 0;
                for (Generation generation : running) {
                    scored += generation.join().promptScores().size();
                }
                double seconds = (System.nanoTime() - start) / 1e9;
                if (run > 0) {
                    out.printf(
                            Locale.ROOT,
                            "%.0f tokens/s, %.2f ms a step; %d scores%n",
                            (double) requests * length / seconds,
                            1e3 * seconds / BATCHES,
                            scored);
                    out.flush();
                    numbers.add(Map.of("input_throughput", (double) requests * length / seconds));
                }
            }
        }
        report.measured(Map.of(), numbers);
        return report;
    }
}
