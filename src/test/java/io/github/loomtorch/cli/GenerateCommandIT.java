package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.bench.ResultFile;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.CommandProcess;
import io.github.loomtorch.testing.CommandProcess.Result;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What {@code generate} and {@code bench latency} pass on to the library. */
@Timeout(300)
class GenerateCommandIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Path MODEL = Path.of("models/tales");
    private static final String REPEATING = "The cat ran, and the dog ran, and the cat ran, and the dog ran, and the";

    private static TextGenerator tales;

    @TempDir
    private Path directory;

    @BeforeAll
    static void load() throws IOException {
        tales = TextGenerator.builder(MODEL)
                .model(ModelOptions.builder().device("cpu").dtype(Dtype.FLOAT32).build())
                .build();
    }

    @AfterAll
    static void close() {
        tales.close();
    }

    private static CommandProcess command(String name, String... args) {
        List<String> all = new ArrayList<>(List.of(name.split(" ")));
        all.addAll(List.of("-m", MODEL.toString(), "--device", "cpu", "--dtype", "float32"));
        all.addAll(List.of(args));
        return new CommandProcess(Main.class, all.toArray(String[]::new));
    }

    private static int[] ints(JsonNode array) {
        return IntStream.range(0, array.size())
                .map(i -> array.get(i).intValue())
                .toArray();
    }

    private static void assertCompletion(Completion expected, JsonNode json) {
        assertArrayEquals(expected.promptTokenIds(), ints(json.get("promptTokenIds")));
        assertArrayEquals(expected.outputTokenIds(), ints(json.get("outputTokenIds")));
        assertEquals(expected.text(), json.get("text").textValue());
        assertEquals(expected.finishReason().name(), json.get("finishReason").textValue());
        assertEquals(expected.seed(), json.get("seed").longValue());
    }

    @Test
    void eachOptionReachesTheSampler() throws Exception {
        Path file = Files.writeString(directory.resolve("prompt.txt"), "Once upon a time\n");
        Result result = command(
                        "generate",
                        "-f",
                        file.toString(),
                        "-l",
                        "12",
                        "-s",
                        "3",
                        "-n",
                        "2",
                        "-t",
                        "0.9",
                        "-k",
                        "0",
                        "--top-p",
                        "1",
                        "--repetition-penalty",
                        "1.2",
                        "--presence-penalty",
                        "0.3",
                        "--frequency-penalty",
                        "-0.1",
                        "--logit-bias",
                        "13=-Infinity,11=1.5",
                        "--stop-ids",
                        "262,5",
                        "--timeout",
                        "100",
                        "--json")
                .run();
        assertEquals("", result.err());
        assertEquals(0, result.status());
        List<String> lines = result.out().lines().toList();
        assertEquals(2, lines.size());
        for (int i = 0; i < 2; i++) {
            SamplingParams params = SamplingParams.builder()
                    .maxNewTokens(12)
                    .seed(3 + i)
                    .temperature(0.9f)
                    .repetitionPenalty(1.2f)
                    .presencePenalty(0.3f)
                    .frequencyPenalty(-0.1f)
                    .logitBias(Map.of(13, Float.NEGATIVE_INFINITY, 11, 1.5f))
                    .stopTokenIds(Set.of(262, 5))
                    .build();
            assertCompletion(tales.generate("Once upon a time\n", params), JSON.readTree(lines.get(i)));
        }
    }

    @Test
    void linesOfStandardInputAreContinuedInTheirOrder() throws Exception {
        Result result = command("generate", "--jsonl", "-t", "0", "-l", "5", "--speculate", "ngram:4")
                .stdin("\"Once upon a time\"\n{\"prompt\": \"The cat\", \"id\": 3}\n[]\n\"\"\n\"" + REPEATING + "\"\n")
                .run();
        List<JsonNode> json = new ArrayList<>();
        for (String line : result.out().lines().toList()) {
            json.add(JSON.readTree(line));
        }
        assertEquals(5, json.size());
        assertCompletionOfGreedy("Once upon a time", json.get(0));
        assertCompletionOfGreedy("The cat", json.get(1));
        assertEquals(
                "{\"line\":3,\"error\":\"standard input line 3: expected a JSON string, or an object with the string"
                        + " \\\"prompt\\\", got []\"}",
                json.get(2).toString());
        assertEquals(
                "standard input line 4: prompt must not be empty",
                json.get(3).get("error").textValue());
        assertCompletionOfGreedy(REPEATING, json.get(4));
        assertEquals("error: 2 of 5 lines failed; the output has an error for each\n", result.err());
        assertEquals(1, result.status());
    }

    private static void assertCompletionOfGreedy(String prompt, JsonNode json) {
        Completion expected = tales.generate(prompt, SamplingParams.greedy(5));
        assertArrayEquals(expected.outputTokenIds(), ints(json.get("outputTokenIds")));
        assertEquals(expected.text(), json.get("text").textValue());
    }

    @Test
    void aTextThatTakesTooLongEnds() throws Exception {
        Result result = command(
                        "generate", "--prompt", "Once", "--timeout", "0.000001", "-l", "900", "--ignore-eos", "--json")
                .run();
        assertEquals("DEADLINE", JSON.readTree(result.out()).get("finishReason").textValue());
        assertFalse(result.out().contains("NaN"), result.out());
    }

    @Test
    void benchLatencyComparesWithSpeculation() throws Exception {
        Path file = Files.writeString(directory.resolve("prompt.txt"), REPEATING);
        Path json = directory.resolve("results.json");
        Result result = command(
                        "bench latency",
                        "--scheduler",
                        "continuous",
                        "--prompt-file",
                        file.toString(),
                        "--output-len",
                        "30",
                        "--runs",
                        "1",
                        "--temperature",
                        "0",
                        "--speculate",
                        "3:5",
                        "--json",
                        json.toString())
                .run();
        assertEquals("", result.err());
        assertTrue(result.out().startsWith("1 runs of a batch of 1, after 1 to warm up\n"), result.out());
        ResultFile written = ResultFile.read(json);
        assertEquals("21", written.workload().get("input-len"));
        Map<String, Double> plain = written.results().get(0).metrics();
        assertEquals("continuous speculate=3:5", written.results().get(1).name());
        Map<String, Double> speculating = written.results().get(1).metrics();
        assertEquals(30, plain.get("total_output_tokens"));
        assertEquals(30, speculating.get("total_output_tokens"));
        assertEquals(0, plain.get("candidate_tokens"));
        int candidates = speculating.get("candidate_tokens").intValue();
        int accepted = speculating.get("accepted_tokens").intValue();
        assertTrue(accepted > 10 && accepted <= candidates && candidates < 60, accepted + " of " + candidates);
        assertTrue(result.out().matches("(?s).*\naccepted_tokens +0 +" + accepted + "\n.*"), result.out());
    }
}
