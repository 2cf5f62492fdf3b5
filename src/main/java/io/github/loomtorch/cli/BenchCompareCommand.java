package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Comparison;
import io.github.loomtorch.bench.ResultFile;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

@Command(
        name = "compare",
        header = "Compares two results that a benchmark wrote with --json.",
        description = {
            "Prints the ratio of each number, second over first, and between which bounds it lies with a probability of"
                    + " 95%% (from the runs of both, by Welch's t-test on their logarithms; measure with --runs 5 or more).",
            "The benchmark and its workload must be the same; machine, versions and settings may differ, and are shown."
        },
        footer = {
            "  loomtorch bench compare before.json after.json",
            "  loomtorch bench compare before.json after.json --metrics output_throughput,p99_itl_ms --fail-above 1.05"
        })
final class BenchCompareCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Parameters(index = "0", paramLabel = "BEFORE", description = "Result of the first measurement.")
    private Path before;

    @Parameters(index = "1", paramLabel = "AFTER", description = "Result of the second measurement.")
    private Path after;

    @Option(
            names = "--metrics",
            paramLabel = "NAME",
            split = ",",
            description = "Numbers to compare, separated by commas (default: those that matter most).")
    private List<String> metrics = List.of();

    @Option(
            names = "--fail-above",
            paramLabel = "F",
            description =
                    "Exit with status 1 if a number is worse by more than this factor, such as 1.05, and its bounds"
                            + " do not include 1.")
    private @Nullable Double failAbove;

    @Override
    public Integer call() throws IOException {
        if (failAbove != null && !(failAbove >= 1)) {
            throw new IllegalArgumentException("failAbove must be >= 1, got " + failAbove);
        }
        ResultFile first = ResultFile.read(before);
        ResultFile second = ResultFile.read(after);
        List<Comparison.Line> lines = Comparison.of(first, second, metrics);
        PrintWriter out = spec.commandLine().getOut();
        for (String difference : Comparison.differences(first, second)) {
            out.println("  " + difference);
        }
        String result = "";
        for (Comparison.Line line : lines) {
            if (!line.result().equals(result)) {
                result = line.result();
                out.printf("%n%-25s %14s %14s %8s  %s%n", result, "before", "after", "ratio", "95% bounds");
            }
            boolean isWorse = failAbove != null && line.isWorseThan(failAbove);
            out.printf(
                    "%-25s %14s %14s %8s  %s%s%n",
                    line.metric(),
                    Report.number(line.before()),
                    Report.number(line.after()),
                    line.before() == 0 ? "-" : String.format(Locale.ROOT, "%.3f", line.ratio()),
                    line.interval()
                            .map(bounds -> String.format(Locale.ROOT, "%.3f to %.3f", bounds.low(), bounds.high()))
                            .orElse("-"),
                    isWorse ? "  worse" : "");
        }
        boolean fails = failAbove != null && lines.stream().anyMatch(line -> line.isWorseThan(failAbove));
        return fails ? 1 : 0;
    }
}
