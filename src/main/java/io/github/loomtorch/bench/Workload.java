package io.github.loomtorch.bench;

import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntFunction;
import java.util.random.RandomGenerator;

/**
 * Requests and when they arrive: an open loop, in which no request waits for the answer to another. Immutable.
 *
 * @param requests in order of arrival
 * @param arrivalNanos after the start, for each request, in ascending order
 * @param maxConcurrency &gt;= 1; most requests in flight. One that arrives when there are so many is sent later, and
 *     its latency counts from its arrival all the same
 */
public record Workload(List<GenerationRequest> requests, long[] arrivalNanos, int maxConcurrency) {

    /**
     * Requests that generate exactly as many tokens as planned. A prompt that does not leave room for a token in the
     * context is cut, and then the output.
     *
     * @param plan arrivals ascending
     * @param prompts makes a prompt of a length, [T] token ids
     * @param contextLength most tokens of a prompt and its output, &gt;= 2
     * @param maxConcurrency &gt;= 1
     * @param sampling all but {@code maxNewTokens}, {@code ignoreEos} and the seed
     * @param random source of the seeds
     * @return the workload
     */
    public static Workload of(
            List<PlannedRequest> plan,
            IntFunction<int[]> prompts,
            int contextLength,
            int maxConcurrency,
            SamplingParams sampling,
            RandomGenerator random) {
        List<GenerationRequest> requests = new ArrayList<>();
        for (PlannedRequest planned : plan) {
            int[] prompt = prompts.apply(Math.min(planned.inputTokens(), contextLength - 1));
            SamplingParams own = sampling.toBuilder()
                    .maxNewTokens(Math.min(planned.outputTokens(), contextLength - prompt.length))
                    .ignoreEos(true)
                    .seed(random.nextLong())
                    .build();
            requests.add(new GenerationRequest(prompt, own));
        }
        long[] arrivals = plan.stream()
                .mapToLong(planned -> (long) (planned.arrivalSeconds() * 1e9))
                .toArray();
        return new Workload(requests, arrivals, maxConcurrency);
    }

    /**
     * Makes prompts of random token ids that begin alike.
     *
     * @param vocabSize ids are in {@code [0, vocabSize)}
     * @param maxLength of a prompt
     * @param sharedShare share of each prompt's tokens that all have in common at the start, in [0, 1]
     * @param random source
     * @return makes a prompt of a length
     */
    public static IntFunction<int[]> randomPrompts(
            int vocabSize, int maxLength, double sharedShare, RandomGenerator random) {
        int[] prefix = sharedShare == 0
                ? new int[0]
                : random.ints(maxLength, 0, vocabSize).toArray();
        return length -> {
            int[] prompt = random.ints(length, 0, vocabSize).toArray();
            System.arraycopy(prefix, 0, prompt, 0, (int) Math.round(sharedShare * length));
            return prompt;
        };
    }

    /**
     * Sends the requests as they arrive and waits for all to end. Confined to one thread.
     *
     * @param target runs them, and is flushed at the end
     * @param clock of all times and waiting
     * @param onFinished called for each request when it has ended, on any thread
     * @return what happened
     */
    public Measurement run(Target target, Clock clock, Runnable onFinished) {
        Thread sender = Thread.currentThread();
        AtomicInteger inFlight = new AtomicInteger();
        Runnable onEnd = () -> {
            onFinished.run();
            inFlight.decrementAndGet();
            clock.unpark(sender);
        };
        List<TraceRecorder> recorders = new ArrayList<>();
        long startNanos = clock.nanoTime();
        for (int i = 0; i < requests.size(); i++) {
            long arrival = startNanos + arrivalNanos[i];
            for (long wait; (wait = arrival - clock.nanoTime()) > 0; ) {
                clock.park(wait);
            }
            awaitAtMost(maxConcurrency - 1, inFlight, clock);
            GenerationRequest request = requests.get(i);
            TraceRecorder recorder =
                    new TraceRecorder(arrival, clock, onEnd, request.sampling().maxNewTokens());
            recorders.add(recorder);
            inFlight.incrementAndGet();
            target.send(request, recorder);
        }
        target.flush();
        awaitAtMost(0, inFlight, clock);
        return Measurement.of(
                recorders.stream().map(TraceRecorder::trace).toList(), startNanos, clock.nanoTime() - startNanos);
    }

    private static void awaitAtMost(int count, AtomicInteger inFlight, Clock clock) {
        while (inFlight.get() > count) {
            clock.park(Long.MAX_VALUE);
        }
    }
}
