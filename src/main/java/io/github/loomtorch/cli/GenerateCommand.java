package io.github.loomtorch.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.RequestTimings;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.scheduler.Generation;
import io.github.loomtorch.scheduler.Scheduler;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.program.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "generate",
        header = "Continues a prompt, and prints the new text as it comes.",
        description =
                "Without --temperature, --top-k, --top-p and --min-p, these are 0.7, 50, 0.95 and 0. With any of them the others are"
                        + " off, and the temperature is 1.",
        footer = {
            "  loomtorch generate --prompt \"Once upon a time\"",
            "  loomtorch generate --prompt \"Dear Sir,\" --max-new-tokens 200 --stop Yours --seed 1",
            "  loomtorch generate --prompt-ids 7454,2402,257,640 --temperature 0 --json"
        })
final class GenerateCommand implements Callable<Integer> {
    @Spec
    private CommandSpec spec;

    @ArgGroup(multiplicity = "1")
    private Prompt prompt;

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

    private static final class Prompt {
        @Option(
                names = "--prompt",
                paramLabel = "TEXT",
                description = "Text to continue. Special tokens in it are plain text.")
        private String text;

        @Option(
                names = "--prompt-ids",
                converter = TokenIds.Converter.class,
                paramLabel = "IDS",
                description = "Token ids to continue, separated by commas. Needs no tokenizer.")
        private TokenIds ids;
    }

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
        SamplingParams params = sampling.orElse(SamplingParams.creative())
                .topLogprobs(logprobs())
                .build();
        ModelOptions options = device.torch(1);
        ModelDirectory directory = model.open();
        // While it is read, the engine's thread loads the model.
        CompletableFuture<Optional<Tokenizer>> loading = CompletableFuture.supplyAsync(() -> loadTokenizer(directory));
        try (Scheduler scheduler = new ContinuousScheduler(() -> engine(directory, options, loading))) {
            double loadMillis = (System.nanoTime() - startNanos) / 1e6;
            Generation generation = scheduler.submit(new GenerationRequest(promptIds(loading.join()), params));
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
    private int logprobs() {
        if (!json && topLogprobs != null) {
            throw new IllegalArgumentException("topLogprobs must be given together with --json");
        }
        int top = topLogprobs == null ? 0 : topLogprobs;
        if (top < 0 || top > SamplingParams.MAX_TOP_LOGPROBS) {
            throw new IllegalArgumentException(
                    "topLogprobs must be in [0, " + SamplingParams.MAX_TOP_LOGPROBS + "], got " + top);
        }
        return json ? top : -1;
    }

    /** Empty if token ids are all that is asked for, and no tokenizer of their vocabulary is there. */
    private Optional<Tokenizer> loadTokenizer(ModelDirectory directory) {
        boolean isOptional = prompt.ids != null && !tokenizer.isOwn(directory);
        if (isOptional && directory.config().vocabSize() != BpeTokenizer.gpt2().vocabSize()) {
            return Optional.empty();
        }
        try {
            return Optional.of(tokenizer.load(directory));
        } catch (IOException e) {
            throw new CompletionException(e);
        }
    }

    private int[] promptIds(Optional<Tokenizer> tokenizer) {
        if (prompt.ids != null) {
            return prompt.ids.values();
        }
        if (prompt.text.isEmpty()) {
            throw new IllegalArgumentException("prompt must not be empty");
        }
        return tokenizer.orElseThrow().encode(prompt.text);
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
