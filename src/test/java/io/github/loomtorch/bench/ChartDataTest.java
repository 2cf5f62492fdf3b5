package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.bench.RequestTrace.Status;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.RequestTimings;
import io.github.loomtorch.request.RequestTimings.Preemption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class ChartDataTest {
    private static final long SECOND = 1_000_000_000;
    private static final long START = 5 * SECOND;

    /**
     * Arrives at a second after the start, starts half a second later, and gets tokens at each of the next two; between
     * them it is preempted for half a second.
     */
    private static RequestTrace trace(int second, Status status) {
        long arrival = START + second * SECOND;
        return new RequestTrace(
                status,
                "",
                arrival,
                arrival,
                Optional.of(new RequestTimings(
                        arrival,
                        arrival + SECOND / 2,
                        arrival + SECOND,
                        arrival + 2 * SECOND,
                        List.of(new Preemption(arrival + SECOND * 5 / 4, arrival + SECOND * 7 / 4)))),
                arrival + 2 * SECOND,
                1,
                2,
                new long[] {arrival + SECOND, arrival + 2 * SECOND});
    }

    private static Measurement run(RequestTrace... traces) {
        return Measurement.of(List.of(traces), START, 10 * SECOND);
    }

    @Test
    void theCumulativeShareGoesFromTheLeastValueToTheGreatest() {
        ChartData.Points points = ChartData.cumulative(new double[] {3, 1, 2});
        assertArrayEquals(new double[] {1, 2, 3}, points.x());
        assertArrayEquals(new double[] {0, 50, 100}, points.y());
        assertEquals(0, ChartData.cumulative(new double[0]).x().length);
        double[] many = IntStream.range(0, 100_000).mapToDouble(i -> i).toArray();
        assertEquals(ChartData.MAX_POINTS, ChartData.cumulative(many).x().length);
    }

    @Test
    void latenciesOverTimeAreOfCompletedRequests() {
        Measurement run = run(trace(0, Status.COMPLETED), trace(3, Status.COMPLETED), trace(4, Status.FAILED));
        ChartData.Points ttft = ChartData.ttftOverTime(run);
        assertArrayEquals(new double[] {0, 3}, ttft.x());
        assertArrayEquals(new double[] {1_000, 1_000}, ttft.y());
        ChartData.Points itl = ChartData.itlOverTime(run, 0.5);
        assertArrayEquals(new double[] {1_000, 1_000}, itl.y());
        // The second of 60 slots that ends the gap: at 2 s and at 5 s of 10 s.
        assertArrayEquals(new double[] {12.5 / 6, 30.5 / 6}, itl.x(), 1e-9);
        assertArrayEquals(new double[] {1_000, 1_000}, ChartData.ttftMillis(List.of(run)));
        assertArrayEquals(new double[] {1_000, 1_000}, ChartData.itlMillis(List.of(run)));
    }

    @Test
    void aLifeHasWaitingPrefillDecodeAndPreemptions() {
        assertEquals(
                List.of(new ChartData.Life(1, 1.5, 2, 3, "cancelled", List.of(new ChartData.Span(2.25, 2.75)))),
                ChartData.lives(run(trace(1, Status.CANCELLED))));
        RequestTrace[] many =
                Collections.nCopies(500, trace(1, Status.COMPLETED)).toArray(RequestTrace[]::new);
        assertEquals(ChartData.MAX_REQUESTS, ChartData.lives(run(many)).size());
    }

    private static StepTrace step(int second, int waiting, int sequences, int sampled, int accepted, int preempted) {
        return new StepTrace(
                START + second * SECOND,
                waiting,
                new StepStats(sequences, 0, 0, sampled, 0, accepted, 0, preempted, 0, 0, 0, 0, false, 0));
    }

    @Test
    void aStepHasSequencesThatDecodeAndThatAreOnlyPrefilled() {
        ChartData.Steps steps = ChartData.steps(run(trace(0, Status.COMPLETED))
                .with(List.of(step(1, 7, 4, 1, 0, 0), step(2, 0, 4, 6, 3, 2)), 4, 1, Optional.empty()));
        assertArrayEquals(new double[] {1, 2}, steps.seconds());
        assertArrayEquals(new double[] {1, 3}, steps.decoding());
        assertArrayEquals(new double[] {3, 1}, steps.prefilling());
        assertArrayEquals(new double[] {7, 0}, steps.waiting());
        assertArrayEquals(new double[] {0, 2}, steps.preempted());
    }

    @Test
    void manyStepsAreJoinedWithoutLosingAPreemption() {
        List<StepTrace> many = new ArrayList<>();
        for (int i = 0; i < 5_001; i++) {
            many.add(step(i, i == 17 ? 9 : 0, 2, 2, 0, 1));
        }
        ChartData.Steps steps = ChartData.steps(run(trace(0, Status.COMPLETED)).with(many, 4, 1, Optional.empty()));
        assertEquals(455, steps.seconds().length); // of 11 steps each
        assertEquals(5_000, steps.seconds()[454]);
        assertEquals(5_001, Arrays.stream(steps.preempted()).sum());
        assertEquals(9, steps.waiting()[1]);
        assertEquals(2, steps.decoding()[3]);
    }
}
