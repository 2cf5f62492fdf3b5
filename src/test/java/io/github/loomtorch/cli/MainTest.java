package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.request.SamplingParams;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/** What the command line does before it needs a model. */
@Timeout(60)
class MainTest {
    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    private int run(String... args) {
        return Main.run(new PrintWriter(out), new PrintWriter(err), args);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "generate",
                "score",
                "serve",
                "tokenize",
                "export",
                "demo",
                "bench",
                "bench naive",
                "bench serve",
                "bench offline",
                "bench latency",
                "bench sweep",
                "bench compare"
            })
    void everyCommandExplainsItself(String command) {
        assertEquals(0, run((command + " --help").strip().split(" ")));
        assertTrue(out.toString().contains("Usage: " + ("loomtorch " + command).strip()), out.toString());
        assertTrue(out.toString().contains("Examples:\n  loomtorch " + command), out.toString());
        assertTrue(out.toString().contains("Exit status:"), out.toString());
        assertEquals("", err.toString());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "generate --prompt x --max-new-tokens 0 | --max-new-tokens must be >= 1, got 0",
                "generate --prompt x --temperature -1 | --temperature must be >= 0 and finite, got -1.0",
                "generate --prompt x --temperature NaN | --temperature must be >= 0 and finite, got NaN",
                "generate --prompt x --top-k -1 | --top-k must be >= 0, got -1",
                "generate --prompt x --top-p 0 | --top-p must be in (0, 1], got 0.0",
                "generate --prompt x --min-p 2 | --min-p must be in [0, 1], got 2.0",
                "generate --prompt x --json --top-logprobs 21 | --top-logprobs must be in [0, 20], got 21",
                "generate --prompt x --json --top-logprobs -1 | --top-logprobs must be in [0, 20], got -1",
                "generate --prompt x --top-logprobs 2 | --top-logprobs must be given together with --json or --jsonl",
                "generate --prompt x --stop= | --stop must not be empty, got \"\"",
                "generate --prompt x --device gpu | --device must be auto, cpu, cuda or cuda:n, got gpu",
                "generate --prompt x --page-size 24 | --page-size must be a power of two in [8, 256], got 24",
                "generate --prompt x --kv-cache-fraction 2 | --kv-cache-fraction must be in (0, 1], got 2.0",
                "generate --prompt x --dtype int8 | Invalid value for option '--dtype': expected auto, float32, float16, bfloat16, got 'int8'",
                "generate --prompt x --top-k many | Invalid value for option '--top-k': 'many' is not an int",
                "generate --prompt-ids 1,x | Invalid value for option '--prompt-ids': expected integers separated by commas, got '1,x'",
                "generate --prompt-ids= | Invalid value for option '--prompt-ids': expected integers separated by commas, got ''",
                "generate | one of --prompt, --prompt-ids, --prompt-file and --jsonl must be given, got none",
                "generate --prompt x --prompt-ids 1 | one of --prompt, --prompt-ids, --prompt-file and --jsonl must be given, got several",
                "generate --jsonl --prompt x | --jsonl must not be given together with --prompt",
                "generate --prompt x --repetition-penalty 0 | --repetition-penalty must be > 0 and finite, got 0.0",
                "generate --prompt x --presence-penalty NaN | --presence-penalty must be finite, got NaN",
                "generate --prompt x --frequency-penalty Infinity | --frequency-penalty must be finite, got Infinity",
                "generate --prompt x --logit-bias 5=NaN | --logit-bias values must be finite or negative infinity, got NaN",
                "generate --prompt x --stop-ids -1 | --stop-ids must be >= 0, got -1",
                "generate --prompt x -n 0 | --n must be >= 1, got 0",
                "generate --prompt x --timeout 0 | --timeout must be in (0, 1e9] seconds, got 0.0",
                "generate --prompt x --speculate 4 | Invalid value for option '--speculate': expected ngram:K or N:K, got '4'",
                "generate --prompt x --speculate ngram:33 | Invalid value for option '--speculate': candidates must be in [1, 32], got 33",
                "generate --prompt x --speculate 17:4 | Invalid value for option '--speculate': ngram must be in [1, 16], got 17",
                "generate --prompt= | --prompt must not be empty",
                "generate --prompt --json --top-k -1 | --top-k must be >= 0, got -1",
                "generate --prompt -- | Expected parameter for option '--prompt' but found '--'",
                "generate --prompt-ids 1 --special | --special must not be given together with --prompt-ids",
                "generate --prompt x --typo 1 | unknown option '--typo'",
                "generate --prompt x --tempurature=1 | unknown option '--tempurature=1'; did you mean --temperature?",
                "generate --prompt x --topk 1 | unknown option '--topk'; did you mean --top-k?",
                "generate --prompt x --model= | Invalid value for option '--model': expected a path, got ''",
                "tokenize -x | unknown option '-x'; text that begins with - must come after --",
                "bench prefill --prompts 2000 | --prompts must be in [1, 1024], got 2000",
                "bench naive --batch-size 2000 | --batch-size must be in [1, 1024], got 2000",
                "bench naive --shape topK | --shape must be gpt2, gpt2-medium, gpt2-large, gpt2-xl or distilgpt2, got \"topK\"",
                "bench step --batch-size 1,2000 | --batch-size must be in [1, 1024], got 2000",
                "bench offline --max-batch-size 2000 | --max-batch-size must be in [1, 1024], got 2000",
                "bench naive --runs 0 | --runs must be >= 1, got 0",
                "bench naive --prompts 0 | --prompts must be >= 1, got 0",
                "bench naive --batch-size 0 | --batch-size must be >= 1, got 0",
                "bench naive --in-flight 0 | --in-flight must be >= 1, got 0",
                "bench naive --timeout -1 | --timeout must be in [0, 1e9] seconds, got -1.0",
                "bench naive --shape gpt3 | --shape must be gpt2, gpt2-medium, gpt2-large, gpt2-xl or distilgpt2, got \"gpt3\"",
                "bench naive --shape gpt2 --model m | --shape must not be given together with --model",
                "bench latency --scheduler fast | Invalid value for option '--scheduler' (NAME): expected naive, async-naive, continuous, got 'fast'",
                "bench latency --timeout 1 | unknown option '--timeout'",
                "bench latency --tokenizer t | unknown option '--tokenizer'",
                "bench offline --tokenizer t | unknown option '--tokenizer'",
                "bench offline --timeout -1 | --timeout must be in [0, 1e9] seconds, got -1.0",
                "bench latency --batch-size 0 | --batch-size must be >= 1, got 0",
                "bench latency --runs 0 | --runs must be >= 1, got 0",
                "bench latency --warm-up-runs -1 | --warm-up-runs must be >= 0, got -1",
                "bench latency --input-len 0 | Invalid value for option '--input-len': length must be >= 1, got 0",
                "bench latency --input-len 1000 --output-len 100 | --input-len (1000) + --output-len (100) must be <= contextLength (1024), got 1100",
                "bench latency --prompt-file models/tales/README.md --input-len 5 | --input-len must not be given together with --prompt-file",
                "bench offline --request-rate 1 | unknown option '--request-rate'",
                "bench serve --request-rate 0 | --request-rate must be > 0, got 0.0",
                "bench serve --request-rate fast | Invalid value for option '--request-rate': expected a number or inf, got 'fast'",
                "bench serve --burstiness 0 | --burstiness must be > 0 and finite, got 0.0",
                "bench serve --requests 0 | --requests must be >= 1, got 0",
                "bench serve --max-concurrency 0 | --max-concurrency must be >= 1, got 0",
                "bench serve --shared-prefix 2 | --shared-prefix must be in [0, 1], got 2.0",
                "bench serve --output-len uniform:9:2 | Invalid value for option '--output-len': maximum must be >= 9, got 2",
                "bench serve --ramp-up linear --request-rate 3 | --ramp-up must not be given together with --request-rate",
                "bench serve --ramp-up linear | --ramp-up must be given together with --ramp-up-start-rate and --ramp-up-end-rate",
                "bench serve --ramp-up-start-rate 3 | --ramp-up-start-rate must be given together with --ramp-up",
                "bench serve --ramp-up-end-rate 3 | --ramp-up-end-rate must be given together with --ramp-up",
                "bench serve --served-model m | --served-model must be given together with --url",
                "bench serve --vocab-size 9 | --vocab-size must be given together with --url",
                "bench serve --api-key k | --api-key must be given together with --url",
                "bench serve --ramp-up steep | Invalid value for option '--ramp-up': expected linear, exponential, got 'steep'",
                "bench serve --trace t.csv --input-len 5 | --trace must not be given together with --input-len",
                "bench serve --url http://localhost:1 --shape gpt2 | --url must not be given together with --shape",
                "bench serve --url http://localhost:1 --weights int8 | --url must not be given together with --weights",
                "bench serve --url http://localhost:1 --deterministic | --url must not be given together with --deterministic",
                "bench serve --url localhost:8000 | --url must be http://HOST:PORT or https://HOST:PORT, got localhost:8000",
                "bench compare --fail-above 0.5 a b | --fail-above must be >= 1, got 0.5",
                "bench serve --report r.pdf | --report must end in .html or .png, got r.pdf",
                "bench serve --goodput-e2el-ms 0 | --goodput-e2el-ms must be > 0, got 0.0",
                "score | one of --text, --file and --jsonl must be given, got none",
                "score --text x --file y | one of --text and --file must be given, got both",
                "score --text x --jsonl | --jsonl must not be given together with --text",
                "score --jsonl --json | --jsonl must not be given together with --json",
                "score --text x --json --csv | --json must not be given together with --csv",
                "score --text x --stride 0 | --stride must be >= 1, got 0",
                "score --text x --max-batch-size 0 | --max-batch-size must be in [1, 1024], got 0",
                "tokenize --jsonl x | --jsonl must read standard input, got the argument 'x'",
                "tokenize --decode x | token id must be an integer, got 'x'",
                "tokenize --decode 50257 | token id must be in [0, 50257), got 50257",
            })
    void wrongUsageNamesTheOption(String command, String message) {
        assertEquals(2, run(command.split(" ")));
        assertEquals("", out.toString());
        assertEquals(
                "error: " + message + "; see loomtorch " + command.replaceFirst(" -.*", "") + " --help\n",
                err.toString());
    }

    @ParameterizedTest
    @CsvSource({"genrate x, genrate, generate", "tokenise, tokenise, tokenize", "gen, gen, generate"})
    void aCommandThatDoesNotExistSuggestsTheNearest(String command, String word, String nearest) {
        assertEquals(2, run(command.split(" ")));
        assertEquals(
                "error: unknown command '" + word + "'; did you mean " + nearest + "?; see loomtorch --help\n",
                err.toString());
    }

    @Test
    void anArgumentThatNoCommandTakesIsRefused() {
        assertEquals(2, run("export", "models/tales"));
        assertEquals("error: unexpected argument 'models/tales'; see loomtorch export --help\n", err.toString());
    }

    /** All options of all commands but those that take any text or path. */
    @TestFactory
    List<DynamicTest> everyOptionIsNamedByTheErrorOfItsBadValue() {
        Set<String> free = Set.of(
                "--model",
                "--tokenizer",
                "--prompt",
                "--prompt-ids",
                "--text",
                "--file",
                "--prompt-file",
                "--presence-penalty",
                "--frequency-penalty",
                "--stop",
                "--seed",
                "--output",
                "--json",
                "--csv",
                "--cache",
                "--host",
                "--api-key-file",
                "--tls-key-store",
                "--tls-password-file",
                "--dump",
                "--metrics",
                "--report",
                "--over", // of commands that need other arguments first
                "--fail-above",
                "--trace",
                "--url",
                "--served-model",
                "--api-key");
        List<DynamicTest> tests = new ArrayList<>();
        for (CommandSpec command : leaves(Main.commandLine(new Main()).getCommandSpec())) {
            for (OptionSpec option : command.options()) {
                if (option.arity().min() > 0 && !free.contains(option.longestName())) {
                    for (String value : List.of("-7", "NaN", "x")) {
                        tests.add(DynamicTest.dynamicTest(
                                command.qualifiedName() + " " + option.longestName() + "=" + value,
                                () -> assertNamed(command, option.longestName(), value)));
                    }
                }
            }
        }
        assertTrue(tests.size() > 100, "got " + tests.size());
        return tests;
    }

    @Test
    void everyCommandThatSamplesHasTheSameDefaults() {
        SamplingParams creative = SamplingParams.creative();
        Map<String, Object> expected = Map.of(
                "--temperature", creative.temperature(),
                "--top-k", creative.topK(),
                "--top-p", creative.topP(),
                "--min-p", creative.minP());
        int commands = 0;
        for (CommandSpec command : leaves(Main.commandLine(new Main()).getCommandSpec())) {
            if (command.optionsMap().containsKey("--temperature")) {
                commands++;
                expected.forEach((option, value) -> assertEquals(
                        value, command.findOption(option).getValue(), command.qualifiedName() + " " + option));
            }
        }
        assertEquals(5, commands); // generate, bench naive, bench latency, bench offline
    }

    /** Picocli does not read the value of an option whose type is boolean, unless it is true or false. */
    @Test
    void noOptionWithAValueIsBoolean() {
        for (CommandSpec command : leaves(Main.commandLine(new Main()).getCommandSpec())) {
            for (OptionSpec option : command.options()) {
                assertFalse(
                        option.arity().max() > 0
                                && Set.of(boolean.class, Boolean.class).contains(option.type()),
                        command.qualifiedName() + " " + option.longestName());
            }
        }
    }

    @Test
    void weightsHaveAFormat() {
        CommandSpec command = Main.commandLine(new Main())
                .parseArgs("bench", "latency", "--weights", "int8", "--runs", "2")
                .subcommand()
                .subcommand()
                .commandSpec();
        assertEquals(WeightFormat.INT8, command.findOption("--weights").getValue());
        assertEquals(2, (int) command.findOption("--runs").getValue());
    }

    /** Picocli prints a text that it cannot format as it is, with a warning. */
    @Test
    void theHelpOfEveryCommandCanBeFormatted() {
        for (CommandSpec command : leaves(Main.commandLine(new Main()).getCommandSpec())) {
            Stream<String[]> texts = Stream.of(
                    command.usageMessage().header(),
                    command.usageMessage().description(),
                    command.usageMessage().footer());
            Stream.concat(texts, command.args().stream().map(ArgSpec::description))
                    .flatMap(Stream::of)
                    .forEach(text -> assertDoesNotThrow(() -> String.format(text), text));
        }
    }

    private static List<CommandSpec> leaves(CommandSpec command) {
        return command.subcommands().isEmpty()
                ? List.of(command)
                : command.subcommands().values().stream()
                        .flatMap(child -> leaves(child.getCommandSpec()).stream())
                        .toList();
    }

    private static void assertNamed(CommandSpec command, String option, String value) {
        List<String> args = new ArrayList<>(
                List.of(command.qualifiedName().substring("loomtorch ".length()).split(" ")));
        args.add(option + "=" + value);
        if (command.optionsMap().containsKey("--prompt")) {
            args.addAll(List.of("--prompt", "x", "--json"));
        }
        if (command.optionsMap().containsKey("--text")) {
            args.addAll(List.of("--text", "x"));
        }
        if (command.optionsMap().containsKey("--arch") && !option.equals("--arch")) {
            args.addAll(List.of("--arch", "sm_90"));
        }
        if (command.optionsMap().containsKey("--model")
                && !option.equals("--shape")) { // so that a value that is not bad fails, and runs nothing
            args.addAll(List.of("--model", "./nowhere"));
        }
        StringWriter err = new StringWriter();
        int status = Main.run(new PrintWriter(new StringWriter()), new PrintWriter(err), args.toArray(String[]::new));
        assertEquals(2, status, () -> args + ": " + err);
        assertTrue(
                err.toString().contains(option + " must be ") || err.toString().contains("'" + option + "'"),
                err.toString());
    }

    @Test
    void argumentsAreData() {
        for (String text : List.of(
                "@pom.xml",
                "@@pom.xml",
                "\"quoted\"",
                "'quoted'",
                "_NULL_",
                "${sys:user.home}",
                "%n",
                "a=b",
                "",
                " ")) {
            out.getBuffer().setLength(0);
            assertEquals(0, run("tokenize", "--", text), err.toString());
            String[] ids = out.toString().strip().split(" ");
            out.getBuffer().setLength(0);
            assertEquals(
                    0,
                    run(Stream.concat(Stream.of("tokenize", "--decode"), Stream.of(ids))
                            .toArray(String[]::new)));
            assertEquals(text, out.toString());
        }
        assertEquals(0, run("tokenize", "--", "-x", "--decode"));
        assertEquals("", err.toString());
    }

    @Test
    void atMostTwoHundredCharactersOfAnArgumentAreRepeated() {
        String text = "x".repeat(5000);
        for (List<String> args : List.of(
                List.of(text),
                List.of("tokenize", "--" + text),
                List.of("tokenize", "--decode", "1", text),
                List.of("generate", "--prompt-ids=" + text),
                List.of("generate", "--prompt", "y", "--top-k", text),
                List.of("bench", "step", "--batch-size", "1," + text))) {
            err.getBuffer().setLength(0);
            assertEquals(2, run(args.toArray(String[]::new)));
            assertTrue(err.toString().length() < 400, err.toString());
            assertTrue(err.toString().contains("xxx..."), err.toString());
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "score --file nowhere | nowhere: no such file or directory",
                "score --text x --model ./nowhere | ./nowhere: expected a model directory, got nothing",
                "generate --prompt-file nowhere | nowhere: no such file or directory",
                "generate --model ./nowhere --prompt x | ./nowhere: expected a model directory, got nothing",
                "export --model ./nowhere | ./nowhere: expected a model directory, got nothing",
                "demo --model src | src: expected config.json, got a directory without it",
                "generate --prompt-file src | src: expected a file, got a directory",
                "serve --model src --api-key-file nowhere | nowhere: no such file or directory",
                "serve --model src --api-key-file src | src: expected a file, got a directory",
                "serve --model src --api-key-file models/tales/model.safetensors | models/tales/model.safetensors: expected UTF-8, got malformed bytes",
                "tokenize --tokenizer nowhere x | nowhere: expected a directory or a file, got none",
            })
    void aMissingFileIsAFailureInOneSentence(String command, String message) {
        assertEquals(1, run(command.split(" ")));
        assertEquals("", out.toString());
        assertEquals("error: " + message + "\n", err.toString());
    }

    @Test
    void verboseAddsTheStackTrace() {
        assertEquals(1, run("export", "--model", "./nowhere", "--verbose"));
        assertTrue(err.toString().startsWith("error: ./nowhere: expected"), err.toString());
        assertTrue(err.toString().contains("\tat io.github.loomtorch.model.ModelDirectory.open("), err.toString());
    }

    @Test
    void withoutACommandItIsWrongUsage() {
        assertEquals(2, run());
        assertEquals("error: Missing required subcommand; see loomtorch --help\n", err.toString());
    }

    @Test
    void versionNamesLibtorchAndJava() {
        assertEquals(0, run("--version"));
        assertTrue(out.toString().matches("(?s)loomtorch .*\nlibtorch \\d.*\nJava \\d.*\n"), out.toString());
    }

    @Test
    void tokenizesArgumentsBothWays() {
        assertEquals(0, run("tokenize", "Hello,", "世界"));
        assertEquals("15496 11 220 10310 244 45911 234\n", out.toString());
        out.getBuffer().setLength(0);
        assertEquals(0, run("tokenize", "--decode", "15496", "11,220", "10310", "244"));
        assertEquals("Hello, 世", out.toString());
    }

    @Test
    void specialTokensArePlainTextUnlessAskedFor() {
        assertEquals(0, run("tokenize", "<|endoftext|>"));
        assertEquals("27 91 437 1659 5239 91 29\n", out.toString());
        out.getBuffer().setLength(0);
        assertEquals(0, run("tokenize", "--special", "<|endoftext|>"));
        assertEquals("50256\n", out.toString());
    }
}
