package io.github.loomtorch.bench;

import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenListener;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
import java.util.random.RandomGenerator;

/**
 * Requests and when they arrive. Immutable.
 *
 * @param requests in order of arrival
 * @param arrivalNanos after the start, for each request
 */
public record Workload(List<GenerationRequest> requests, long[] arrivalNanos) {

    /**
     * What came of a workload. Immutable.
     *
     * @param traces of the requests that finished
     * @param failures why the others did not
     * @param durationNanos from the start to the last end
     */
    public record Outcome(List<RequestTrace> traces, List<RuntimeException> failures, long durationNanos) {

        /**
         * Joins the outcomes of workloads that ran one after the other.
         *
         * @param outcomes of each
         * @return their results together, without the time between them
         */
        public static Outcome all(List<Outcome> outcomes) {
            return new Outcome(
                    outcomes.stream()
                            .flatMap(outcome -> outcome.traces.stream())
                            .toList(),
                    outcomes.stream()
                            .flatMap(outcome -> outcome.failures.stream())
                            .toList(),
                    outcomes.stream().mapToLong(Outcome::durationNanos).sum());
        }
    }

    /**
     * Requests that generate exactly as many tokens as they ask for.
     *
     * @param count how many
     * @param prompts makes the prompt of each, [T] token ids
     * @param minOutputLength fewest new tokens
     * @param maxOutputLength most new tokens; the lengths are equally likely
     * @param requestsPerSecond rate of a Poisson process; {@link Double#POSITIVE_INFINITY} for all at once
     * @param sampling all but {@code maxNewTokens}, {@code ignoreEos} and the seed
     * @param random source of lengths, seeds and arrivals
     * @return the workload
     */
    public static Workload of(
            int count,
            Supplier<int[]> prompts,
            int minOutputLength,
            int maxOutputLength,
            double requestsPerSecond,
            SamplingParams sampling,
            RandomGenerator random) {
        List<GenerationRequest> requests = new ArrayList<>();
        long[] arrivals = new long[count];
        double seconds = 0;
        for (int i = 0; i < count; i++) {
            int[] prompt = prompts.get();
            SamplingParams own = sampling.toBuilder()
                    .maxNewTokens(random.nextInt(minOutputLength, maxOutputLength + 1))
                    .ignoreEos(true)
                    .seed(random.nextLong())
                    .build();
            requests.add(new GenerationRequest(prompt, own));
            arrivals[i] = (long) (seconds * 1e9);
            seconds += random.nextExponential() / requestsPerSecond;
        }
        return new Workload(requests, arrivals);
    }

    /**
     * Submits the requests as they arrive and waits for all to end.
     *
     * @param scheduler runs them, and is flushed at the end
     * @param onFinished called for each request when it has ended, on any thread
     * @return what happened
     */
    public Outcome run(Scheduler scheduler, Runnable onFinished) {
        List<Recorder> recorders = new ArrayList<>();
        List<Generation> generations = new ArrayList<>();
        long startNanos = System.nanoTime();
        for (int i = 0; i < requests.size(); i++) {
            Recorder recorder = new Recorder(
                    startNanos + arrivalNanos[i], requests.get(i).sampling().maxNewTokens());
            recorders.add(recorder);
            for (long wait; (wait = recorder.arrivalNanos - System.nanoTime()) > 0; ) {
                LockSupport.parkNanos(wait);
            }
            Generation generation = scheduler.submit(requests.get(i), recorder);
            var unused = generation.completion().whenComplete((completion, failure) -> onFinished.run());
            generations.add(generation);
        }
        scheduler.flush();
        List<RequestTrace> traces = new ArrayList<>();
        List<RuntimeException> failures = new ArrayList<>();
        for (int i = 0; i < generations.size(); i++) {
            try {
                generations.get(i).join();
                traces.add(recorders.get(i).trace());
            } catch (CompletionException e) {
                failures.add(e);
            }
        }
        return new Outcome(traces, failures, System.nanoTime() - startNanos);
    }

    /** Records when each token arrives. */
    private static final class Recorder implements TokenListener {
        private final long arrivalNanos;
        private final long[] tokenNanos;
        private int count;

        Recorder(long arrivalNanos, int maxTokens) {
            this.arrivalNanos = arrivalNanos;
            tokenNanos = new long[maxTokens];
        }

        @Override
        public void onToken(TokenEvent event) {
            tokenNanos[count++] = System.nanoTime();
        }

        RequestTrace trace() {
            return new RequestTrace(arrivalNanos, Arrays.copyOf(tokenNanos, count));
        }
    }
}
