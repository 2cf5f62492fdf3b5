package io.github.loomtorch.cli;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.gpt2.Gpt2;
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

/**
 * The three schedulers on five prompts. The first act prints what the original's {@code naive_scheduler.py} prints. In
 * the others each prompt has a virtual thread, and the texts stream; they differ in length, so that the third act shows
 * what continuous batching gains.
 */
final class Demo {
    /** Prompts in a batch. */
    static final int BATCH_SIZE = 3;

    private static final Duration BATCH_TIMEOUT = Duration.ofMillis(500);
    private static final List<String> PROMPTS = List.of(
            "The future of AI is",
            "Once upon a time",
            "In a galaxy far away",
            "Python is great because",
            "Data science is");
    private static final List<Integer> LENGTHS = List.of(80, 10, 40, 20, 30);

    private final ModelDirectory model;
    private final Tokenizer tokenizer;
    private final ModelOptions options;
    private final DemoPage page;

    /** A demo of a model whose options leave room for {@link #BATCH_SIZE} sequences. */
    Demo(ModelDirectory model, Tokenizer tokenizer, ModelOptions options, PrintWriter out, boolean isTerminal) {
        this.model = model;
        this.tokenizer = tokenizer;
        this.options = options;
        page = new DemoPage(out, isTerminal, PROMPTS);
    }

    /**
     * Runs the three acts.
     *
     * @throws IOException if the model cannot be read, or the tokenizer is another model's
     */
    void run() throws IOException {
        for (String prompt : PROMPTS) {
            Checks.fits(tokenizer.encode(prompt), tokenizer, model.config());
        }
        long startNanos = System.nanoTime();
        Gpt2 gpt2 = Gpt2Loader.load(model, options);
        page.heading(String.format(
                Locale.ROOT,
                "Loomtorch demo: %s, %.1fM parameters, on %s in %s, loaded in %.2f s",
                model.path(),
                model.config().parameterCount() / 1e6,
                gpt2.device(),
                NamedConverter.nameOf(gpt2.dtype()),
                (System.nanoTime() - startNanos) / 1e9));
        page.heading("1. NaiveScheduler: the call that brings prompt " + BATCH_SIZE
                + " runs the batch, flush() runs the rest");
        runInTurn(new Engine(gpt2, tokenizer, EngineOptions.defaults()));
        page.heading("2. AsyncNaiveScheduler: a batch starts when " + BATCH_SIZE
                + " prompts are there or the first has waited " + BATCH_TIMEOUT.toMillis()
                + " ms, and ends with its longest text");
        try (Scheduler scheduler = new AsyncNaiveScheduler(this::engine, BATCH_SIZE, BATCH_TIMEOUT)) {
            runAtOnce(scheduler);
        }
        page.heading("3. ContinuousScheduler: " + BATCH_SIZE
                + " prompts run at a time, and the next starts as soon as one of them ends");
        try (Scheduler scheduler = new ContinuousScheduler(this::engine)) {
            runAtOnce(scheduler);
        }
    }

    private Engine engine() throws IOException {
        return new Engine(Gpt2Loader.load(model, options), tokenizer, EngineOptions.defaults());
    }

    private void runInTurn(Engine engine) {
        try (NaiveScheduler scheduler = new NaiveScheduler(engine, BATCH_SIZE)) {
            List<Generation> batch = new ArrayList<>();
            for (String prompt : PROMPTS) {
                batch.add(scheduler.submit(request(prompt, SamplingParams.creative())));
                if (batch.size() == BATCH_SIZE) {
                    page.line("Batch completed:");
                    page.completed(batch.stream().map(Generation::join).toList());
                    batch.clear();
                }
            }
            page.line("Processing remaining prompts...");
            scheduler.flush();
            page.completed(batch.stream().map(Generation::join).toList());
        }
    }

    private void runAtOnce(Scheduler scheduler) {
        try (ExecutorService callers = Executors.newVirtualThreadPerTaskExecutor()) {
            page.beginStreams();
            List<CompletableFuture<Completion>> calls = IntStream.range(0, PROMPTS.size())
                    .mapToObj(i -> CompletableFuture.supplyAsync(() -> call(scheduler, i), callers))
                    .toList();
            page.endStreams(calls.stream().map(CompletableFuture::join).toList());
        }
    }

    private Completion call(Scheduler scheduler, int i) {
        SamplingParams sampling = SamplingParams.creative().toBuilder()
                .maxNewTokens(LENGTHS.get(i))
                .ignoreEos(true)
                .build();
        Completion completion = scheduler
                .submit(request(PROMPTS.get(i), sampling), event -> page.stream(i, event.text()))
                .join();
        page.endStream(i);
        return completion;
    }

    private GenerationRequest request(String prompt, SamplingParams sampling) {
        return new GenerationRequest(tokenizer.encode(prompt), sampling);
    }
}
