package io.github.loomtorch.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.github.loomtorch.bench.ChartData;
import io.github.loomtorch.bench.Measurement;
import io.github.loomtorch.bench.ResultFile;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** The results of a benchmark as one page that needs no other file: uPlot, the data and what draws it. */
final class HtmlReport {
    private static final ObjectMapper JSON = new ObjectMapper();

    private HtmlReport() {}

    static void write(Report report, Path file) throws IOException {
        String page = resource("report.html")
                .replace("/*uPlot.css*/", resource("uPlot.min.css"))
                .replace("/*uPlot.js*/", resource("uPlot.iife.min.js"))
                .replace("/*report.js*/", resource("report.js"))
                .replace("/*data*/", json(report));
        Files.writeString(file, page);
    }

    private static String resource(String name) throws IOException {
        try (InputStream in = HtmlReport.class.getResourceAsStream(name)) {
            if (in == null) {
                throw new IOException(name + ": expected among the program's files, got nothing");
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    /** The data of the page. No text in it can end the element that holds it. */
    static String json(Report report) {
        ObjectNode root = JSON.createObjectNode();
        ResultFile file = report.file();
        root.put("title", report.title());
        root.put("command", file.command());
        root.put("date", file.date().toString());
        ObjectNode facts = root.putObject("facts");
        for (Map<String, String> values : List.of(file.workload(), file.settings(), file.machine(), file.versions())) {
            values.forEach(facts::put);
        }
        ArrayNode columns = root.putArray("columns");
        for (Report.Column column : report.columns()) {
            ObjectNode node = columns.addObject();
            node.put("name", column.result().name());
            column.result().parameters().forEach(node.putObject("parameters")::put);
            column.result().metrics().forEach(node.putObject("metrics")::put);
            if (!column.runs().isEmpty()) {
                addCharts(node, column.runs());
            }
        }
        return root.toString().replace("<", "\\u003c");
    }

    private static void addCharts(ObjectNode node, List<Measurement> runs) {
        Measurement first = runs.getFirst();
        put(node, "ttft", ChartData.cumulative(ChartData.ttftMillis(runs)));
        put(node, "itl", ChartData.cumulative(ChartData.itlMillis(runs)));
        put(node, "ttftOverTime", ChartData.ttftOverTime(first));
        put(node, "itlMedianOverTime", ChartData.itlOverTime(first, 0.5));
        put(node, "itlP99OverTime", ChartData.itlOverTime(first, 0.99));
        ChartData.Steps steps = ChartData.steps(first);
        ObjectNode timeline = node.putObject("steps");
        put(timeline, "seconds", steps.seconds());
        put(timeline, "prefilling", steps.prefilling());
        put(timeline, "decoding", steps.decoding());
        put(timeline, "waiting", steps.waiting());
        put(timeline, "preempted", steps.preempted());
        node.put("requestCount", first.requests().size());
        ArrayNode lives = node.putArray("requests");
        for (ChartData.Life life : ChartData.lives(first)) {
            ArrayNode preempted = lives.addArray()
                    .add(rounded(life.arrival()))
                    .add(rounded(life.started()))
                    .add(rounded(life.firstToken()))
                    .add(rounded(life.end()))
                    .add(life.status())
                    .addArray();
            life.preempted()
                    .forEach(span ->
                            preempted.addArray().add(rounded(span.start())).add(rounded(span.end())));
        }
    }

    private static void put(ObjectNode node, String name, ChartData.Points points) {
        ArrayNode both = node.putArray(name);
        for (double[] values : List.of(points.x(), points.y())) {
            ArrayNode array = both.addArray();
            for (double value : values) {
                array.add(rounded(value));
            }
        }
    }

    private static void put(ObjectNode node, String name, double... values) {
        ArrayNode array = node.putArray(name);
        for (double value : values) {
            array.add(rounded(value));
        }
    }

    /** To a microsecond, if these are seconds: more digits only make the page larger. */
    private static double rounded(double value) {
        return Math.rint(value * 1e6) / 1e6;
    }
}
