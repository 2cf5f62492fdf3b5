package io.github.loomtorch.cli;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.loomtorch.Scoring;
import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.cli.ScoreFormat.Scored;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.SchedulerOptions;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.TextScore;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

@Command(
        name = "score",
        header = "Tells how probable a model finds texts: log-probabilities, ranks, perplexity, bits per byte.",
        description = {
            "Logarithms are natural. A text longer than the model's context is scored in overlapping windows.",
            "With --jsonl each line is a JSON string, or an object {\"prompt\": ..., \"continuation\": ...}, of which the"
                    + " continuation is scored; standard input is read unless there is --file. A line comes out for each, in"
                    + " their order. A line that fails gives an object with \"line\" and \"error\"; the others are scored, and"
                    + " the exit status is 1."
        },
        footer = {
            "  loomtorch score --text \"Once upon a time there was a king.\" --per-token",
            "  loomtorch score --file book.txt --stride 512 --json",
            "  echo '{\"prompt\": \"The sky is\", \"continuation\": \" blue\"}' | loomtorch score --jsonl",
            "  loomtorch score --jsonl --file texts.jsonl --csv > scores.csv"
        })
final class ScoreCommand implements Callable<Integer> {
    private static final long PROGRESS_MILLIS = 200;
    private static final String WANTED = "a JSON string, or an object with the strings \"prompt\" and \"continuation\"";

    @Spec
    private CommandSpec spec;

    @Option(names = "--text", paramLabel = "TEXT", description = "Text to score.")
    private String text;

    @Option(
            names = {"-f", "--file"},
            paramLabel = "FILE",
            description = "File to score, in UTF-8; - is standard input.")
    private Path file;

    @Option(names = "--jsonl", description = "Score each line, see above, and print a JSON object for each.")
    private boolean jsonl;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    @Option(names = "--csv", description = "Print CSV with a header: a row for each text, or for each token.")
    private boolean csv;

    @Option(
            names = "--per-token",
            description = "Print each token too: where it stands, log-probability, rank, entropy and variance.")
    private boolean perToken;

    @Option(
            names = "--bos",
            description = "Put the end-of-text token before a text, so that its first token is scored too.")
    private boolean bos;

    @Option(
            names = "--stride",
            paramLabel = "N",
            description = "How many tokens the window over a long text moves on by, in [1, context] (default: half of"
                    + " the context).")
    private Integer stride;

    @Option(
            names = "--max-batch-size",
            paramLabel = "N",
            description = "Most texts, or windows, that are scored together (default: ${DEFAULT-VALUE}).")
    private int maxBatchSize = ModelOptions.defaults().maxBatchSize();

    @Mixin
    private ModelFolderOptions model;

    @Mixin
    private TokenizerOptions tokenizer;

    @Mixin
    private DeviceOptions device;

    @Override
    public Integer call() throws IOException {
        checkSource();
        ScoreOptions.Builder builder = ScoreOptions.builder().statistics(true).endOfTextInFront(bos);
        if (stride != null) {
            builder.stride(stride);
        }
        ScoreOptions options = builder.build();
        ModelOptions modelOptions = device.torch(maxBatchSize);
        try (InputLines in = InputLines.open(file == null ? InputLines.STANDARD_INPUT : file)) {
            String whole = jsonl ? "" : text != null ? text : in.rest();
            TextGenerator.Builder generator = TextGenerator.builder(model.open().path())
                    .model(modelOptions)
                    // What waits is limited by the lines that are read ahead.
                    .scheduler(SchedulerOptions.continuous(QueueOptions.unbounded()));
            tokenizer.named().ifPresent(generator::tokenizer);
            try (TextGenerator gpt2 = generator.build();
                    WholeLines out = new WholeLines(spec.commandLine().getOut())) {
                if (jsonl) {
                    scoreLines(gpt2, options, in, out);
                } else {
                    scoreText(gpt2, options, whole, out);
                }
            }
        }
        return 0;
    }

    private void checkSource() {
        if (text != null && file != null) {
            throw new IllegalArgumentException("one of --text and --file must be given, got both");
        }
        if (text == null && file == null && !jsonl) {
            throw new IllegalArgumentException("one of --text, --file and --jsonl must be given, got none");
        }
        if (jsonl && (text != null || json)) {
            throw new IllegalArgumentException("jsonl must not be given together with " + (json ? "--json" : "--text"));
        }
        if (json && csv) {
            throw new IllegalArgumentException("json must not be given together with --csv");
        }
    }

    private void scoreLines(TextGenerator gpt2, ScoreOptions options, InputLines in, WholeLines out)
            throws IOException {
        ScoreFormat format = new ScoreFormat(gpt2.tokenizer(), csv, perToken);
        if (csv && !out.print(format.csvHeader())) {
            return;
        }
        try (LineJobs<Scored> jobs =
                        new LineJobs<>(in, 2 * maxBatchSize, line -> List.of(submit(gpt2, options, line)));
                Progress progress = new Progress("score", Progress.UNKNOWN, System.err)) {
            jobs.run(
                    format::line,
                    (line, error) -> format.error(line, ErrorText.withOptions(error, spec.commandLine())),
                    out,
                    progress);
        }
    }

    private static CompletableFuture<Scored> submit(TextGenerator gpt2, ScoreOptions options, InputLines line)
            throws IOException {
        JsonNode value = line.json(WANTED);
        if (value.isTextual()) {
            return scored(gpt2.submitScore(value.textValue(), options), false);
        }
        Optional<String> prompt = InputLines.text(value, "prompt");
        Optional<String> continuation = InputLines.text(value, "continuation");
        if (prompt.isEmpty() || continuation.isEmpty()) {
            throw InputLines.mismatch(value, line.where(), WANTED);
        }
        return scored(gpt2.submitContinuation(prompt.get(), continuation.get(), options), true);
    }

    private static CompletableFuture<Scored> scored(Scoring scoring, boolean isContinuation) {
        CompletableFuture<Scored> scored = scoring.result().thenApply(score -> new Scored(score, isContinuation));
        var unused = scored.whenComplete((score, failure) -> scoring.cancel()); // if it is cancelled itself
        return scored;
    }

    private void scoreText(TextGenerator gpt2, ScoreOptions options, String whole, WholeLines out) throws IOException {
        ScoreFormat format = new ScoreFormat(gpt2.tokenizer(), csv, perToken);
        TextScore score = join(gpt2.submitScore(whole, options));
        if (csv) {
            out.print(format.csvHeader());
        }
        out.print(csv || json ? format.line(1, new Scored(score, false)) : format.summary(score));
    }

    /** Waits, and shows how far it is. */
    private static TextScore join(Scoring scoring) throws IOException {
        try (Progress progress = new Progress("score", scoring.totalTokens(), System.err)) {
            while (true) {
                try {
                    return scoring.result().get(PROGRESS_MILLIS, TimeUnit.MILLISECONDS);
                } catch (TimeoutException e) {
                    progress.stepTo(scoring.computedTokens());
                }
            }
        } catch (ExecutionException e) {
            return scoring.join(); // throws it
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted while waiting for the score", e);
        }
    }
}
