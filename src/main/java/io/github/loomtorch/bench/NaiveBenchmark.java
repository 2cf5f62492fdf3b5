package io.github.loomtorch.bench;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.stream.IntStream;

/**
 * Prompts through an {@link AsyncNaiveScheduler}, each from a virtual thread of its own, and only so many at once.
 * Immutable.
 *
 * @param scheduler with nothing else to do
 * @param tokenizer of its model
 * @param sampling of all requests
 * @param maxInFlight &gt;= 1; most requests between submit and completion
 */
public record NaiveBenchmark(
        AsyncNaiveScheduler scheduler, Tokenizer tokenizer, SamplingParams sampling, int maxInFlight) {

    /**
     * One pass over the prompts. Immutable.
     *
     * @param results in the order of the prompts
     * @param durationSeconds of all together
     */
    public record Run(List<NaiveResult> results, double durationSeconds) {}

    /**
     * Validates.
     *
     * @throws IllegalArgumentException if {@code maxInFlight} is less than 1
     */
    public NaiveBenchmark {
        if (maxInFlight < 1) {
            throw new IllegalArgumentException("maxInFlight must be >= 1, got " + maxInFlight);
        }
    }

    /**
     * Runs all prompts. A request that fails is a result too.
     *
     * @param number of the run
     * @param prompts texts
     * @param onFinished called for each prompt, on any thread
     * @return what happened
     */
    public Run run(int number, List<String> prompts, Runnable onFinished) {
        int batchesBefore = scheduler.batches();
        Semaphore inFlight = new Semaphore(maxInFlight);
        long startNanos = System.nanoTime();
        try (ExecutorService callers = Executors.newVirtualThreadPerTaskExecutor()) {
            List<CompletableFuture<NaiveResult>> calls = IntStream.range(0, prompts.size())
                    .mapToObj(i -> CompletableFuture.supplyAsync(
                            () -> {
                                inFlight.acquireUninterruptibly();
                                try {
                                    return call(number, i + 1, prompts.get(i), batchesBefore);
                                } finally {
                                    inFlight.release();
                                    onFinished.run();
                                }
                            },
                            callers))
                    .toList();
            List<NaiveResult> results =
                    calls.stream().map(CompletableFuture::join).toList();
            return new Run(results, (System.nanoTime() - startNanos) / 1e9);
        }
    }

    private NaiveResult call(int run, int seq, String prompt, int batchesBefore) {
        int[] ids = tokenizer.encode(prompt);
        try {
            Completion completion =
                    scheduler.submit(new GenerationRequest(ids, sampling)).join();
            return new NaiveResult(
                    run,
                    seq,
                    completion.batchNumber() - batchesBefore,
                    ids.length,
                    completion.outputTokenIds().length,
                    completion.timings().e2elNanos() / 1e9,
                    completion.timings().ttftNanos() / 1e9,
                    prompt,
                    completion.text(),
                    "");
        } catch (RuntimeException e) {
            Throwable cause = e instanceof CompletionException && e.getCause() != null ? e.getCause() : e;
            return NaiveResult.failed(
                    run, seq, ids.length, prompt, cause.getMessage() == null ? cause.toString() : cause.getMessage());
        }
    }
}
