package io.github.loomtorch;

import io.github.loomtorch.cli.Main;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.program.Gpt2;
import java.io.IOException;
import java.io.PrintWriter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * The two ways to fill a batch, on five prompts: callers in turn on one thread, then callers on virtual threads whose
 * texts stream as they are sampled. {@code mvn -q compile exec:exec} runs it.
 */
public final class Demo {
    /** Prompts in a batch. */
    public static final int BATCH_SIZE = 3;

    private static final Duration BATCH_TIMEOUT = Duration.ofMillis(500);
    private static final List<String> PROMPTS = List.of(
            "The future of AI is",
            "Once upon a time",
            "In a galaxy far away",
            "Python is great because",
            "Data science is");

    private final ModelDirectory model;
    private final Tokenizer tokenizer;
    private final ModelOptions options;

    /**
     * A demo of a model.
     *
     * @param model to show
     * @param tokenizer of the model
     * @param options where it runs; room for {@link #BATCH_SIZE} sequences
     */
    public Demo(ModelDirectory model, Tokenizer tokenizer, ModelOptions options) {
        this.model = model;
        this.tokenizer = tokenizer;
        this.options = options;
    }

    /**
     * Runs the command {@code demo}.
     *
     * @param args its options
     */
    public static void main(String[] args) {
        Main.main(Stream.concat(Stream.of("demo"), Stream.of(args)).toArray(String[]::new));
    }

    /**
     * Runs both acts.
     *
     * @param out where to print
     * @param isTerminal whether colours and moves of the cursor are understood there
     * @throws IOException if the model cannot be read
     */
    public void run(PrintWriter out, boolean isTerminal) throws IOException {
        DemoPage page = new DemoPage(out, isTerminal, PROMPTS);
        long startNanos = System.nanoTime();
        Gpt2 gpt2 = Gpt2Loader.load(model, options);
        page.heading(String.format(
                Locale.ROOT,
                "Loomtorch demo: %s, %.1fM parameters, on %s in %s, loaded in %.2f s",
                model.path(),
                model.config().parameterCount() / 1e6,
                gpt2.device(),
                gpt2.dtype().name().toLowerCase(Locale.ROOT),
                (System.nanoTime() - startNanos) / 1e9));
        runInTurn(new Engine(gpt2, tokenizer, EngineOptions.defaults()), page);
        runAtOnce(page);
    }

    private void runInTurn(Engine engine, DemoPage page) {
        page.heading("1. NaiveScheduler: the call that brings prompt " + BATCH_SIZE
                + " runs the batch, flush() the remainder");
        try (NaiveScheduler scheduler = new NaiveScheduler(engine, BATCH_SIZE)) {
            List<Generation> batch = new ArrayList<>();
            for (String prompt : PROMPTS) {
                batch.add(scheduler.submit(request(prompt)));
                if (batch.size() == BATCH_SIZE) {
                    page.batch(batch.stream().map(Generation::join).toList());
                    batch.clear();
                }
            }
            scheduler.flush();
            page.batch(batch.stream().map(Generation::join).toList());
        }
    }

    private void runAtOnce(DemoPage page) throws IOException {
        page.heading("2. AsyncNaiveScheduler: a virtual thread for each prompt; a batch runs when " + BATCH_SIZE
                + " have come, or " + BATCH_TIMEOUT.toMillis() + " ms after its first");
        try (AsyncNaiveScheduler scheduler = new AsyncNaiveScheduler(
                        () -> new Engine(Gpt2Loader.load(model, options), tokenizer, EngineOptions.defaults()),
                        BATCH_SIZE,
                        BATCH_TIMEOUT);
                ExecutorService callers = Executors.newVirtualThreadPerTaskExecutor()) {
            page.beginStreams();
            List<CompletableFuture<Completion>> calls = IntStream.range(0, PROMPTS.size())
                    .mapToObj(i -> CompletableFuture.supplyAsync(() -> call(scheduler, i, page), callers))
                    .toList();
            page.endStreams(calls.stream().map(CompletableFuture::join).toList());
        }
    }

    private Completion call(AsyncNaiveScheduler scheduler, int i, DemoPage page) {
        Completion completion = scheduler
                .submit(request(PROMPTS.get(i)), event -> page.stream(i, event.text()))
                .join();
        page.endStream(i);
        return completion;
    }

    private GenerationRequest request(String prompt) {
        return new GenerationRequest(tokenizer.encode(prompt), SamplingParams.creative());
    }
}
