package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.bench.ResultFile.Result;
import java.io.IOException;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class ComparisonTest {
    private static final List<String> THROUGHPUT = List.of("output_throughput");

    private static ResultFile file(String benchmark, String requests, Result... results) {
        return new ResultFile(
                benchmark,
                Instant.EPOCH,
                "",
                OptionalLong.of(0),
                Map.of(),
                Map.of(),
                Map.of("requests", requests),
                Map.of("dtype", requests),
                List.of(results));
    }

    /** Runs of these throughputs and of TTFTs of as many milliseconds. */
    private static Result result(String scheduler, double... values) {
        List<Map<String, Double>> runs = Arrays.stream(values)
                .mapToObj(value -> Map.of("output_throughput", value, "median_ttft_ms", value))
                .toList();
        double mean = Arrays.stream(values).average().orElseThrow();
        return new Result(
                Map.of("scheduler", scheduler), Map.of("output_throughput", mean, "median_ttft_ms", mean), runs);
    }

    private static List<Comparison.Line> compare(Result before, Result after) throws IOException {
        return Comparison.of(file("serve", "1", before), file("serve", "1", after), List.of());
    }

    @Test
    void theIntervalIsThatOfWelch() {
        // Welch's t-test on the logarithms, worked out by itself: 3.68 degrees of freedom, rounded down to 3, t =
        // 3.182.
        Comparison.Interval interval = Comparison.interval(new double[] {100, 102, 98}, new double[] {111, 108, 114})
                .orElseThrow();
        assertEquals(1.043382, interval.low(), 1e-6);
        assertEquals(1.180612, interval.high(), 1e-6);
    }

    @Test
    void aSingleRunOrAZeroHasNoInterval() {
        assertEquals(Optional.empty(), Comparison.interval(new double[] {1}, new double[] {1, 2}));
        assertEquals(Optional.empty(), Comparison.interval(new double[] {0, 1}, new double[] {1, 2}));
    }

    @Test
    void worseIsLessThroughputOrMoreTime() throws IOException {
        List<Comparison.Line> lines = compare(result("a", 100), result("a", 110));
        Comparison.Line throughput = lines.get(0);
        Comparison.Line ttft = lines.get(1);
        assertEquals(1.1, throughput.ratio(), 1e-9);
        assertFalse(throughput.isWorseThan(1.0));
        assertTrue(ttft.isWorseThan(1.09));
        assertFalse(ttft.isWorseThan(1.11));
        assertTrue(compare(result("a", 110), result("a", 100)).getFirst().isWorseThan(1.09));
    }

    @Test
    void aDifferenceThatMayBeChanceIsNotWorse() throws IOException {
        assertFalse(
                compare(result("a", 100, 130), result("a", 90, 120)).getFirst().isWorseThan(1.05));
        assertTrue(compare(result("a", 100, 101, 100), result("a", 90, 91, 90))
                .getFirst()
                .isWorseThan(1.05));
    }

    @Test
    void resultsWithTheSameParametersAreCompared() throws IOException {
        ResultFile before = file("serve", "1", result("a", 1), result("b", 2));
        ResultFile after = file("serve", "1", result("b", 4), result("c", 3));
        List<Comparison.Line> lines = Comparison.of(before, after, THROUGHPUT);
        assertEquals(List.of(new Comparison.Line("b", "output_throughput", 2, 4, Optional.empty())), lines);
        // The only results of two files may be of two things.
        assertEquals(
                "a -> b", compare(result("a", 1), result("b", 2)).getFirst().result());
    }

    @Test
    void whatCannotBeComparedIsSaid() {
        Result one = result("a", 1);
        assertRefused(
                "benchmark must be the same in both files, got serve and latency",
                file("serve", "1", one),
                file("latency", "1", one));
        assertRefused(
                "requests must be the same in both files, got 1 and 2",
                file("serve", "1", one),
                file("serve", "2", one));
        assertRefused(
                "the files must have a result in common, got a, b and c",
                file("serve", "1", one, result("b", 1)),
                file("serve", "1", result("c", 1)));
        String message = assertThrows(
                        IOException.class,
                        () -> Comparison.of(file("serve", "1", one), file("serve", "1", one), List.of("p50_ttft")))
                .getMessage();
        assertTrue(message.startsWith("comparison failed: metrics must be in both files, got p50_ttft"), message);
    }

    private static void assertRefused(String message, ResultFile before, ResultFile after) {
        assertEquals(
                "comparison failed: " + message,
                assertThrows(IOException.class, () -> Comparison.of(before, after, List.of()))
                        .getMessage());
    }

    @Test
    void whatDiffersBesideTheWorkloadIsListed() {
        assertEquals(List.of("dtype: 1 -> 2"), Comparison.differences(file("serve", "1"), file("serve", "2")));
    }
}
