package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.OptionalDouble;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class SummaryTest {
    private static final long MILLI = 1_000_000;

    private static RequestTrace trace(long arrivalMillis, long... tokenMillis) {
        long[] nanos = tokenMillis.clone();
        for (int i = 0; i < nanos.length; i++) {
            nanos[i] *= MILLI;
        }
        return new RequestTrace(arrivalMillis * MILLI, nanos);
    }

    @Test
    void percentilesLieBetweenTheNearestValues() {
        double[] values =
                IntStream.rangeClosed(1, 100).mapToDouble(i -> 101 - i).toArray();
        Distribution distribution = Distribution.of(values);
        assertEquals(50.5, distribution.mean());
        assertEquals(50.5, distribution.p50());
        assertEquals(99.01, distribution.p99(), 1e-9); // numpy.percentile(range(1, 101), 99)
    }

    @Test
    void oneValueIsEveryPercentileAndNoneIsZero() {
        assertEquals(new Distribution(7, 7, 7), Distribution.of(7));
        assertEquals(new Distribution(0, 0, 0), Distribution.of());
    }

    @Test
    void timesOfARequestCountFromItsArrival() {
        RequestTrace trace = trace(10, 25, 30, 45);
        assertEquals(15 * MILLI, trace.ttftNanos());
        assertEquals(35 * MILLI, trace.e2elNanos());
        assertEquals(10 * MILLI, trace.tpotNanos());
    }

    private static Summary.Steps steps(long deviceNanos) {
        return new Summary.Steps(deviceNanos, 7, 3);
    }

    @Test
    void aSingleTokenHasNoTimePerOutputToken() {
        assertEquals(0, trace(10, 25).tpotNanos());
        Summary summary =
                Summary.of(List.of(trace(10, 25), trace(0, 10, 14)), 0, 1_000 * MILLI, steps(0), Summary.Limits.NONE);
        assertEquals(new Distribution(4, 4, 4), summary.tpotMillis());
    }

    @Test
    void throughputIsOfTheWholeDurationAndFailedRequestsDoNotCount() {
        Summary summary = Summary.of(
                List.of(trace(0, 10, 20, 40), trace(0, 20)), 3, 2_000 * MILLI, steps(500 * MILLI), Summary.Limits.NONE);
        assertEquals(2, summary.completed());
        assertEquals(3, summary.failed());
        assertEquals(4, summary.outputTokens());
        assertEquals(2, summary.durationSeconds());
        assertEquals(1, summary.requestThroughput());
        assertEquals(2, summary.outputTokenThroughput());
        assertEquals(1, summary.goodput());
        assertEquals(OptionalDouble.of(0.75), summary.deviceIdleShare());
        assertEquals(7, summary.candidateTokens());
        assertEquals(3, summary.acceptedTokens());
        assertEquals(15, summary.ttftMillis().mean());
        assertEquals(15, summary.itlMillis().mean());
        assertEquals(30, summary.e2elMillis().mean());
    }

    @Test
    void aDeviceThatDoesNotTellHasNoIdleShare() {
        Summary summary = Summary.of(List.of(trace(0, 10)), 0, 1_000 * MILLI, steps(0), Summary.Limits.NONE);
        assertEquals(OptionalDouble.empty(), summary.deviceIdleShare());
    }

    @Test
    void goodputCountsRequestsThatKeepEveryLimit() {
        List<RequestTrace> traces = List.of(trace(0, 200, 210), trace(0, 201, 211), trace(0, 100, 111));
        assertEquals(1, goodput(traces, OptionalDouble.of(200), OptionalDouble.of(10)));
        assertEquals(2, goodput(traces, OptionalDouble.of(200), OptionalDouble.empty()));
        assertEquals(2, goodput(traces, OptionalDouble.empty(), OptionalDouble.of(10)));
    }

    private static double goodput(List<RequestTrace> traces, OptionalDouble ttftMillis, OptionalDouble tpotMillis) {
        return Summary.of(traces, 0, 1_000 * MILLI, steps(0), new Summary.Limits(ttftMillis, tpotMillis))
                .goodput();
    }
}
