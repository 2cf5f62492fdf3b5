package io.github.loomtorch.bench;

import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.util.List;
import java.util.Optional;
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
     * @param measurement of all together; its requests are in the order of the prompts, too
     * @param batches how many the scheduler ran
     */
    public record Run(List<NaiveResult> results, Measurement measurement, int batches) {
        /**
         * How long all together took.
         *
         * @return seconds
         */
        public double durationSeconds() {
            return measurement.durationNanos() / 1e9;
        }
    }

    private record Call(NaiveResult result, RequestTrace trace) {}

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
            List<CompletableFuture<Call>> calls = IntStream.range(0, prompts.size())
                    .mapToObj(i -> CompletableFuture.supplyAsync(
                            () -> {
                                inFlight.acquireUninterruptibly();
                                Call call;
                                try {
                                    call = call(number, i + 1, prompts.get(i));
                                } finally {
                                    inFlight.release();
                                }
                                onResult.accept(call.result);
                                return call;
                            },
                            callers))
                    .toList();
            List<Call> all = calls.stream().map(CompletableFuture::join).toList();
            return new Run(
                    all.stream().map(Call::result).toList(),
                    Measurement.of(all.stream().map(Call::trace).toList(), startNanos, System.nanoTime() - startNanos),
                    scheduler.batches());
        }
    }

    private Call call(int run, int seq, String prompt) {
        int[] ids = tokenizer.encode(prompt);
        TraceRecorder recorder =
                new TraceRecorder(System.nanoTime(), Clock.system(), () -> {}, sampling.maxNewTokens());
        try {
            Completion completion = scheduler
                    .submit(new GenerationRequest(ids, sampling), event -> recorder.onTokens())
                    .join();
            int outputTokens = completion.outputTokenIds().length;
            recorder.onEnd(
                    RequestTrace.Status.COMPLETED, "", Optional.of(completion.timings()), ids.length, outputTokens);
            NaiveResult result = new NaiveResult(
                    run,
                    seq,
                    completion.batchNumber(),
                    ids.length,
                    outputTokens,
                    completion.timings().e2elNanos() / 1e9,
                    completion.timings().ttftNanos() / 1e9,
                    prompt,
                    completion.text(),
                    "");
            return new Call(result, recorder.trace());
        } catch (RuntimeException e) {
            Throwable cause = e instanceof CompletionException && e.getCause() != null ? e.getCause() : e;
            String message =
                    cause.getMessage() == null || cause.getMessage().isBlank() ? cause.toString() : cause.getMessage();
            recorder.onEnd(RequestTrace.Status.FAILED, message, Optional.empty(), ids.length, 0);
            return new Call(NaiveResult.failed(run, seq, ids.length, prompt, message), recorder.trace());
        }
    }
}
