package io.github.loomtorch.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.github.loomtorch.json.BadJson;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;

/**
 * The result of a benchmark, as every benchmark writes it to a file of JSON. Immutable.
 *
 * @param benchmark which one: {@code serve}, {@code latency} and so on
 * @param date when it ended
 * @param command the program's arguments
 * @param seed of all random numbers; empty if there are none
 * @param machine what it ran on: operating system, processors, devices
 * @param versions of the software
 * @param workload what was asked for; two results can be compared only if it is equal
 * @param settings of the model and the schedulers
 * @param results one for each thing that was measured beside the others
 */
public record ResultFile(
        String benchmark,
        Instant date,
        String command,
        OptionalLong seed,
        Map<String, String> machine,
        Map<String, String> versions,
        Map<String, String> workload,
        Map<String, String> settings,
        List<Result> results) {
    /** Version of the format, which grows when a field changes its meaning or goes. */
    public static final int SCHEMA = 1;

    private static final ObjectMapper JSON = new ObjectMapper();

    /**
     * The numbers of one thing that was measured. Immutable.
     *
     * @param parameters what tells it from the others of the file, such as the scheduler
     * @param metrics of all runs together
     * @param runs the metrics of each run
     */
    public record Result(Map<String, String> parameters, Map<String, Double> metrics, List<Map<String, Double>> runs) {

        /**
         * The values of the parameters.
         *
         * @return such as {@code continuous} or {@code continuous request-rate=10}
         */
        public String name() {
            List<String> parts = new ArrayList<>();
            parameters.forEach((name, value) -> parts.add(name.equals("scheduler") ? value : name + "=" + value));
            return String.join(" ", parts);
        }
    }

    /**
     * Writes the file.
     *
     * @param file written anew
     * @throws IOException if it cannot be written
     */
    public void write(Path file) throws IOException {
        ObjectNode root = JSON.createObjectNode();
        root.put("schema", SCHEMA);
        root.put("benchmark", benchmark);
        root.put("date", date.toString());
        root.put("command", command);
        if (seed.isPresent()) {
            root.put("seed", seed.getAsLong());
        } else {
            root.putNull("seed");
        }
        machine.forEach(root.putObject("machine")::put);
        versions.forEach(root.putObject("versions")::put);
        workload.forEach(root.putObject("workload")::put);
        settings.forEach(root.putObject("settings")::put);
        ArrayNode all = root.putArray("results");
        for (Result result : results) {
            ObjectNode node = all.addObject();
            result.parameters.forEach(node.putObject("parameters")::put);
            result.metrics.forEach(node.putObject("metrics")::put);
            ArrayNode runs = node.putArray("runs");
            result.runs.forEach(run -> run.forEach(runs.addObject()::put));
        }
        Files.writeString(file, JSON.writerWithDefaultPrettyPrinter().writeValueAsString(root) + "\n");
    }

    /**
     * Reads a file.
     *
     * @param file that {@link #write} wrote
     * @return its content
     * @throws IOException if it is not such a file, or of another version
     */
    public static ResultFile read(Path file) throws IOException {
        JsonNode root;
        try {
            root = JSON.readTree(Files.readString(file));
        } catch (JsonProcessingException e) {
            BadJson bad = BadJson.of(e);
            throw new IOException(file + bad.place() + ": expected JSON of a benchmark, got: " + bad.reason(), e);
        }
        if (!root.path("schema").isInt() || root.path("schema").intValue() != SCHEMA) {
            String got = root.has("schema") ? root.get("schema").toString() : "none";
            throw new IOException(file + ": schema must be " + SCHEMA + ", got " + got
                    + "; measure again with this version of the program");
        }
        try {
            List<Result> results = new ArrayList<>();
            for (JsonNode node : root.get("results")) {
                List<Map<String, Double>> runs = new ArrayList<>();
                node.get("runs").forEach(run -> runs.add(numbers(run)));
                results.add(new Result(texts(node.get("parameters")), numbers(node.get("metrics")), runs));
            }
            return new ResultFile(
                    root.get("benchmark").asText(),
                    Instant.parse(root.get("date").asText()),
                    root.get("command").asText(),
                    root.get("seed").isNull()
                            ? OptionalLong.empty()
                            : OptionalLong.of(root.get("seed").asLong()),
                    texts(root.get("machine")),
                    texts(root.get("versions")),
                    texts(root.get("workload")),
                    texts(root.get("settings")),
                    results);
        } catch (RuntimeException e) { // a field is missing
            throw new IOException(file + ": expected every field of a benchmark's result, got: " + e.getMessage(), e);
        }
    }

    private static Map<String, String> texts(JsonNode object) {
        Map<String, String> texts = new LinkedHashMap<>();
        object.properties()
                .forEach(field -> texts.put(field.getKey(), field.getValue().asText()));
        return texts;
    }

    private static Map<String, Double> numbers(JsonNode object) {
        Map<String, Double> numbers = new LinkedHashMap<>();
        object.properties()
                .forEach(field -> numbers.put(field.getKey(), field.getValue().asDouble()));
        return numbers;
    }
}
