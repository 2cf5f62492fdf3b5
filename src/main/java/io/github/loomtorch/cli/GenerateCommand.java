package io.github.loomtorch.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.GenerationConfig;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.RequestTimings;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.program.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
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
        footer = {
            "  loomtorch generate --prompt \"Once upon a time\"",
            "  loomtorch generate --prompt \"Dear Sir,\" --max-new-tokens 200 --stop Yours --seed 1",
            "  loomtorch generate --model DialoGPT-medium --special --prompt \"Hello!<|endoftext|>\"",
            "  loomtorch generate --prompt-ids 7454,2402,257,640 --temperature 0 --json"
        })
final class GenerateCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @Option(names = "--prompt", paramLabel = "TEXT", description = "Text to continue.")
    private String prompt;

    @Option(
            names = "--prompt-ids",
            converter = TokenIds.Converter.class,
            paramLabel = "IDS",
            description = "Token ids to continue instead, separated by commas. Needs no tokenizer.")
    private TokenIds promptIds;

    @Option(
            names = "--special",
            description = "Take special tokens such as <|endoftext|> in --prompt as tokens, not as plain text.")
    private boolean special;

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
            description = "With --json, report the N most probable tokens at each place (default: 0).")
    private Integer topLogprobs;

    /** What --json prints. */
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

    @Override
    public Integer call() throws IOException {
        long startNanos = System.nanoTime();
        checkPrompt();
        SamplingParams.Builder builder = sampling.builder();
        logprobs().ifPresent(builder::topLogprobs);
        SamplingParams params = builder.build();
        ModelOptions options = device.torch(1);
        ModelDirectory directory = model.open();
        logSuggestions(directory.generationConfig());
        // While it is read, the engine's thread loads the model.
        CompletableFuture<Optional<Tokenizer>> loading = CompletableFuture.supplyAsync(() -> loadTokenizer(directory));
        try (Scheduler scheduler = new ContinuousScheduler(() -> engine(directory, options, loading))) {
            double loadMillis = (System.nanoTime() - startNanos) / 1e6;
            int[] ids = promptIds != null
                    ? promptIds.values()
                    : encode(loading.join().orElseThrow(), directory);
            Generation generation = scheduler.submit(new GenerationRequest(ids, params));
            PrintWriter out = spec.commandLine().getOut();
            if (json) {
                out.println(new ObjectMapper().writeValueAsString(output(generation.join(), loadMillis)));
            } else {
                stream(generation, out);
            }
        }
        return 0;
    }

    /** In the sense of {@link SamplingParams#topLogprobs()}. */
    private OptionalInt logprobs() {
        if (!json && topLogprobs != null) {
            throw new IllegalArgumentException("topLogprobs must be given together with --json");
        }
        int top = topLogprobs == null ? 0 : topLogprobs;
        if (top < 0 || top > SamplingParams.MAX_TOP_LOGPROBS) {
            throw new IllegalArgumentException(
                    "topLogprobs must be in [0, " + SamplingParams.MAX_TOP_LOGPROBS + "], got " + top);
        }
        return json ? OptionalInt.of(top) : OptionalInt.empty();
    }

    /** Empty if token ids are all that is asked for, and no tokenizer of their vocabulary is there. */
    private Optional<Tokenizer> loadTokenizer(ModelDirectory directory) {
        boolean isOptional = promptIds != null && !tokenizer.isOwn(directory);
        if (isOptional && directory.config().vocabSize() != BpeTokenizer.gpt2().vocabSize()) {
            return Optional.empty();
        }
        try {
            return Optional.of(tokenizer.load(directory));
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

    private void checkPrompt() {
        if ((prompt == null) == (promptIds == null)) {
            throw new IllegalArgumentException(
                    "one of --prompt and --prompt-ids must be given, got " + (prompt == null ? "neither" : "both"));
        }
        if (prompt != null && prompt.isEmpty()) {
            throw new IllegalArgumentException("prompt must not be empty");
        }
        if (special && prompt == null) {
            throw new IllegalArgumentException("special must be given together with --prompt");
        }
    }

    private int[] encode(Tokenizer tokenizer, ModelDirectory directory) throws IOException {
        int[] ids = special ? tokenizer.encodeWithSpecialTokens(prompt) : tokenizer.encode(prompt);
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
