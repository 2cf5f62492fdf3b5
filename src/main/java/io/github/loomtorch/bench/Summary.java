package io.github.loomtorch.bench;

import java.util.List;
import java.util.OptionalDouble;
import java.util.stream.LongStream;

/**
 * The numbers of one measurement; {@link io.github.loomtorch.bench the package} defines them. Immutable.
 *
 * @param completed requests that finished
 * @param failed requests that did not
 * @param outputTokens of those that finished
 * @param durationSeconds of the whole measurement
 * @param requestThroughput finished requests per second
 * @param outputTokenThroughput output tokens per second
 * @param goodput requests per second that keep the limits; equal to {@code requestThroughput} if there are none
 * @param deviceIdleShare of the duration in which the device had no step to work on; empty if the device does not tell
 * @param candidateTokens candidates of speculative decoding that were verified
 * @param acceptedTokens candidates that were accepted; they count as output too
 * @param ttftMillis time to first token
 * @param itlMillis gaps between tokens
 * @param tpotMillis time per output token
 * @param e2elMillis end-to-end latency
 */
public record Summary(
        int completed,
        int failed,
        long outputTokens,
        double durationSeconds,
        double requestThroughput,
        double outputTokenThroughput,
        double goodput,
        OptionalDouble deviceIdleShare,
        long candidateTokens,
        long acceptedTokens,
        Distribution ttftMillis,
        Distribution itlMillis,
        Distribution tpotMillis,
        Distribution e2elMillis) {

    /**
     * Limits that a request must keep to count as goodput. Immutable.
     *
     * @param ttftMillis longest TTFT in milliseconds, if limited
     * @param tpotMillis longest TPOT in milliseconds, if limited
     */
    public record Limits(OptionalDouble ttftMillis, OptionalDouble tpotMillis) {
        /** All requests count. */
        public static final Limits NONE = new Limits(OptionalDouble.empty(), OptionalDouble.empty());

        boolean areKeptBy(RequestTrace trace) {
            return trace.ttftNanos() / 1e6 <= ttftMillis.orElse(Double.MAX_VALUE)
                    && trace.tpotNanos() / 1e6 <= tpotMillis.orElse(Double.MAX_VALUE);
        }
    }

    /**
     * What the steps of a measurement did. Immutable.
     *
     * @param deviceNanos how long the device worked, 0 if it does not tell
     * @param candidateTokens candidates that were verified
     * @param acceptedTokens candidates that were accepted
     */
    public record Steps(long deviceNanos, long candidateTokens, long acceptedTokens) {}

    /**
     * Computes the numbers.
     *
     * @param traces of the requests that finished
     * @param failed how many others there were
     * @param durationNanos from the first arrival to the last end, idle time between separate runs left out
     * @param steps what the steps did
     * @param limits for goodput
     * @return the summary
     */
    public static Summary of(List<RequestTrace> traces, int failed, long durationNanos, Steps steps, Limits limits) {
        double seconds = durationNanos / 1e9;
        long tokens =
                traces.stream().mapToLong(trace -> trace.tokenNanos().length).sum();
        return new Summary(
                traces.size(),
                failed,
                tokens,
                seconds,
                traces.size() / seconds,
                tokens / seconds,
                traces.stream().filter(limits::areKeptBy).count() / seconds,
                steps.deviceNanos == 0
                        ? OptionalDouble.empty()
                        : OptionalDouble.of(1 - (double) steps.deviceNanos / durationNanos),
                steps.candidateTokens,
                steps.acceptedTokens,
                Distribution.of(traces.stream()
                        .mapToDouble(trace -> trace.ttftNanos() / 1e6)
                        .toArray()),
                Distribution.of(traces.stream()
                        .flatMapToLong(Summary::gaps)
                        .mapToDouble(nanos -> nanos / 1e6)
                        .toArray()),
                Distribution.of(traces.stream()
                        .filter(trace -> trace.tokenNanos().length > 1)
                        .mapToDouble(trace -> trace.tpotNanos() / 1e6)
                        .toArray()),
                Distribution.of(traces.stream()
                        .mapToDouble(trace -> trace.e2elNanos() / 1e6)
                        .toArray()));
    }

    private static LongStream gaps(RequestTrace trace) {
        long[] times = trace.tokenNanos();
        return LongStream.range(1, times.length).map(i -> times[(int) i] - times[(int) i - 1]);
    }
}
