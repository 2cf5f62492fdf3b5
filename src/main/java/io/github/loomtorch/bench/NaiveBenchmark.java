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
import java.util.function.Consumer;
import java.util.stream.IntStream;

/**
 * Sends prompts to an {@link AsyncNaiveScheduler}, each from a virtual thread of its own, with a bound on how many are
 * in flight. Immutable.
 *
 * @param scheduler a new one, which counts batches from 1
 * @param tokenizer of its model
 * @param sampling of all requests
 * @param maxInFlight &gt;= 1; most requests between submit and completion
 */
public record NaiveBenchmark(
        AsyncNaiveScheduler scheduler, Tokenizer tokenizer, SamplingParams sampling, int maxInFlight) {

    /**
     * What came of one pass over the prompts. Immutable.
     *
     * @param results in the order of the prompts
     * @param batches how many the scheduler ran
     * @param durationSeconds of all together
     */
    public record Run(List<NaiveResult> results, int batches, double durationSeconds) {}

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
     * Sends all prompts at once and waits for all. A request that fails is a result too.
     *
     * @param number of the run
     * @param prompts texts
     * @param onResult called for each prompt as its request ends, on any thread
     * @return what happened
     * @throws CompletionException if {@code onResult} throws; its cause is what was thrown
     */
    public Run run(int number, List<String> prompts, Consumer<NaiveResult> onResult) {
        Semaphore inFlight = new Semaphore(maxInFlight);
        long startNanos = System.nanoTime();
        try (ExecutorService callers = Executors.newVirtualThreadPerTaskExecutor()) {
            List<CompletableFuture<NaiveResult>> calls = IntStream.range(0, prompts.size())
                    .mapToObj(i -> CompletableFuture.supplyAsync(
                            () -> {
                                inFlight.acquireUninterruptibly();
                                NaiveResult result;
                                try {
                                    result = call(number, i + 1, prompts.get(i));
                                } finally {
                                    inFlight.release();
                                }
                                onResult.accept(result);
                                return result;
                            },
                            callers))
                    .toList();
            List<NaiveResult> results =
                    calls.stream().map(CompletableFuture::join).toList();
            return new Run(results, scheduler.batches(), (System.nanoTime() - startNanos) / 1e9);
        }
    }

    private NaiveResult call(int run, int seq, String prompt) {
        int[] ids = tokenizer.encode(prompt);
        try {
            Completion completion =
                    scheduler.submit(new GenerationRequest(ids, sampling)).join();
            return new NaiveResult(
                    run,
                    seq,
                    completion.batchNumber(),
                    ids.length,
                    completion.outputTokenIds().length,
                    completion.timings().e2elNanos() / 1e9,
                    completion.timings().ttftNanos() / 1e9,
                    prompt,
                    completion.text(),
                    "");
        } catch (RuntimeException e) {
            Throwable cause = e instanceof CompletionException && e.getCause() != null ? e.getCause() : e;
            String message =
                    cause.getMessage() == null || cause.getMessage().isBlank() ? cause.toString() : cause.getMessage();
            return NaiveResult.failed(run, seq, ids.length, prompt, message);
        }
    }
}
