package io.github.loomtorch.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.ParseResult;

@Command(
        name = "sweep",
        header = "Measures a benchmark for each value of an option.",
        description = "Options of the sweep come before the benchmark's name, the benchmark's after it. Several --over"
                + " measure all combinations.",
        footer = {
            "  loomtorch bench sweep --over request-rate=2,4,8,inf --report sweep.html serve --requests 100",
            "  loomtorch bench sweep --over batch-size=1,8,64 latency --shape gpt2 --scheduler continuous"
        })
final class BenchSweepCommand extends RequestBenchmark {
    private static final List<String> FILES = List.of("--json", "--csv", "--report");
    private static final List<String> METRICS = List.of(
            "completed",
            "request_throughput",
            "output_throughput",
            "request_goodput",
            "median_ttft_ms",
            "p99_ttft_ms",
            "median_tpot_ms",
            "p99_itl_ms",
            "median_e2el_ms");

    @Option(
            names = "--over",
            paramLabel = "OPTION=V,V",
            required = true,
            description = "An option of the benchmark, without its hyphens, and the values to measure. May be given"
                    + " several times.")
    private List<String> over;

    @Parameters(
            paramLabel = "BENCHMARK",
            arity = "1..*",
            description = "serve, offline, latency, step, prefill or score, and options that all measurements have.")
    private List<String> benchmark;

    @Override
    Report measure(PrintWriter out) throws IOException {
        List<Map<String, String>> points = points();
        List<Benchmark> benchmarks = new ArrayList<>();
        for (Map<String, String> point : points) { // all are parsed before the first is measured
            benchmarks.add(parse(point));
        }
        String name = benchmark.getFirst();
        Report report = new Report(this, name, "Sweep of bench " + name, OptionalLong.empty(), out);
        for (int i = 0; i < points.size(); i++) {
            try {
                report.add(measure(benchmarks.get(i), out), points.get(i));
            } catch (IOException | RuntimeException e) {
                if (i > 0) {
                    report.printRows(METRICS);
                    write(report);
                }
                throw e;
            }
            out.println();
        }
        report.printRows(METRICS);
        return report;
    }

    /** Those of the benchmarks count. */
    @Override
    Map<String, String> settings(boolean given) {
        return Map.of();
    }

    /** A wrong value is one of the benchmark's options, not of this command's. */
    private static Report measure(Benchmark benchmark, PrintWriter out) throws IOException {
        try {
            return benchmark.measure(out);
        } catch (IllegalArgumentException e) {
            CommandLine command = benchmark.commandLine();
            String message = ErrorText.withOptions(String.valueOf(e.getMessage()), command);
            throw new ParameterException(command, message, e);
        }
    }

    /** All combinations of the values, by option. */
    private List<Map<String, String>> points() {
        List<Map<String, String>> points = List.of(Map.of());
        for (String each : over) {
            int equals = each.indexOf('=');
            String option = equals < 0 ? "" : each.substring(0, equals).replaceFirst("^--", "");
            if (option.isEmpty() || equals == each.length() - 1) {
                throw new IllegalArgumentException("over must be OPTION=VALUE,VALUE, got " + each);
            }
            if (option.equals("api-key")) {
                throw new IllegalArgumentException("over must not be api-key, which must not be in results");
            }
            List<Map<String, String>> longer = new ArrayList<>();
            for (Map<String, String> point : points) {
                for (String value : each.substring(equals + 1).split(",", -1)) {
                    Map<String, String> both = new LinkedHashMap<>(point);
                    both.put(option, value);
                    longer.add(both);
                }
            }
            points = longer;
        }
        return points;
    }

    private Benchmark parse(Map<String, String> point) {
        List<String> args = new ArrayList<>(List.of("bench"));
        args.addAll(benchmark);
        point.forEach((option, value) -> args.add("--" + option + "=" + value));
        ParseResult parsed = Main.commandLine(new Main())
                .setErr(commandLine().getErr())
                .setOut(commandLine().getOut())
                .parseArgs(args.toArray(String[]::new));
        Object command = parsed.subcommand().hasSubcommand()
                ? parsed.subcommand().subcommand().commandSpec().userObject()
                : parsed.subcommand().commandSpec().userObject();
        if (!(command instanceof Benchmark measuring) || command instanceof BenchSweepCommand) {
            throw new IllegalArgumentException(
                    "BENCHMARK must be serve, offline, latency, step, prefill, score or naive, got "
                            + benchmark.getFirst());
        }
        for (String file : FILES) {
            if (measuring.isGiven(file)) {
                throw new IllegalArgumentException(file + " must come before the benchmark's name");
            }
        }
        return measuring;
    }
}
