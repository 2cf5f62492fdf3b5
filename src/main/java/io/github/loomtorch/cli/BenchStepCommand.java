package io.github.loomtorch.cli;

import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.torch.cpu.CpuGpt2;
import io.github.loomtorch.torch.cpu.CpuProfiler;
import io.github.loomtorch.torch.cuda.CudaProfiler;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.program.StepProfile;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "step",
        header = "Measures the decode step.",
        description =
                "On a GPU the time is the device's, of the recorded step replayed over and over, sampling included. With --profile, a part's time is what the"
                        + " step is faster without it, its bytes are the fewest it must move, and the share is of the speed of a large copy, bytes"
                        + " read and written, measured in the same run. On a CPU the time is without sampling, and the share is of the speed at which all"
                        + " threads read the weights alone.",
        footer = {"  loomtorch bench step --shape gpt2 --batch-size 1,8,64 --profile"})
final class BenchStepCommand extends Benchmark {
    private static final double LEAST_MICROS = 5; // differences of two steps that are less are noise

    @Mixin
    private BenchModelOptions model;

    @Option(
            names = "--batch-size",
            paramLabel = "N",
            split = ",",
            description = "Sequences, one number or several (default: 1).")
    private List<Integer> batchSizes = List.of(1);

    @Option(names = "--context", paramLabel = "N", description = "Tokens of each sequence (default: ${DEFAULT-VALUE}).")
    private int context = 200;

    @Option(names = "--profile", description = "Show the parts of the step.")
    private boolean profile;

    @Override
    Report measure(PrintWriter out) throws IOException {
        batchSizes.forEach(batchSize -> Checks.atLeast(1, batchSize, "batchSize"));
        Checks.atLeast(1, context, "context");
        ModelOptions options = model.torch(Collections.max(batchSizes));
        Report report = new Report(
                this, "step", "decode steps at a context of " + context + " tokens", OptionalLong.empty(), out);
        report.workload("context", context);
        report.setting("model", model.describe());
        try (Gpt2 loaded = model.load(options)) {
            if (loaded instanceof CpuGpt2 cpu) {
                measure(cpu, report, out);
            } else {
                measure(loaded, report, out);
            }
        }
        return report;
    }

    private void measure(CpuGpt2 loaded, Report report, PrintWriter out) {
        report.environment(List.of(loaded));
        for (int batchSize : batchSizes) {
            CpuProfiler.Step step = CpuProfiler.step(loaded, batchSize, context);
            out.printf(
                    Locale.ROOT,
                    "%nbatch %d: %.2f ms, %.1f tokens/s; %.0f MB of weights and KV cache at %.1f GB/s, %.0f%% of %.1f GB/s%n",
                    batchSize,
                    step.micros() / 1e3,
                    batchSize / step.micros() * 1e6,
                    step.bytes() / 1e6,
                    step.stepBytesPerSecond() / 1e9,
                    100 * step.stepBytesPerSecond() / step.bytesPerSecond(),
                    step.bytesPerSecond() / 1e9);
            out.flush();
            Map<String, Double> numbers = new LinkedHashMap<>();
            numbers.put("step_us", step.micros());
            numbers.put("output_throughput", batchSize / step.micros() * 1e6);
            numbers.put("read_mb", step.bytes() / 1e6);
            numbers.put("memory_gb_per_s", step.bytesPerSecond() / 1e9);
            report.measured(Map.of("batch-size", "" + batchSize), List.of(numbers));
        }
    }

    private void measure(Gpt2 loaded, Report report, PrintWriter out) {
        try (CudaProfiler profiler = CudaProfiler.of(loaded)) {
            report.environment(List.of(loaded));
            for (int batchSize : batchSizes) {
                StepProfile step = profiler.step(batchSize, context);
                out.printf(
                        Locale.ROOT,
                        "%nbatch %d: %.1f us, %.0f tokens/s; copy %.2f TB/s%n",
                        batchSize,
                        step.stepMicros(),
                        batchSize / step.stepMicros() * 1e6,
                        step.copyBytesPerSecond() / 1e12);
                if (profile) {
                    print(step, out);
                }
                out.flush();
                Map<String, Double> numbers = new LinkedHashMap<>();
                numbers.put("step_us", step.stepMicros());
                numbers.put("output_throughput", batchSize / step.stepMicros() * 1e6);
                numbers.put("copy_tb_per_s", step.copyBytesPerSecond() / 1e12);
                if (profile) {
                    step.parts().forEach(part -> numbers.put(part.name() + "_us", part.micros()));
                }
                report.measured(Map.of("batch-size", "" + batchSize), List.of(numbers));
            }
        }
    }

    static void print(StepProfile step, PrintWriter out) {
        out.printf("%-12s %8s %10s %8s %10s %14s%n", "part", "launches", "us", "share", "MB", "of copy speed");
        for (StepProfile.Part part : step.parts()) {
            boolean isMeasured = part.micros() >= LEAST_MICROS && part.bytes() > 0;
            out.printf(
                    Locale.ROOT,
                    "%-12s %8d %10.1f %7.0f%% %10.2f %14s%n",
                    part.name(),
                    part.launches(),
                    part.micros(),
                    100 * part.micros() / step.stepMicros(),
                    part.bytes() / 1e6,
                    isMeasured ? String.format(Locale.ROOT, "%.0f%%", 100 * step.copyShare(part)) : "-");
        }
    }
}
