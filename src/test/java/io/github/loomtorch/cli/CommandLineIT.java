package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.bench.ResultFile;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.testing.CommandProcess;
import io.github.loomtorch.testing.CommandProcess.Result;
import io.github.loomtorch.testing.RandomCheckpoint;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import javax.imageio.ImageIO;
import org.apache.commons.csv.CSVFormat;
import org.apache.commons.csv.CSVRecord;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The command line as other programs see it: a process with two streams and an exit status, in a locale without UTF-8.
 */
@Timeout(300)
class CommandLineIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String MODEL = Path.of("models/tales").toAbsolutePath().toString();

    @TempDir
    private Path directory;

    private static CommandProcess command(String... args) {
        return new CommandProcess(Main.class, args);
    }

    private static JsonNode golden() throws IOException {
        return JSON.readTree(Path.of("src/test/resources/golden/tales.json").toFile())
                .get("cases")
                .get(0);
    }

    private static int[] ints(JsonNode array) {
        return IntStream.range(0, array.size())
                .map(i -> array.get(i).intValue())
                .toArray();
    }

    private static void assertSuccess(Result result) {
        assertEquals("", result.err());
        assertEquals(0, result.status());
    }

    @Test
    void generateFromIdsPrintsOneJsonObject() throws Exception {
        int[] prompt = ints(golden().get("prompt_ids"));
        int[] greedy = Arrays.copyOf(ints(golden().get("greedy_ids")), 12);
        String ids = Arrays.stream(prompt).mapToObj(Integer::toString).collect(Collectors.joining(","));
        Result result = command(
                        "generate",
                        "--model",
                        MODEL,
                        "--prompt-ids",
                        ids,
                        "--temperature",
                        "0",
                        "--max-new-tokens",
                        "12",
                        "--top-logprobs",
                        "2",
                        "--device",
                        "cpu",
                        "--dtype",
                        "float32",
                        "--seed",
                        "-5",
                        "--ignore-eos",
                        "--json")
                .in(directory)
                .run();
        assertSuccess(result);
        assertEquals(1, result.out().lines().count());
        JsonNode json = JSON.readTree(result.out());
        assertEquals("[promptTokenIds, outputTokenIds, text, finishReason, seed, logprobs, timings]", names(json));
        assertArrayEquals(prompt, ints(json.get("promptTokenIds")));
        assertArrayEquals(greedy, ints(json.get("outputTokenIds")));
        assertEquals(BpeTokenizer.gpt2().decode(greedy), json.get("text").textValue());
        assertEquals("LENGTH", json.get("finishReason").textValue());
        assertEquals(-5, json.get("seed").longValue());
        assertEquals(12, json.get("logprobs").size());
        JsonNode first = json.get("logprobs").get(0);
        assertEquals("[logprob, top]", names(first));
        assertEquals("[tokenId, logprob]", names(first.get("top").get(0)));
        JsonNode topIds = golden().get("top5_ids");
        double logsumexp = golden().get("logsumexp").doubleValue();
        for (int i = 0; i < 2; i++) {
            assertEquals(
                    topIds.get(i).intValue(),
                    first.get("top").get(i).get("tokenId").intValue());
            assertEquals(
                    golden().get("top5_logits").get(i).doubleValue() - logsumexp,
                    first.get("top").get(i).get("logprob").doubleValue(),
                    1e-3);
        }
        assertEquals(2, first.get("top").size());
        assertEquals(first.get("top").get(0).get("logprob"), first.get("logprob"));
        assertEquals(
                "[loadMillis, ttftMillis, tpotMillis, e2elMillis, outputTokensPerSecond]", names(json.get("timings")));
        assertTrue(json.get("timings").get("e2elMillis").doubleValue()
                > json.get("timings").get("ttftMillis").doubleValue());
    }

    private static String names(JsonNode object) {
        return object.properties().stream().map(Map.Entry::getKey).toList().toString();
    }

    /** Octal escapes, as this JVM may not be able to pass these bytes itself. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "LANG=C",
                "LC_ALL=POSIX",
                "LC_ALL=C.UTF-8",
                "JAVA_TOOL_OPTIONS=-Xshare:auto JDK_JAVA_OPTIONS=-Da=b"
            })
    @DisabledOnOs(OS.WINDOWS)
    void argumentsAreUtf8WhateverTheLocale(String locale) throws Exception {
        Result ids = CommandProcess.inShell(Main.class, locale, "tokenize -- \"$(printf 'caf\\303\\251')\" ''")
                .run();
        assertEquals("66 1878 2634 220\n", ids.out());
        assertEquals(0, ids.status());
    }

    @Test
    @DisabledOnOs(OS.WINDOWS)
    void argumentsThatAreNotUtf8AreRefused() throws Exception {
        Result result = CommandProcess.inShell(Main.class, "", "tokenize \"$(printf 'caf\\351')\"")
                .run();
        assertEquals("error: argument 2 must be UTF-8, got malformed bytes\n", result.err());
        assertEquals("", result.out());
        assertEquals(2, result.status());
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void aPathThatTheLocaleCannotNameIsRefused() throws Exception {
        Result result = CommandProcess.inShell(Main.class, "", "tokenize --tokenizer \"$(printf 'caf\\303\\251')\" x")
                .run();
        assertEquals(
                "error: Invalid value for option '--tokenizer': expected a path in this locale's encoding, which is US-ASCII,"
                        + " got 'café'; set LC_ALL=C.UTF-8; see loomtorch tokenize --help\n",
                result.err());
        assertEquals(2, result.status());
    }

    @Test
    @DisabledOnOs(OS.WINDOWS)
    void outputIsUtf8WhateverTheLocale() throws Exception {
        Result text = CommandProcess.inShell(Main.class, "", "tokenize --decode 66 1878 2634")
                .run();
        assertEquals("café", text.out());
        Result error = CommandProcess.inShell(Main.class, "", "\"$(printf 'caf\\303\\251')\"")
                .run();
        assertEquals("error: unknown command 'café'; see loomtorch --help\n", error.err());
    }

    @Test
    void aPromptIsTheTextItselfAndNoFileOfArguments() throws Exception {
        Files.writeString(directory.resolve("note.txt"), "--max-new-tokens 7");
        Result result = command(
                        "generate",
                        "--model",
                        MODEL,
                        "--tokenizer",
                        Path.of("tokenizer").toAbsolutePath().toString(),
                        "--temperature",
                        "0",
                        "--max-new-tokens",
                        "3",
                        "--json",
                        "--prompt",
                        "@note.txt")
                .in(directory)
                .run();
        assertSuccess(result);
        JsonNode json = JSON.readTree(result.out());
        assertArrayEquals(new int[] {31, 11295, 13, 14116}, ints(json.get("promptTokenIds")));
        assertEquals(3, json.get("outputTokenIds").size());
    }

    @Test
    void specialTokensInAPromptAreTextUnlessAskedFor() throws Exception {
        String[] generate = {"generate", "--prompt", "Hi<|endoftext|>", "--max-new-tokens", "1", "--json"};
        Result text = command(generate).run();
        assertSuccess(text);
        assertArrayEquals(
                new int[] {17250, 27, 91, 437, 1659, 5239, 91, 29},
                ints(JSON.readTree(text.out()).get("promptTokenIds")));
        String[] special = Arrays.copyOf(generate, generate.length + 1);
        special[generate.length] = "--special";
        Result token = command(special).run();
        assertSuccess(token);
        assertArrayEquals(
                new int[] {17250, 50256}, ints(JSON.readTree(token.out()).get("promptTokenIds")));
    }

    /** As the model card of microsoft/DialoGPT chats: every turn ends with the end-of-text token. */
    @Test
    void dialoGptChatsAsItsModelCardSays() throws Exception {
        Path model = Path.of("src/test/resources/dialogpt");
        for (String file :
                List.of("config.json", "generation_config.json", "pytorch_model.bin", "vocab.json", "merges.txt")) {
            Files.copy(model.resolve(file), directory.resolve(file));
        }
        String history = "";
        for (JsonNode turn : JSON.readTree(model.resolve("expected.json").toFile())) {
            history += turn.get("text").textValue() + "<|endoftext|>";
            Result result = command(
                            "generate",
                            "--model",
                            directory.toString(),
                            "--special",
                            "--prompt",
                            history,
                            "--max-new-tokens",
                            "12",
                            "--temperature",
                            "0",
                            "--device",
                            "cpu",
                            "--dtype",
                            "float32",
                            "--json")
                    .run();
            assertSuccess(result);
            JsonNode json = JSON.readTree(result.out());
            assertArrayEquals(ints(turn.get("prompt_ids")), ints(json.get("promptTokenIds")));
            assertArrayEquals(ints(turn.get("reply_ids")), ints(json.get("outputTokenIds")));
            assertEquals(turn.get("reply").textValue(), json.get("text").textValue());
            assertEquals("STOP", json.get("finishReason").textValue());
            history += json.get("text").textValue() + "<|endoftext|>";
        }
    }

    @Test
    void verboseShowsTheModelsSamplingValuesWhichAreNotApplied() throws Exception {
        RandomCheckpoint.write(directory, RandomCheckpoint.tinyConfig(), DType.F32, 1);
        Files.writeString(directory.resolve("generation_config.json"), "{\"temperature\": 0.3, \"top_k\": 7}");
        String[] generate = {
            "generate",
            "--model",
            directory.toString(),
            "--prompt-ids",
            "1",
            "--max-new-tokens",
            "1",
            "--json",
            "--verbose"
        };
        Result verbose = command(generate).run();
        assertTrue(
                verbose.err().contains("generation_config.json suggests temperature 0.3, which is not applied\n"),
                verbose.err());
        assertTrue(
                verbose.err().contains("generation_config.json suggests top_k 7, which is not applied\n"),
                verbose.err());
        assertEquals(0, verbose.status());
        assertSuccess(command(Arrays.copyOf(generate, generate.length - 1)).run());
    }

    @Test
    void aTokenizerOfAnotherModelIsBlamedAndNotThePrompt() throws Exception {
        RandomCheckpoint.write(directory, RandomCheckpoint.tinyConfig(), DType.F32, 1);
        Result result = command(
                        "generate", "--model", directory.toString(), "--tokenizer", "tokenizer", "--prompt", "Hello")
                .run();
        assertEquals(
                "error: the tokenizer must be the model's: it has 50257 ids, and the prompt has id 15496, but the model has"
                        + " only 50 ids; name the model's own tokenizer with --tokenizer\n",
                result.err());
        assertEquals(1, result.status());
    }

    @Test
    void generatePrintsTheTextOfTheNewTokens() throws Exception {
        Result result = command(
                        "generate",
                        "--prompt",
                        golden().get("prompt").textValue(),
                        "--temperature",
                        "0",
                        "--device",
                        "cpu",
                        "--dtype",
                        "float32",
                        "--max-new-tokens",
                        "" + golden().get("greedy_ids").size())
                .run();
        assertSuccess(result);
        assertEquals(golden().get("greedy_text").textValue() + "\n", result.out());
    }

    @Test
    void generateEndsAtTheFirstStopString() throws Exception {
        Result result = command(
                        "generate",
                        "--prompt",
                        golden().get("prompt").textValue(),
                        "--temperature",
                        "0",
                        "--device",
                        "cpu",
                        "--dtype",
                        "float32",
                        "--stop",
                        "nowhere",
                        "--stop",
                        "customed to",
                        "--json")
                .run();
        assertSuccess(result);
        JsonNode json = JSON.readTree(result.out());
        String whole = golden().get("greedy_text").textValue();
        assertEquals(
                whole.substring(0, whole.indexOf("customed to")),
                json.get("text").textValue());
        assertEquals("STOP", json.get("finishReason").textValue());
        assertEquals(0, json.get("logprobs").get(0).get("top").size());
    }

    @Test
    void aReaderThatLeavesGetsNoStackTrace() throws Exception {
        Result result = command("generate", "--prompt", "Once upon a time", "--max-new-tokens", "300", "--ignore-eos")
                .runWithReaderThatLeaves();
        assertEquals("", result.err());
        assertEquals(1, result.status());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "--prompt-ids 7454,60000 | --prompt-ids[1] must be in [0, 50257), got 60000",
                "--prompt-ids 7454 --max-new-tokens 2000 | --prompt-ids (1) + --max-new-tokens (2000) must be <= contextLength (1024),"
                        + " got 2001",
            })
    void whatOnlyTheModelCanJudgeIsWrongUsageToo(String options, String message) throws Exception {
        Result result = command(("generate " + options).split(" ")).run();
        assertEquals("error: " + message + "; see loomtorch generate --help\n", result.err());
        assertEquals("", result.out());
        assertEquals(2, result.status());
    }

    @ParameterizedTest
    @DisabledOnOs(OS.WINDOWS)
    @ValueSource(strings = {"generate --prompt x", "export", "demo", "bench naive", "bench latency", "bench offline"})
    void anEmbeddedModelThatIsNotThereIsRefusedWithAdvice(String command) throws Exception {
        Result result = CommandProcess.inShell(Main.class, "LOOMTORCH_CACHE=cache", command)
                .in(directory)
                .run();
        assertEquals(
                "error: the embedded model must be on the class path, got no"
                        + " io/github/loomtorch/models/tales/config.json; add the dependency io.github.loomtorch:loomtorch"
                        + " with the classifier tales, put loomtorch-tales.jar beside loomtorch.jar, or name another"
                        + " model\n",
                result.err());
        assertEquals("", result.out());
        assertEquals(1, result.status());
    }

    /** As {@code mvn package} leaves it. */
    @Test
    @DisabledOnOs(OS.WINDOWS)
    void theEmbeddedModelRunsFromAnyFolder() throws Exception {
        Result result = CommandProcess.inShell(
                        Launcher.class,
                        "LOOMTORCH_CACHE=cache",
                        "generate -p Once -l 4 -t 0 --device cpu --dtype float32")
                .before(Path.of("target/loomtorch.jar"))
                .in(directory)
                .run();
        assertSuccess(result);
        Result inClone = command(
                        "generate", "-p", "Once", "-l", "4", "-t", "0", "--device", "cpu", "--dtype", "float32")
                .run();
        assertSuccess(inClone);
        assertEquals(inClone.out(), result.out());
    }

    @Test
    void withoutATokenizerGpt2sIsTaken() throws Exception {
        Result result = command("tokenize", "Hello world").in(directory).run();
        assertEquals("15496 995\n", result.out());
        assertEquals("", result.err());
    }

    @Test
    void aMissingGpuIsAFailureInOneSentence() throws Exception {
        Result result =
                command("generate", "--prompt", "x", "--device", "cuda:99").run();
        assertTrue(
                result.err()
                        .matches(
                                "error: (CUDA is not available: .* set --device cpu|--device must be .*, got cuda:99)\n"),
                result.err());
        assertEquals("", result.out());
        assertEquals(1, result.status());
    }

    @Test
    void aReplicaOnEachDeviceSharesTheRequests() throws Exception {
        Result result = command(
                        "bench offline --scheduler continuous --device cpu,cpu --requests 8 --max-batch-size 2 --input-len 4 --output-len 3"
                                .split(" "))
                .run();
        assertEquals(0, result.status(), result.err());
        assertTrue(result.out().contains("  device             cpu, cpu ("), result.out());
        assertTrue(result.out().contains("at most 2 sequences on each device"), result.out());
        assertTrue(result.out().lines().anyMatch(line -> line.matches("completed +8")), result.out());
    }

    @Test
    void aCommandOfOneModelTakesOneDevice() throws Exception {
        Result result =
                command("generate", "--prompt", "x", "--device", "cpu,cuda:1").run();
        assertEquals(
                "error: --device must be one device for this command, got cpu,cuda:1; see loomtorch generate --help\n",
                result.err());
        assertEquals(2, result.status());
    }

    @Test
    void linesOfJsonAreTokenizedAndBack() throws Exception {
        List<String> texts = List.of(
                "Hello, 世界", "", " \n\t\r\n", "<|endoftext|>", "👩‍👩‍👧 \"quoted\" \\ \u2028", "é".repeat(1000));
        String lines = texts.stream().map(CommandLineIT::json).collect(Collectors.joining("\n"));
        Result ids = command("tokenize", "--jsonl").stdin(lines).run();
        assertSuccess(ids);
        assertEquals(
                "[15496,11,220,10310,244,45911,234]",
                ids.out().lines().findFirst().orElseThrow());
        Result decoded =
                command("tokenize", "--decode", "--jsonl").stdin(ids.out()).run();
        assertSuccess(decoded);
        assertEquals(lines + "\n", decoded.out());
    }

    private static String json(String text) {
        try {
            return JSON.writeValueAsString(text);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void aBadLineIsNamedAfterTheGoodOnesAreWritten() throws Exception {
        Result broken =
                command("tokenize", "--jsonl").stdin("\"a\"\n\"b\n\"c\"\n").run();
        assertEquals("[64]\n", broken.out());
        assertTrue(
                broken.err()
                        .startsWith("error: standard input line 2 column 3: expected a JSON string, got bad JSON: "),
                broken.err());
        assertEquals(1, broken.err().lines().count());
        assertEquals(1, broken.status());
        Result outOfRange = command("tokenize", "--decode", "--jsonl")
                .stdin("[64]\n[64, 50257]\n")
                .run();
        assertEquals("\"a\"\n", outOfRange.out());
        assertEquals("error: standard input line 2: token id must be in [0, 50257), got 50257\n", outOfRange.err());
        assertEquals(1, outOfRange.status());
    }

    @Test
    void exportWritesAModelThatRunsWithoutItsWeights() throws Exception {
        for (String file : List.of("config.json", "model.safetensors")) {
            Files.copy(Path.of(MODEL, file), directory.resolve(file));
        }
        String[] export = {"export", "--model", directory.toString()};
        Result exported = command(export).run();
        assertSuccess(exported);
        assertTrue(exported.out().startsWith(directory.resolve("model.ts") + ": "), exported.out());
        Files.delete(directory.resolve("model.safetensors"));
        Result generated = command(
                        "generate",
                        "--model",
                        directory.toString(),
                        "--prompt-ids",
                        "7454",
                        "--max-new-tokens",
                        "1",
                        "--json")
                .run();
        assertSuccess(generated);
        assertEquals("", generated.err());
    }

    @Test
    void demoPrintsWhatTheOriginalPrintsAndThenTwoActsMore() throws Exception {
        Result result = command("demo").run();
        assertSuccess(result);
        assertFalse(result.out().contains("\033"), result.out());
        List<String> lines = result.out().lines().toList();
        assertTrue(
                lines.get(0).matches("Loomtorch demo: models/tales, 19.4M parameters, on .* in .*, loaded in .* s"),
                lines.get(0));
        String text = "Generated: .*\n\n";
        assertTrue(
                Pattern.compile("\n\nBatch completed:\n"
                                + ("Prompt: The future of AI is\n" + text)
                                + ("Prompt: Once upon a time\n" + text)
                                + ("Prompt: In a galaxy far away\n" + text)
                                + "Processing remaining prompts\\.\\.\\.\n"
                                + ("Prompt: Python is great because\n" + text)
                                + ("Prompt: Data science is\n" + text)
                                + "2\\. AsyncNaiveScheduler")
                        .matcher(result.out())
                        .find(),
                result.out());
        assertEquals(
                1,
                lines.stream()
                        .filter(line -> line.startsWith("3. ContinuousScheduler"))
                        .count());
        // In both acts that stream: as it streams, and in the table.
        assertEquals(
                4,
                lines.stream()
                        .filter(line -> line.startsWith("  2 Once upon a time"))
                        .count(),
                result.out());
        assertEquals(
                2,
                lines.stream()
                        .filter(line -> line.matches("  all +180 +[\\d.]+ s +\\d+"))
                        .count(),
                result.out());
    }

    @Test
    void benchNaivePrintsWhatTheOriginalPrintsAndWritesARowForEachRequest() throws Exception {
        Path csv = directory.resolve("results.csv");
        Path page = directory.resolve("report.html");
        Result result = command(
                        "bench",
                        "naive",
                        "--device",
                        "cpu",
                        "--runs",
                        "2",
                        "--prompts",
                        "3",
                        "--batch-size",
                        "2",
                        "--timeout",
                        "0.01",
                        "--in-flight",
                        "2",
                        "--max-new-tokens",
                        "4",
                        "--ignore-eos",
                        "--output",
                        csv.toString(),
                        "--report",
                        page.toString())
                .run();
        assertTrue(Files.readString(page).contains("\"name\":\"async-naive\""), "no data");
        assertSuccess(result);
        String doubleLine = "=".repeat(60) + "\n";
        assertTrue(
                result.out()
                        .contains("\n" + doubleLine + "STARTING RUN #2/2\n" + doubleLine
                                + """

                                Configuration:
                                  Prompts: 3
                                  Batch size: 2
                                  Device: cpu
                                  Max concurrent: 2
                                  Timeout: 0.01s
                                """
                                + "-".repeat(60) + "\n\nRun #2 Results:\n" + doubleLine + "METRICS\n" + doubleLine
                                + """

                                Total requests: 3
                                Successful: 3
                                Errors: 0

                                Average latency: """),
                result.out());
        assertTrue(
                result.out()
                        .matches("(?s).*\nAverage latency: \\d+\\.\\d{3}s\nAverage tokens/sec: \\d+\\.\\d\\d\n"
                                + "Total batches: [23]\n.*\nDetailed metrics:\n.*"),
                result.out());
        assertTrue(result.out().contains("SUMMARY OF 2 RUNS"), result.out());
        assertTrue(result.out().endsWith("\n\nResults saved to " + csv + "\n"), result.out());
        List<CSVRecord> records = records(csv);
        assertEquals(6, records.size());
        assertTrue(records.stream().allMatch(record -> record.get("status").equals("ok")));
        assertTrue(
                records.stream().allMatch(record -> record.get("output_tokens").equals("4")));
        assertEquals(7, Files.readAllLines(csv).size());
        assertEquals("2", records.get(5).get("run_num"));
        assertEquals("3", records.get(5).get("seq"));
    }

    private static List<CSVRecord> records(Path csv) throws IOException {
        try (Reader reader = Files.newBufferedReader(csv)) {
            return CSVFormat.RFC4180.builder().setHeader().get().parse(reader).getRecords();
        }
    }

    /** By SIGTERM: it ends a JVM as SIGINT does, which a process in the background may ignore. */
    @Test
    @DisabledOnOs(OS.WINDOWS) // which has no signals
    void anInterruptedBenchNaiveKeepsWhatHasEnded() throws Exception {
        Path csv = directory.resolve("results.csv");
        CommandProcess.Result result = command(
                        "bench",
                        "naive",
                        "--runs",
                        "1000000",
                        "--prompts",
                        "4",
                        "--max-new-tokens",
                        "2",
                        "--output",
                        csv.toString())
                .endAfter("Run #2 Results:");
        assertEquals(143, result.status());
        List<CSVRecord> records = records(csv);
        assertTrue(records.size() >= 8, "got " + records.size());
        assertEquals(
                8,
                records.stream()
                        .filter(record -> Integer.parseInt(record.get("run_num")) <= 2)
                        .filter(record -> record.get("status").equals("ok"))
                        .map(record -> record.get("run_num") + " " + record.get("seq"))
                        .distinct()
                        .count());
    }

    @Test
    void benchLatencyComparesSchedulersInOneRun() throws Exception {
        Path json = directory.resolve("results.json");
        Path csv = directory.resolve("results.csv");
        Result result = command(
                        "bench",
                        "latency",
                        "--batch-size",
                        "2",
                        "--input-len",
                        "5",
                        "--output-len",
                        "3",
                        "--runs",
                        "2",
                        "--device",
                        "cpu",
                        "--json",
                        json.toString(),
                        "--csv",
                        csv.toString())
                .run();
        assertSuccess(result);
        ResultFile file = ResultFile.read(json);
        assertEquals("latency", file.benchmark());
        assertTrue(file.command().contains("bench latency --batch-size 2"), file.command());
        assertEquals("cpu", file.machine().get("device").substring(0, 3));
        assertEquals("5", file.workload().get("input-len"));
        assertEquals(
                List.of("naive", "async-naive", "continuous"),
                file.results().stream().map(ResultFile.Result::name).toList());
        for (ResultFile.Result scheduler : file.results()) {
            assertEquals(4, scheduler.metrics().get("completed"));
            assertEquals(12, scheduler.metrics().get("total_output_tokens"));
            assertTrue(scheduler.metrics().get("median_itl_ms") > 0);
            assertTrue(scheduler.metrics().get("batch_occupancy") > 0);
            assertFalse(scheduler.metrics().containsKey("device_idle_share")); // a CPU does not tell
            assertEquals(2, scheduler.runs().size());
            assertEquals(2, scheduler.runs().getFirst().get("completed"));
        }
        try (Reader reader = Files.newBufferedReader(csv)) {
            List<CSVRecord> records =
                    CSVFormat.RFC4180.builder().setHeader().get().parse(reader).getRecords();
            assertEquals(3, records.size());
            assertEquals("continuous", records.get(2).get("name"));
            assertTrue(records.stream()
                    .allMatch(record -> record.get("total_output_tokens").equals("12.0")));
        }
        assertTrue(
                result.out().contains(String.format(Locale.ROOT, "%-25s %16d %16d %16d", "completed", 4, 4, 4)),
                result.out());
    }

    @Test
    void benchServeMeasuresATraceAndDrawsIt() throws Exception {
        Path trace = Files.writeString(
                directory.resolve("trace.csv"),
                "arrival_seconds,input_tokens,output_tokens\n0,3,4\n0.01,9,6\n0.02,2000,2\n");
        Path html = directory.resolve("report.html");
        Path png = directory.resolve("report.png");
        Path json = directory.resolve("results.json");
        Result inProcess = command(
                        "bench",
                        "serve",
                        "--trace",
                        trace.toString(),
                        "--max-batch-size",
                        "2",
                        "--json",
                        json.toString(),
                        "--report",
                        html.toString())
                .run();
        assertSuccess(inProcess);
        ResultFile file = ResultFile.read(json);
        assertEquals(3, file.results().size());
        for (ResultFile.Result result : file.results()) {
            assertEquals(3, result.metrics().get("completed"));
            assertEquals(11, result.metrics().get("total_output_tokens"), result.name()); // the last is cut to 1
        }
        String page = Files.readString(html);
        assertTrue(page.contains("uPlot") && page.contains("\"name\":\"continuous\""), "no charts or data");
        assertFalse(page.contains("/*data*/") || page.contains("src="), "needs something else");

        Result drawn = command(
                        "bench",
                        "serve",
                        "--scheduler",
                        "continuous",
                        "--requests",
                        "4",
                        "--output-len",
                        "uniform:2:5",
                        "--report",
                        png.toString())
                .run();
        assertSuccess(drawn);
        assertEquals(1600, ImageIO.read(png.toFile()).getWidth());
    }

    @Test
    void benchSweepNamesEachResultByItsOption() throws Exception {
        Path json = directory.resolve("results.json");
        Result result = command(
                        "bench",
                        "sweep",
                        "--over",
                        "max-batch-size=1,2",
                        "--json",
                        json.toString(),
                        "offline",
                        "--scheduler",
                        "continuous",
                        "--requests",
                        "3",
                        "--input-len",
                        "4",
                        "--output-len",
                        "2")
                .run();
        assertSuccess(result);
        ResultFile file = ResultFile.read(json);
        assertEquals("offline", file.benchmark());
        assertEquals(0, file.seed().orElseThrow());
        assertEquals("3", file.workload().get("requests"));
        assertFalse(file.settings().containsKey("batch")); // which differs
        assertEquals(
                List.of("continuous max-batch-size=1", "continuous max-batch-size=2"),
                file.results().stream().map(ResultFile.Result::name).toList());
        assertEquals(3, file.results().getLast().metrics().get("completed"));
    }

    @Test
    void benchServeSaysInOneSentenceWhatIsWrongWithItsInput() throws Exception {
        Path hole =
                Files.writeString(directory.resolve("hole.csv"), "arrival_seconds,input_tokens,output_tokens\n0,3,\n");
        Result trace = command("bench", "serve", "--trace", hole.toString()).run();
        assertEquals("error: " + hole + " line 2: output_tokens must be a number, got nothing\n", trace.err());
        assertEquals(1, trace.status());
        Result server = command("bench", "serve", "--url", "http://127.0.0.1:1").run();
        assertEquals("error: http://127.0.0.1:1: the server could not be reached: connection refused\n", server.err());
        assertEquals(1, server.status());
    }
}
