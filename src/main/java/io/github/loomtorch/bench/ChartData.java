package io.github.loomtorch.bench;

import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.RequestTimings;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/**
 * What charts draw of a measurement: few enough points for a page, however long it was. Arrays are shared, do not
 * modify them.
 */
public final class ChartData {
    /** Most points of a line. */
    static final int MAX_POINTS = 500;

    /** Most requests of a timeline. */
    static final int MAX_REQUESTS = 100;

    private static final int TIME_SLOTS = 60;
    private static final double SECOND = 1e9;

    private ChartData() {}

    /**
     * Points of a line or a cloud.
     *
     * @param x ascending
     * @param y one for each x
     */
    public record Points(double[] x, double[] y) {}

    /**
     * One request of a timeline, in seconds after the start of its run.
     *
     * @param arrival when it arrived
     * @param started when it was admitted to a batch; {@code arrival} if not known
     * @param firstToken when its first token came; {@code end} if none came
     * @param end when it ended
     * @param status how
     * @param preempted when it had lost its place in the batch
     */
    public record Life(
            double arrival, double started, double firstToken, double end, String status, List<Span> preempted) {}

    /**
     * A span of time.
     *
     * @param start in seconds after the start of the run
     * @param end likewise
     */
    public record Span(double start, double end) {}

    /**
     * Steps, several of which are one slot of time where there are many.
     *
     * @param seconds after the start, at the end of each slot
     * @param prefilling mean number of sequences whose prompt was computed and that got no token
     * @param decoding mean number of sequences that got a token
     * @param waiting most requests that waited to run
     * @param preempted sequences that lost their place
     */
    public record Steps(
            double[] seconds, double[] prefilling, double[] decoding, double[] waiting, double[] preempted) {}

    /**
     * The share of values that are not above a value.
     *
     * @param values in any order
     * @return x: values, y: percent; no points if there are no values
     */
    public static Points cumulative(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        int points = Math.min(MAX_POINTS, sorted.length);
        double[] share = new double[points];
        double[] x = new double[points];
        for (int i = 0; i < points; i++) {
            share[i] = points == 1 ? 1 : (double) i / (points - 1);
            x[i] = Distribution.quantile(sorted, share[i]);
            share[i] *= 100;
        }
        return new Points(x, share);
    }

    /**
     * TTFT of all completed requests of all runs.
     *
     * @param runs measurements
     * @return milliseconds
     */
    public static double[] ttftMillis(List<Measurement> runs) {
        return completed(runs).stream()
                .mapToDouble(trace -> trace.ttftNanos() / 1e6)
                .toArray();
    }

    /**
     * Gaps between the tokens of all completed requests of all runs.
     *
     * @param runs measurements
     * @return milliseconds
     */
    public static double[] itlMillis(List<Measurement> runs) {
        return completed(runs).stream()
                .flatMapToLong(Metrics::gaps)
                .mapToDouble(nanos -> nanos / 1e6)
                .toArray();
    }

    private static List<RequestTrace> completed(List<Measurement> runs) {
        return runs.stream()
                .flatMap(run -> run.requests().stream())
                .filter(RequestTrace::isCompleted)
                .toList();
    }

    /**
     * TTFT by arrival.
     *
     * @param run a measurement
     * @return x: seconds after the start, y: milliseconds; every n-th request if there are many
     */
    public static Points ttftOverTime(Measurement run) {
        List<RequestTrace> all = completed(List.of(run));
        int step = (all.size() + MAX_POINTS - 1) / MAX_POINTS;
        List<RequestTrace> some = IntStream.range(0, all.size())
                .filter(i -> i % Math.max(1, step) == 0)
                .mapToObj(all::get)
                .toList();
        return new Points(
                some.stream()
                        .mapToDouble(trace -> (trace.arrivalNanos() - run.startNanos()) / SECOND)
                        .toArray(),
                some.stream().mapToDouble(trace -> trace.ttftNanos() / 1e6).toArray());
    }

    /**
     * A quantile of the gaps between tokens, by slots of time.
     *
     * @param run a measurement
     * @param fraction of the gaps of a slot that are not above it, in [0, 1]
     * @return x: seconds after the start, the middle of each slot that has gaps, y: milliseconds
     */
    public static Points itlOverTime(Measurement run, double fraction) {
        List<LongStream.Builder> slots = new ArrayList<>();
        for (int i = 0; i < TIME_SLOTS; i++) {
            slots.add(LongStream.builder());
        }
        double slotNanos = Math.max(1, run.durationNanos() / (double) TIME_SLOTS);
        for (RequestTrace trace : completed(List.of(run))) {
            long[] times = trace.tokenNanos();
            for (int i = 1; i < times.length; i++) {
                int slot = (int) ((times[i] - run.startNanos()) / slotNanos);
                slots.get(Math.min(TIME_SLOTS - 1, slot)).add(times[i] - times[i - 1]);
            }
        }
        List<double[]> points = new ArrayList<>();
        for (int i = 0; i < TIME_SLOTS; i++) {
            double[] millis = slots.get(i)
                    .build()
                    .mapToDouble(nanos -> nanos / 1e6)
                    .sorted()
                    .toArray();
            if (millis.length > 0) {
                points.add(new double[] {(i + 0.5) * slotNanos / SECOND, Distribution.quantile(millis, fraction)});
            }
        }
        return new Points(
                points.stream().mapToDouble(point -> point[0]).toArray(),
                points.stream().mapToDouble(point -> point[1]).toArray());
    }

    /**
     * The first requests, from arrival to end.
     *
     * @param run a measurement
     * @return in order of arrival
     */
    public static List<Life> lives(Measurement run) {
        return run.requests().stream()
                .limit(MAX_REQUESTS)
                .map(trace -> {
                    long end = trace.endNanos();
                    long first = trace.tokenNanos().length == 0 ? end : trace.tokenNanos()[0];
                    return new Life(
                            seconds(run, trace.arrivalNanos()),
                            seconds(
                                    run,
                                    trace.timings()
                                            .map(RequestTimings::startedNanos)
                                            .orElse(trace.arrivalNanos())),
                            seconds(run, first),
                            seconds(run, end),
                            trace.status().name().toLowerCase(Locale.ROOT),
                            trace.timings().stream()
                                    .flatMap(timings -> timings.preemptions().stream())
                                    .map(each -> new Span(
                                            seconds(run, each.preemptedNanos()), seconds(run, each.resumedNanos())))
                                    .toList());
                })
                .toList();
    }

    private static double seconds(Measurement run, long nanos) {
        return (nanos - run.startNanos()) / SECOND;
    }

    /**
     * What the steps did.
     *
     * @param run a measurement
     * @return at most 500 slots of time; none if the engines are in another process
     */
    public static Steps steps(Measurement run) {
        List<StepTrace> steps = run.steps();
        int size = Math.max(1, (steps.size() + MAX_POINTS - 1) / MAX_POINTS);
        List<List<StepTrace>> slots = new ArrayList<>();
        for (int i = 0; i < steps.size(); i += size) {
            slots.add(steps.subList(i, Math.min(i + size, steps.size())));
        }
        return new Steps(
                slots.stream()
                        .mapToDouble(slot -> seconds(run, slot.getLast().endNanos()))
                        .toArray(),
                means(slots, step -> step.sequences() - decoding(step)),
                means(slots, ChartData::decoding),
                slots.stream()
                        .mapToDouble(slot ->
                                slot.stream().mapToInt(StepTrace::waiting).max().orElse(0))
                        .toArray(),
                slots.stream()
                        .mapToDouble(slot -> slot.stream()
                                .mapToInt(step -> step.stats().preemptedSequences())
                                .sum())
                        .toArray());
    }

    /** Accepted candidates are tokens of a sequence that got another one anyway. */
    private static double decoding(StepStats step) {
        return Math.min(step.sequences(), step.sampledTokens() - step.acceptedTokens());
    }

    private static double[] means(List<List<StepTrace>> slots, ToDoubleFunction<StepStats> value) {
        return slots.stream()
                .mapToDouble(slot -> slot.stream()
                        .map(StepTrace::stats)
                        .mapToDouble(value)
                        .average()
                        .orElse(0))
                .toArray();
    }
}
