package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.TextScore;
import io.github.loomtorch.testing.CommandProcess;
import io.github.loomtorch.testing.CommandProcess.Result;
import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.commons.csv.CSVFormat;
import org.apache.commons.csv.CSVRecord;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** {@code score} as other programs use it, against the library. */
@Timeout(300)
class ScoreCommandIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Path MODEL = Path.of("models/tales");
    private static final String FIELDS =
            "[tokenIds, logprobs, ranks, sum, scoredTokens, bytes, perplexity, bitsPerByte]";

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

    private static CommandProcess score(String... args) {
        List<String> all =
                new ArrayList<>(List.of("score", "--model", MODEL.toString(), "--device", "cpu", "--dtype", "float32"));
        all.addAll(List.of(args));
        return new CommandProcess(Main.class, all.toArray(String[]::new));
    }

    private static ScoreOptions.Builder options() {
        return ScoreOptions.builder().statistics(true);
    }

    private static String names(JsonNode object) {
        return object.properties().stream().map(Map.Entry::getKey).toList().toString();
    }

    /** Steps of other shapes round otherwise. */
    private static void assertScore(TextScore expected, JsonNode json) {
        assertEquals(expected.tokens().size(), json.get("tokenIds").size());
        for (int i = 0; i < expected.tokens().size(); i++) {
            assertEquals(
                    expected.tokens().get(i).tokenId(),
                    json.get("tokenIds").get(i).intValue());
            JsonNode logprob = json.get("logprobs").get(i);
            JsonNode rank = json.get("ranks").get(i);
            if (expected.tokens().get(i).score().isEmpty()) {
                assertTrue(logprob.isNull() && rank.isNull(), json.toString());
            } else {
                var score = expected.tokens().get(i).score().get();
                assertEquals(score.logprobs().logprob(), logprob.doubleValue(), 1e-4);
                int expectedRank = score.statistics().orElseThrow().rank();
                assertEquals(expectedRank, rank.intValue(), expectedRank / 1000); // near ties
            }
        }
        assertEquals(expected.sum(), json.get("sum").doubleValue(), 1e-3);
        assertEquals(expected.scoredTokens(), json.get("scoredTokens").intValue());
        assertEquals(expected.bytes(), json.get("bytes").longValue());
        assertEquals(expected.perplexity(), json.get("perplexity").doubleValue(), 1e-3 * expected.perplexity());
        assertEquals(expected.bitsPerByte(), json.get("bitsPerByte").doubleValue(), 1e-3);
    }

    @Test
    void linesOfStandardInputAreScoredInTheirOrder() throws Exception {
        String lines = """
                "Once upon a time there was a king."
                {"prompt": "Once upon a", "continuation": " time", "id": 7}
                "x"
                {"prompt": "Once upon a"}
                {"prompt": "Once upon a", "continuation": ""}
                {"prompt": "", "continuation": "The café was \\"closed\\"."}
                "世界"
                """;
        Result result = score("--jsonl").stdin(lines).run();
        List<String> out = result.out().lines().toList();
        assertEquals(7, out.size(), result.out());
        List<JsonNode> json = new ArrayList<>();
        for (String line : out) {
            json.add(JSON.readTree(line));
        }
        assertEquals(FIELDS, names(json.get(0)));
        assertScore(tales.score("Once upon a time there was a king.", options().build()), json.get(0));
        assertEquals(FIELDS.replace("]", ", isGreedy]"), names(json.get(1)));
        TextScore time =
                tales.scoreContinuation("Once upon a", " time", options().build());
        assertScore(time, json.get(1));
        assertEquals(1, json.get(1).get("tokenIds").size());
        assertTrue(json.get(1).get("isGreedy").booleanValue());
        String wanted = "expected a JSON string, or an object with the strings \"prompt\" and \"continuation\", got ";
        assertEquals(
                "{\"line\":3,\"error\":\"standard input line 3: text must have at least 2 tokens, or 1 with --bos, got 1\"}",
                out.get(2));
        assertEquals(4, json.get(3).get("line").intValue());
        assertEquals(
                "standard input line 4: " + wanted + "{\"prompt\":\"Once upon a\"}",
                json.get(3).get("error").textValue());
        assertEquals(
                "standard input line 5: continuation must not be empty",
                json.get(4).get("error").textValue());
        assertScore(
                tales.scoreContinuation(
                        "", "The café was \"closed\".", options().build()),
                json.get(5));
        assertFalse(json.get(5).get("isGreedy").booleanValue());
        assertScore(tales.score("世界", options().build()), json.get(6));
        assertEquals("error: 3 of 7 lines failed; the output has an error for each\n", result.err());
        assertEquals(1, result.status());
    }

    @Test
    void aLongFileIsScoredInWindows() throws Exception {
        String text = IntStream.range(0, 300)
                .mapToObj(i -> "There were " + i + " birds in the tree. ")
                .collect(Collectors.joining());
        Path file = Files.writeString(directory.resolve("long.txt"), text);
        Result result = score("--file", file.toString(), "--stride", "700", "--bos", "--json")
                .run();
        assertEquals("", result.err());
        assertEquals(0, result.status());
        assertEquals(1, result.out().lines().count());
        JsonNode json = JSON.readTree(result.out());
        assertEquals(FIELDS, names(json));
        assertTrue(json.get("tokenIds").size() > 1024);
        assertEquals(json.get("tokenIds").size(), json.get("scoredTokens").intValue());
        assertScore(
                tales.score(text, options().stride(700).endOfTextInFront(true).build()), json);
    }

    @Test
    void tokensAreRowsOfCsvAndPartsOfJson() throws Exception {
        Result csv =
                score("--text", "A \"bee\",\nsaid 世", "--csv", "--per-token").run();
        assertEquals("", csv.err());
        List<CSVRecord> rows = CSVFormat.RFC4180
                .builder()
                .setHeader()
                .setSkipHeaderRecord(true)
                .get()
                .parse(new StringReader(csv.out()))
                .getRecords();
        JsonNode json = JSON.readTree(score("--text", "A \"bee\",\nsaid 世", "--json", "--per-token")
                .run()
                .out());
        assertEquals(FIELDS.replace("]", ", tokens]"), names(json));
        assertEquals(json.get("tokens").size(), rows.size());
        for (int i = 0; i < rows.size(); i++) {
            JsonNode token = json.get("tokens").get(i);
            assertEquals("1", rows.get(i).get("line"));
            assertEquals("" + i, rows.get(i).get("token"));
            assertEquals(json.get("tokenIds").get(i).asText(), rows.get(i).get("token_id"));
            assertEquals(token.get("text").textValue(), rows.get(i).get("text"));
            assertEquals(token.get("byteStart").asText(), rows.get(i).get("byte_start"));
            assertEquals(token.get("charEnd").asText(), rows.get(i).get("char_end"));
            assertEquals("", rows.get(i).get("error"));
            for (String column : List.of("logprob", "rank", "entropy", "variance")) {
                assertEquals(i == 0, rows.get(i).get(column).isEmpty(), column);
            }
            assertEquals(i == 0, token.get("entropy").isNull());
        }
        assertEquals(
                "A \"bee\",\nsaid 世".length(), Integer.parseInt(rows.getLast().get("char_end")));
    }

    @Test
    void linesBecomeRowsOfCsv() throws Exception {
        Path file = Files.writeString(
                directory.resolve("texts.jsonl"),
                "\"Once upon a time\"\n{\"prompt\": \"Once upon a\", \"continuation\": \" time\"}\n7\n");
        Result result = score("--jsonl", "--file", file.toString(), "--csv").run();
        List<String> lines = result.out().lines().toList();
        assertEquals("line,tokens,scored_tokens,bytes,sum,perplexity,bits_per_byte,is_greedy,error", lines.get(0));
        assertTrue(lines.get(1).matches("1,4,3,16,-[\\d.]+,[\\d.]+,[\\d.]+,,"), lines.get(1));
        assertTrue(lines.get(2).matches("2,1,1,5,-[\\d.]+,[\\d.]+,[\\d.]+,true,"), lines.get(2));
        assertEquals(
                "3,,,,,,,,\"" + file
                        + " line 3: expected a JSON string, or an object with the strings \"\"prompt\"\" and"
                        + " \"\"continuation\"\", got 7\"",
                lines.get(3));
        assertEquals(1, result.status());
    }

    @Test
    void aPersonReadsATable() throws Exception {
        Result result = score("--text", "Once upon a time", "--per-token").run();
        TextScore score = tales.score("Once upon a time", options().build());
        assertEquals("", result.err());
        List<String> lines = result.out().lines().map(String::strip).toList();
        assertTrue(lines.get(1).endsWith("\"Once\""), result.out());
        assertTrue(lines.get(2).matches("-\\d+\\.\\d{4} +\\d+ +[\\d.]+ +[\\d.]+ +\" upon\""), result.out());
        assertEquals("tokens         4, scored 3", lines.get(6));
        assertEquals("bytes          16", lines.get(7));
        assertTrue(lines.get(8).matches("sum +-\\d+\\.\\d{4}"), lines.get(8));
        assertEquals(score.sum(), Double.parseDouble(lines.get(8).split(" +")[1]), 1e-3);
        assertEquals(11, lines.size());
    }

    @Test
    void aLineIsAnsweredBeforeTheNextIsWritten() throws Exception {
        List<String> answers = score("--jsonl")
                .converse(List.of("\"Once upon a time\"", "{\"prompt\": \"a\", \"continuation\": \" b\"}", "1"));
        assertEquals(3, answers.size());
        assertTrue(answers.get(0).startsWith("{\"tokenIds\":"), answers.get(0));
        assertTrue(answers.get(2).startsWith("{\"line\":3,"), answers.get(2));
    }

    /** By SIGTERM: it ends a JVM as SIGINT does, which a process in the background may ignore. */
    @Test
    @DisabledOnOs(OS.WINDOWS) // which has no signals
    void aSignalLeavesWholeLines() throws Exception {
        Path file = directory.resolve("texts.jsonl");
        Files.writeString(file, "\"Once upon a time there was a king.\"\n".repeat(100_000));
        Result result = score("--jsonl", "--file", file.toString()).endAfter("{\"tokenIds\"");
        assertEquals(143, result.status());
        assertTrue(result.out().endsWith("}\n"), "the end of the output is cut");
        List<String> lines = result.out().lines().toList();
        assertTrue(lines.size() < 100_000);
        for (String line : lines) {
            assertEquals(FIELDS, names(JSON.readTree(line)));
        }
    }
}
