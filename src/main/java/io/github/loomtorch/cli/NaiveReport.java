package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Distribution;
import io.github.loomtorch.bench.NaiveBenchmark;
import io.github.loomtorch.bench.NaiveResult;
import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;

/** What {@code bench naive} prints: first what the original prints, in its words, then percentiles. */
final class NaiveReport {
    private static final String DOUBLE_LINE = "=".repeat(60);
    private static final String LINE = "-".repeat(60);

    private final PrintWriter out;

    NaiveReport(PrintWriter out) {
        this.out = out;
    }

    /** Announces a run and its settings. */
    void start(int run, int runs, int prompts, int batchSize, String device, int maxConcurrent, double timeoutSeconds) {
        title("STARTING RUN #" + run + "/" + runs);
        out.println("Configuration:");
        out.println("  Prompts: " + prompts);
        out.println("  Batch size: " + batchSize);
        out.println("  Device: " + device);
        out.println("  Max concurrent: " + maxConcurrent);
        out.println("  Timeout: " + timeoutSeconds + "s");
        out.println(LINE);
        out.println();
        out.flush();
    }

    /** Prints the metrics of a run, and each of its requests. */
    void results(int number, NaiveBenchmark.Run run) {
        out.println("Run #" + number + " Results:");
        metrics("METRICS", List.of(run));
        out.println("Detailed metrics:");
        String row = "%4s %6s %5s %5s %6s %5s %8s %8s %10s  %s%n";
        out.printf(
                row, "seq", "status", "batch", "input", "output", "total", "latency", "ttft", "tokens/sec", "prompt");
        for (NaiveResult result : run.results()) {
            out.printf(
                    row,
                    result.seq(),
                    result.status(),
                    result.batchNum(),
                    result.inputTokens(),
                    result.outputTokens(),
                    result.inputTokens() + result.outputTokens(),
                    seconds(result.latencySeconds()),
                    seconds(result.ttftSeconds()),
                    decimals(result.tokensPerSecond()),
                    result.prompt());
            if (!result.isSuccess()) {
                out.println("     error: " + result.error());
            }
        }
        out.println();
        out.flush();
    }

    /** Prints the metrics of all runs. */
    void summary(List<NaiveBenchmark.Run> runs) {
        metrics("SUMMARY OF " + runs.size() + (runs.size() == 1 ? " RUN" : " RUNS"), runs);
        out.flush();
    }

    private void metrics(String title, List<NaiveBenchmark.Run> runs) {
        List<NaiveResult> all =
                runs.stream().flatMap(run -> run.results().stream()).toList();
        List<NaiveResult> ok = all.stream().filter(NaiveResult::isSuccess).toList();
        double seconds =
                runs.stream().mapToDouble(NaiveBenchmark.Run::durationSeconds).sum();
        int batches = runs.stream().mapToInt(NaiveBenchmark.Run::batches).sum();
        int outputTokens = ok.stream().mapToInt(NaiveResult::outputTokens).sum();
        Distribution latency = distribution(ok, NaiveResult::latencySeconds);
        Distribution ttft = distribution(ok, NaiveResult::ttftSeconds);
        title(title);
        out.println("Total requests: " + all.size());
        out.println("Successful: " + ok.size());
        out.println("Errors: " + (all.size() - ok.size()));
        out.println();
        out.println("Average latency: " + seconds(latency.mean()));
        out.println("Average tokens/sec: "
                + decimals(distribution(ok, NaiveResult::tokensPerSecond).mean()));
        out.println("Total batches: " + batches);
        out.println();
        out.println("Latency p50: " + seconds(latency.median()) + ", p99: " + seconds(latency.p99()));
        out.println("TTFT mean: " + seconds(ttft.mean()) + ", p50: " + seconds(ttft.median()) + ", p99: "
                + seconds(ttft.p99()));
        out.println("Throughput: " + decimals(ok.size() / seconds) + " requests/s, " + decimals(outputTokens / seconds)
                + " output tokens/s");
        out.println();
    }

    private void title(String text) {
        out.println(DOUBLE_LINE);
        out.println(text);
        out.println(DOUBLE_LINE);
        out.println();
    }

    private static Distribution distribution(List<NaiveResult> results, ToDoubleFunction<NaiveResult> value) {
        return Distribution.of(results.stream().mapToDouble(value).toArray());
    }

    private static String seconds(double value) {
        return String.format(Locale.ROOT, "%.3fs", value);
    }

    private static String decimals(double value) {
        return String.format(Locale.ROOT, "%.2f", value);
    }
}
