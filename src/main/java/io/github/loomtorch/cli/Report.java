package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Limits;
import io.github.loomtorch.bench.Measurement;
import io.github.loomtorch.bench.Metrics;
import io.github.loomtorch.bench.RequestTrace;
import io.github.loomtorch.bench.ResultFile;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.commons.csv.CSVFormat;

/** What a benchmark measured: printed as it comes, and written as JSON, CSV or pictures. */
final class Report {
    private static final CSVFormat CSV =
            CSVFormat.RFC4180.builder().setRecordSeparator("\n").get();

    private final String benchmark;
    private final String title;
    private OptionalLong seed;
    private final PrintWriter out;
    private final Map<String, String> machine = new LinkedHashMap<>();
    private final Map<String, String> versions = new LinkedHashMap<>();
    private final Map<String, String> workload = new LinkedHashMap<>();
    private final Map<String, String> settings = new LinkedHashMap<>();
    private final Map<String, String> defaults = new LinkedHashMap<>(); // settings that are not printed
    private final List<Column> columns = new ArrayList<>();

    /** One result, with the requests and steps that it is of, if there are such. */
    record Column(ResultFile.Result result, List<Measurement> runs) {}

    /** Starts a report. Nothing is printed before {@link #environment()}, so that wrong options come alone. */
    Report(Benchmark command, String benchmark, String title, OptionalLong seed, PrintWriter out) {
        this.benchmark = benchmark;
        this.title = title;
        this.seed = seed;
        this.out = out;
        settings.putAll(command.settings(true));
        defaults.putAll(command.settings(false));
    }

    String title() {
        return title;
    }

    List<Column> columns() {
        return columns;
    }

    /** Adds a number or a word that must be equal in results that are compared. */
    void workload(String name, Object value) {
        workload.put(name, value.toString());
        settings.remove(name);
        defaults.remove(name);
    }

    /** Adds a setting of the model or the schedulers that is not an option's value. */
    void setting(String name, String value) {
        settings.put(name, value);
        defaults.remove(name);
    }

    /** Adds what measures, and prints all. */
    void environment() {
        machine.put("os", Versions.machine());
        versions.put("loomtorch", Versions.loomtorch());
        versions.put("java", Versions.java());
        out.println(title);
        for (Map<String, String> values : List.of(workload, settings, machine, versions)) {
            values.forEach((name, value) -> out.printf("  %-18s %s%n", name, value));
        }
        out.flush();
    }

    /** Adds what measures and is measured, and prints all; {@code replicas}: the same model, each on its device. */
    void environment(List<Gpt2> replicas) {
        Gpt2 model = replicas.getFirst();
        String devices = replicas.stream().map(Gpt2::device).collect(Collectors.joining(", "));
        machine.put("device", devices + " (" + model.hardware() + ")");
        versions.put("libtorch", Versions.libtorch());
        setting("dtype", NamedConverter.nameOf(model.dtype()));
        environment();
    }

    static String describe(SamplingParams params) {
        return params.temperature() == 0
                ? "greedy"
                : "temperature " + params.temperature() + ", top-k " + params.topK() + ", top-p " + params.topP()
                        + ", min-p " + params.minP();
    }

    /** Adds the results of a column; if requests did not complete, prints how many and why at once. */
    void measured(Map<String, String> parameters, List<Measurement> runs, Limits limits) {
        List<Map<String, Double>> each =
                runs.stream().map(run -> Metrics.of(List.of(run), limits)).toList();
        ResultFile.Result result = new ResultFile.Result(parameters, Metrics.of(runs, limits), each);
        columns.add(new Column(result, runs));
        List<RequestTrace> others = runs.stream()
                .flatMap(run -> run.requests().stream())
                .filter(trace -> !trace.isCompleted())
                .toList();
        if (!others.isEmpty()) {
            out.println("  " + result.name() + ": " + others.size() + " did not complete, the first: "
                    + others.getFirst().failure());
        }
    }

    /** Adds the results of a column that has no requests. */
    void measured(Map<String, String> parameters, List<Map<String, Double>> runs) {
        Map<String, Double> means = new LinkedHashMap<>();
        for (String name : runs.getFirst().keySet()) {
            means.put(
                    name,
                    runs.stream().mapToDouble(run -> run.get(name)).average().orElseThrow());
        }
        columns.add(new Column(new ResultFile.Result(parameters, means, runs), List.of()));
    }

    /** Takes over the results of another report; what only some of the reports have in common is left out. */
    void add(Report other, Map<String, String> parameters) {
        boolean isFirst = columns.isEmpty();
        seed = isFirst || seed.equals(other.seed) ? other.seed : OptionalLong.empty();
        addCommon(isFirst, machine, other.machine);
        addCommon(isFirst, versions, other.versions);
        addCommon(isFirst, workload, other.workload);
        addCommon(isFirst, settings, other.settings);
        addCommon(isFirst, defaults, other.defaults);
        for (Column column : other.columns) {
            Map<String, String> both = new LinkedHashMap<>(column.result.parameters());
            both.putAll(parameters);
            columns.add(new Column(
                    new ResultFile.Result(both, column.result.metrics(), column.result.runs()), column.runs));
        }
    }

    private static void addCommon(boolean isFirst, Map<String, String> common, Map<String, String> values) {
        if (isFirst) {
            common.putAll(values);
        } else {
            common.entrySet().retainAll(values.entrySet());
        }
    }

    /** Whether every request of every column completed. */
    boolean allCompleted() {
        return columns.stream()
                .flatMap(column -> column.runs.stream())
                .flatMap(run -> run.requests().stream())
                .allMatch(RequestTrace::isCompleted);
    }

    /** Prints the columns. */
    void printResults() {
        out.println();
        out.printf("%-25s", "");
        columns.forEach(column -> out.printf(" %16s", column.result.name()));
        out.println();
        for (String name : metricNames()) {
            out.printf("%-25s", name);
            for (Column column : columns) {
                Double value = column.result.metrics().get(name);
                int width = Math.max(16, column.result.name().length());
                out.printf(" %" + width + "s", value == null ? "" : number(value));
            }
            out.println();
        }
        out.flush();
    }

    /** Prints a line for each result, with some of its numbers. */
    void printRows(List<String> wanted) {
        List<String> common = wanted.stream().filter(metricNames()::contains).toList();
        List<String> names = common.size() > 1 ? common : List.copyOf(metricNames());
        int width = columns.stream()
                .mapToInt(column -> column.result.name().length())
                .max()
                .orElse(0);
        out.print(" ".repeat(width));
        names.forEach(name -> out.printf(" %18s", name));
        out.println();
        for (Column column : columns) {
            out.print(column.result.name()
                    + " ".repeat(width - column.result.name().length()));
            for (String name : names) {
                Double value = column.result.metrics().get(name);
                out.printf(" %18s", value == null ? "" : number(value));
            }
            out.println();
        }
        out.flush();
    }

    /** A whole number without decimals, others with enough to be told apart. */
    static String number(double value) {
        return String.format(Locale.ROOT, value == Math.rint(value) && Math.abs(value) < 1e15 ? "%.0f" : "%.3f", value);
    }

    private Set<String> metricNames() {
        Set<String> names = new LinkedHashSet<>();
        columns.forEach(column -> names.addAll(column.result.metrics().keySet()));
        return names;
    }

    ResultFile file() {
        Map<String, String> all = new LinkedHashMap<>(settings);
        all.putAll(defaults);
        return new ResultFile(
                benchmark,
                Instant.now(),
                Versions.command(),
                seed,
                machine,
                versions,
                workload,
                all,
                columns.stream().map(Column::result).toList());
    }

    void writeCsv(Path file) throws IOException {
        try (Writer csv = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
            List<Object> header = new ArrayList<>(List.of("name"));
            header.addAll(metricNames());
            CSV.printRecord(csv, header.toArray());
            for (Column column : columns) {
                List<Object> row = new ArrayList<>(List.of(column.result.name()));
                for (String name : metricNames()) {
                    Double value = column.result.metrics().get(name);
                    row.add(value == null ? "" : value);
                }
                CSV.printRecord(csv, row.toArray());
            }
        }
    }
}
