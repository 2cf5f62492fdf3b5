package io.github.loomtorch.cli;

import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.torch.cuda.CudaProfiler;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.program.PrefillProfile;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "prefill",
        header = "Measures the prefill of prompts in one step on a GPU, and the scoring of all their tokens.",
        description =
                "The time is from the first launch to the end on the device. The share is of the speed of a large square matrix"
                        + " product by cuBLAS, measured in the same run. With --score, all tokens are scored too: log-probabilities"
                        + " alone, then with rank, entropy, variance and the 5 most probable tokens.",
        footer = {
            "  loomtorch bench prefill --shape gpt2 --prompts 1 --prompt-len 1024",
            "  loomtorch bench prefill --shape gpt2 --prompts 32 --prompt-len 512 --score"
        })
final class BenchPrefillCommand extends Benchmark {
    @Mixin
    private BenchModelOptions model;

    @Option(names = "--prompts", paramLabel = "N", description = "How many (default: ${DEFAULT-VALUE}).")
    private int prompts = 1;

    @Option(names = "--prompt-len", paramLabel = "N", description = "Tokens of each (default: ${DEFAULT-VALUE}).")
    private int promptLen = 1024;

    @Option(names = "--score", description = "Also measure the scoring of all tokens.")
    private boolean score;

    @Override
    Report measure(PrintWriter out) throws IOException {
        Checks.atLeast(1, prompts, "prompts");
        Checks.atLeast(1, promptLen, "promptLen");
        ModelOptions options = model.torch(prompts);
        Report report = new Report(
                this,
                "prefill",
                "prefill of " + prompts + " prompts of " + promptLen + " tokens",
                OptionalLong.empty(),
                out);
        report.workload("prompts", prompts);
        report.workload("prompt-len", promptLen);
        report.setting("model", model.describe());
        try (Gpt2 loaded = model.load(options);
                CudaProfiler profiler = CudaProfiler.of(loaded)) {
            report.environment(List.of(loaded));
            PrefillProfile prefill = profiler.prefill(prompts, promptLen);
            out.printf(
                    Locale.ROOT,
                    "%n%.3f ms, %.0f tokens/s, %.0f TFLOP/s, %.0f%% of a large matrix product's %.0f TFLOP/s%n",
                    prefill.micros() / 1e3,
                    prompts * promptLen / prefill.micros() * 1e6,
                    prefill.operations() / prefill.micros() / 1e6,
                    100 * prefill.matmulShare(),
                    prefill.matmulOperationsPerSecond() / 1e12);
            Map<String, Double> numbers = new LinkedHashMap<>();
            numbers.put("prefill_us", prefill.micros());
            numbers.put("input_throughput", prompts * promptLen / prefill.micros() * 1e6);
            numbers.put("tflop_per_s", prefill.operations() / prefill.micros() / 1e6);
            numbers.put("share_of_matmul", prefill.matmulShare());
            if (score) {
                numbers.put(
                        "score_us", print("log-probabilities", profiler, PromptScoring.from(1), prefill.micros(), out));
                numbers.put(
                        "score_statistics_top5_us",
                        print(
                                "with statistics and top 5",
                                profiler,
                                new PromptScoring(1, 5, true, false),
                                prefill.micros(),
                                out));
            }
            report.measured(Map.of(), List.of(numbers));
        }
        return report;
    }

    private double print(
            String what, CudaProfiler profiler, PromptScoring scoring, double prefillMicros, PrintWriter out) {
        double micros = profiler.scoreMicros(prompts, promptLen, scoring);
        out.printf(
                Locale.ROOT,
                "scoring, %s: %.3f ms, %.0f tokens/s, %.0f%% of the prefill's%n",
                what,
                micros / 1e3,
                prompts * promptLen / micros * 1e6,
                100 * prefillMicros / micros);
        return micros;
    }
}
