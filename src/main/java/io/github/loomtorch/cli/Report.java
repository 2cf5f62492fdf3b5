package io.github.loomtorch.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import io.github.loomtorch.bench.Distribution;
import io.github.loomtorch.bench.Summary;
import io.github.loomtorch.bench.Workload;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.torch.program.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.stream.Collectors;
import org.apache.commons.csv.CSVFormat;

/** The settings and results of a benchmark, as text, JSON and CSV. */
final class Report {
    private static final CSVFormat CSV =
            CSVFormat.RFC4180.builder().setRecordSeparator("\n").get();

    private final String title;
    private final PrintWriter out;
    private final Map<String, String> settings = new LinkedHashMap<>();
    private final Map<String, Summary> results = new LinkedHashMap<>();

    /** What is written as JSON. */
    private record Json(String title, Map<String, String> settings, Map<String, Summary> results) {}

    /** Starts a report and prints its title. */
    Report(String title, PrintWriter out) {
        this.title = title;
        this.out = out;
        out.println(title);
    }

    boolean isWithoutResults() {
        return results.isEmpty();
    }

    /** Adds and prints a setting. */
    void setting(String name, String value) {
        settings.put(name, value);
        out.printf("  %-10s %s%n", name, value);
        out.flush();
    }

    /** {@code replicas}: the same model, each on its device. */
    void environment(List<Gpt2> replicas) {
        Gpt2 model = replicas.getFirst();
        setting("command", Versions.command());
        String devices = replicas.stream().map(Gpt2::device).collect(Collectors.joining(", "));
        setting("device", devices + " (" + model.hardware() + ")");
        setting("dtype", NamedConverter.nameOf(model.dtype()));
        setting("machine", Versions.machine());
        setting("Java", Versions.java());
        setting("libtorch", Versions.libtorch());
        setting("loomtorch", Versions.loomtorch());
    }

    static String describe(SamplingParams params) {
        return params.maxNewTokens() + " new tokens, "
                + (params.temperature() == 0
                        ? "greedy"
                        : "temperature " + params.temperature() + ", top-k " + params.topK() + ", top-p "
                                + params.topP() + ", min-p " + params.minP());
    }

    /** Adds the results of a column; if requests failed, prints how many and why at once. */
    void result(String name, Workload.Outcome outcome, Summary.Steps steps, Summary.Limits limits) {
        results.put(
                name, Summary.of(outcome.traces(), outcome.failures().size(), outcome.durationNanos(), steps, limits));
        if (!outcome.failures().isEmpty()) {
            out.println("  " + name + ": " + outcome.failures().size() + " failed, the first: "
                    + outcome.failures().get(0).getMessage());
        }
    }

    /** Prints the columns. */
    void printResults() {
        List<Map<String, Object>> columns =
                results.values().stream().map(Report::fields).toList();
        out.println();
        out.printf("%-32s", "");
        results.keySet().forEach(name -> out.printf(" %14s", name));
        out.println();
        for (String field : columns.get(0).keySet()) {
            out.printf("%-32s", field);
            for (Map<String, Object> column : columns) {
                out.print(
                        column.get(field) instanceof Double value
                                ? String.format(Locale.ROOT, " %14.2f", value)
                                : String.format(" %14s", column.get(field)));
            }
            out.println();
        }
    }

    void writeJson(Path file) throws IOException {
        ObjectMapper json = new ObjectMapper()
                .registerModule(new SimpleModule().addSerializer(new OptionalDoubleSerializer()))
                .enable(SerializationFeature.INDENT_OUTPUT);
        Files.writeString(file, json.writeValueAsString(new Json(title, settings, results)) + "\n");
    }

    /** Writes an absent value as null. */
    private static final class OptionalDoubleSerializer extends StdSerializer<OptionalDouble> {
        private static final long serialVersionUID = 1;

        OptionalDoubleSerializer() {
            super(OptionalDouble.class);
        }

        @Override
        public void serialize(OptionalDouble value, JsonGenerator json, SerializerProvider provider)
                throws IOException {
            provider.defaultSerializeValue(value.isPresent() ? value.getAsDouble() : null, json);
        }
    }

    void writeCsv(Path file) throws IOException {
        try (Writer csv = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
            List<Object> header = new ArrayList<>(List.of("scheduler"));
            header.addAll(fields(results.values().iterator().next()).keySet());
            CSV.printRecord(csv, header.toArray());
            for (Map.Entry<String, Summary> result : results.entrySet()) {
                List<Object> row = new ArrayList<>(List.of(result.getKey()));
                row.addAll(fields(result.getValue()).values());
                CSV.printRecord(csv, row.toArray());
            }
        }
    }

    private static Object known(OptionalDouble value) {
        return value.isPresent() ? value.getAsDouble() : "";
    }

    /** Values by name, in order; an unknown number is empty text. */
    private static Map<String, Object> fields(Summary summary) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("completed", summary.completed());
        fields.put("failed", summary.failed());
        fields.put("output_tokens", summary.outputTokens());
        fields.put("duration_s", summary.durationSeconds());
        fields.put("requests_per_s", summary.requestThroughput());
        fields.put("output_tokens_per_s", summary.outputTokenThroughput());
        fields.put("goodput_requests_per_s", summary.goodput());
        fields.put("device_idle_share", known(summary.deviceIdleShare()));
        fields.put("candidate_tokens", summary.candidateTokens());
        fields.put("accepted_tokens", summary.acceptedTokens());
        put(fields, "ttft", summary.ttftMillis());
        put(fields, "itl", summary.itlMillis());
        put(fields, "tpot", summary.tpotMillis());
        put(fields, "e2el", summary.e2elMillis());
        return fields;
    }

    private static void put(Map<String, Object> fields, String name, Distribution millis) {
        fields.put(name + "_mean_ms", millis.mean());
        fields.put(name + "_p50_ms", millis.p50());
        fields.put(name + "_p99_ms", millis.p99());
    }
}
