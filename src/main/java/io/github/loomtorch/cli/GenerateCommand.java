package io.github.loomtorch.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.GenerationConfig;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.RequestTimings;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.Speculation;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "generate",
        header = "Continues a prompt, and prints the new text as it comes.",
        description =
                "With --jsonl each line is a prompt: a JSON string, or an object {\"prompt\": ...}. Standard input is"
                        + " read unless there is --prompt-file. The objects of --json come out for each prompt, in the order of the"
                        + " lines. A line that fails gives an object with \"line\" and \"error\"; the others go on, and the exit"
                        + " status is 1.",
        footer = {
            "  loomtorch generate --prompt \"Once upon a time\"",
            "  loomtorch generate -p \"Dear Sir,\" -l 200 --stop Yours -s 1",
            "  loomtorch generate --model DialoGPT-medium --special --prompt \"Hello!<|endoftext|>\"",
            "  loomtorch generate --prompt-ids 7454,2402,257,640 --temperature 0 --json",
            "  loomtorch generate --jsonl --prompt-file prompts.jsonl -n 4 > texts.jsonl"
        })
final class GenerateCommand implements Callable<Integer> {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String WANTED = "a JSON string, or an object with the string \"prompt\"";

    @Spec
    private CommandSpec spec;

    @Option(
            names = {"-p", "--prompt"},
            paramLabel = "TEXT",
            description = "Text to continue.")
    private String prompt;

    @Option(
            names = "--prompt-ids",
            converter = TokenIds.Converter.class,
            paramLabel = "IDS",
            description = "Token ids to continue instead, separated by commas. Needs no tokenizer.")
    private TokenIds promptIds;

    @Option(
            names = {"-f", "--prompt-file"},
            paramLabel = "FILE",
            description = "File to continue instead, in UTF-8, with all line ends; - is standard input.")
    private Path promptFile;

    @Option(names = "--jsonl", description = "Continue each line, see above, and print a JSON object for each.")
    private boolean jsonl;

    @Option(
            names = "--special",
            description = "Take special tokens such as <|endoftext|> in a prompt as tokens, not as plain text.")
    private boolean special;

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            description = "How many texts to generate from each prompt (default: ${DEFAULT-VALUE}). With --seed the"
                    + " second has the next seed, and so on.")
    private int n = 1;

    @Option(
            names = "--timeout",
            paramLabel = "SECONDS",
            description = "End a text so long after its prompt was taken, even if it is not complete.")
    private Double timeout;

    @Option(
            names = "--speculate",
            paramLabel = "ngram:K",
            converter = SpeculationConverter.class,
            description = SpeculationConverter.DESCRIPTION)
    private Speculation speculation;

    @Mixin
    private ModelFolderOptions model;

    @Mixin
    private TokenizerOptions tokenizer;

    @Mixin
    private SamplingOptions sampling;

    @Mixin
    private DeviceOptions device;

    @Option(names = "--json", description = "Print one JSON object at the end: token ids, text, logprobs, times.")
    private boolean json;

    @Option(
            names = "--top-logprobs",
            paramLabel = "N",
            description = "With --json or --jsonl, report the N most probable tokens at each place (default: 0).")
    private Integer topLogprobs;

    /** What --json prints for each text. */
    private record Output(
            int[] promptTokenIds,
            int[] outputTokenIds,
            String text,
            FinishReason finishReason,
            long seed,
            List<TokenLogprobs> logprobs,
            Timings timings) {}

    private record Timings(
            double loadMillis, double ttftMillis, double tpotMillis, double e2elMillis, double outputTokensPerSecond) {}

    private record Failure(int line, String error) {}

    @Override
    public Integer call() throws IOException {
        long startNanos = System.nanoTime();
        checkOptions();
        SamplingParams params = params();
        ModelOptions options = device.torch(maxBatchSize());
        try (InputLines in = InputLines.open(promptFile == null ? InputLines.STANDARD_INPUT : promptFile)) {
            String text = prompt != null || promptFile == null || jsonl ? prompt : in.rest();
            if (text != null && text.isEmpty()) {
                throw new IllegalArgumentException("prompt must not be empty");
            }
            ModelDirectory directory = model.open();
            logSuggestions(directory.generationConfig());
            // While it is read, the engine's thread loads the model.
            CompletableFuture<Optional<Tokenizer>> loading =
                    CompletableFuture.supplyAsync(() -> loadTokenizer(directory));
            try (Scheduler scheduler =
                    new ContinuousScheduler(() -> engine(directory, options, loading), QueueOptions.unbounded())) {
                double loadMillis = (System.nanoTime() - startNanos) / 1e6;
                if (jsonl) {
                    generateLines(in, loadMillis, line -> {
                        String each = promptOf(line);
                        return scheduler.submitCopies(
                                request(encode(each, loading.join().orElseThrow(), directory), params), n);
                    });
                } else {
                    int[] ids = promptIds != null
                            ? promptIds.values()
                            : encode(
                                    Objects.requireNonNull(text), loading.join().orElseThrow(), directory);
                    print(scheduler.submitCopies(request(ids, params), n), loadMillis);
                }
            }
        }
        return 0;
    }

    private void checkOptions() {
        long given = Stream.of(prompt, promptIds, promptFile)
                .filter(Objects::nonNull)
                .count();
        if (jsonl && (prompt != null || promptIds != null)) {
            throw new IllegalArgumentException(
                    "jsonl must not be given together with " + (prompt != null ? "--prompt" : "--prompt-ids"));
        }
        if (given != 1 && !jsonl) {
            throw new IllegalArgumentException(
                    "one of --prompt, --prompt-ids, --prompt-file and --jsonl must be given, got "
                            + (given == 0 ? "none" : "several"));
        }
        if (special && promptIds != null) {
            throw new IllegalArgumentException("special must not be given together with --prompt-ids");
        }
        Checks.atLeast(1, n, "n");
        if (timeout != null && !(timeout > 0 && timeout <= 1e9)) {
            throw new IllegalArgumentException("timeout must be in (0, 1e9] seconds, got " + timeout);
        }
    }

    private SamplingParams params() {
        SamplingParams.Builder builder = sampling.builder();
        logprobs().ifPresent(builder::topLogprobs);
        if (speculation != null) {
            builder.speculation(speculation.ngram(), speculation.candidates());
        }
        return builder.build();
    }

    /** In the sense of {@link SamplingParams#topLogprobs()}. */
    private OptionalInt logprobs() {
        if (!json && !jsonl && topLogprobs != null) {
            throw new IllegalArgumentException("topLogprobs must be given together with --json or --jsonl");
        }
        int top = topLogprobs == null ? 0 : topLogprobs;
        if (top < 0 || top > SamplingParams.MAX_TOP_LOGPROBS) {
            throw new IllegalArgumentException(
                    "topLogprobs must be in [0, " + SamplingParams.MAX_TOP_LOGPROBS + "], got " + top);
        }
        return json || jsonl ? OptionalInt.of(top) : OptionalInt.empty();
    }

    private int maxBatchSize() {
        int usual = ModelOptions.defaults().maxBatchSize();
        return jsonl ? usual : Math.min(n, usual);
    }

    /** Empty if token ids are all that is asked for, and no tokenizer of their vocabulary is there. */
    private Optional<Tokenizer> loadTokenizer(ModelDirectory directory) {
        boolean isOptional = promptIds != null && !tokenizer.isOwn(directory);
        if (isOptional && directory.config().vocabSize() != BpeTokenizer.gpt2().vocabSize()) {
            return Optional.empty();
        }
        try {
            long start = System.nanoTime();
            Tokenizer loaded = tokenizer.load(directory);
            Logger log = LoggerFactory.getLogger(GenerateCommand.class); // not static: --verbose sets the level first
            log.debug("reading the tokenizer took {} ms", (System.nanoTime() - start) / 1_000_000);
            return Optional.of(loaded);
        } catch (IOException e) {
            throw new CompletionException(e);
        }
    }

    /** Shown by {@code --verbose}: what a model's author suggests is not applied, as the options say how to sample. */
    private static void logSuggestions(GenerationConfig suggested) {
        Logger log = LoggerFactory.getLogger(GenerateCommand.class); // not static: --verbose sets the level first
        suggested
                .samplingValues()
                .forEach((name, value) ->
                        log.info("generation_config.json suggests {} {}, which is not applied", name, value));
    }

    private int[] encode(String text, Tokenizer tokenizer, ModelDirectory directory) throws IOException {
        int[] ids = special ? tokenizer.encodeWithSpecialTokens(text) : tokenizer.encode(text);
        Checks.fits(ids, tokenizer, directory.config());
        return ids;
    }

    private static Engine engine(
            ModelDirectory directory, ModelOptions options, CompletableFuture<Optional<Tokenizer>> tokenizer)
            throws IOException {
        Gpt2 gpt2 = Gpt2Loader.load(directory, options);
        EngineOptions config = EngineOptions.defaults();
        return tokenizer.join().map(bpe -> new Engine(gpt2, bpe, config)).orElseGet(() -> new Engine(gpt2, config));
    }

    private GenerationRequest request(int[] ids, SamplingParams params) {
        GenerationRequest request = new GenerationRequest(ids, params);
        return timeout == null ? request : request.withTimeout(Duration.ofNanos((long) (timeout * 1e9)));
    }

    private static String promptOf(InputLines line) throws IOException {
        JsonNode value = line.json(WANTED);
        Optional<String> text = value.isTextual() ? Optional.of(value.textValue()) : InputLines.text(value, "prompt");
        String prompt = text.orElseThrow(() -> InputLines.mismatch(value, line.where(), WANTED));
        if (prompt.isEmpty()) {
            throw new IllegalArgumentException("prompt must not be empty");
        }
        return prompt;
    }

    /** Submits what a line asks for. */
    private interface Submitter {
        List<Generation> submit(InputLines line) throws IOException;
    }

    private void generateLines(InputLines in, double loadMillis, Submitter submitter) throws IOException {
        int ahead = Math.max(2, 2 * maxBatchSize() / n);
        try (WholeLines out = new WholeLines(spec.commandLine().getOut());
                LineJobs<Completion> jobs = new LineJobs<>(
                        in,
                        ahead,
                        line -> submitter.submit(line).stream()
                                .map(Generation::completion)
                                .toList());
                Progress progress = new Progress("generate", Progress.UNKNOWN, System.err)) {
            jobs.run(
                    (line, completion) -> json(output(completion, loadMillis)),
                    (line, error) -> json(new Failure(line, ErrorText.withOptions(error, spec.commandLine()))),
                    out,
                    progress);
        }
    }

    private void print(List<Generation> generations, double loadMillis) {
        PrintWriter out = spec.commandLine().getOut();
        for (int i = 0; i < generations.size(); i++) {
            if (json) {
                out.println(json(output(generations.get(i).join(), loadMillis)));
            } else {
                out.print(i == 0 ? "" : System.lineSeparator());
                stream(generations.get(i), out);
            }
            if (out.checkError()) { // nobody reads on
                generations.forEach(Generation::cancel);
                return;
            }
        }
    }

    private static String json(Object value) {
        try {
            return JSON.writeValueAsString(value);
        } catch (JsonProcessingException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Output output(Completion completion, double loadMillis) {
        RequestTimings timings = completion.timings();
        int tokens = completion.outputTokenIds().length;
        return new Output(
                completion.promptTokenIds(),
                completion.outputTokenIds(),
                completion.text(),
                completion.finishReason(),
                completion.seed(),
                completion.logprobs(),
                new Timings(
                        loadMillis,
                        timings.ttftNanos() / 1e6,
                        timings.tpotNanos(tokens) / 1e6,
                        timings.e2elNanos() / 1e6,
                        tokens / (timings.e2elNanos() / 1e9)));
    }

    private static void stream(Generation generation, PrintWriter out) {
        for (TokenEvent event : generation.tokens()) {
            out.print(event.text());
            if (out.checkError()) { // nobody reads on
                generation.cancel();
                return;
            }
        }
        generation.join();
        out.println();
    }
}
