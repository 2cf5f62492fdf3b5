package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.bench.Arrivals.Ramp;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class ArrivalsTest {
    private static final Lengths ONE = new Lengths.Fixed(1);

    private static double[] gaps(Arrivals arrivals, int count) {
        List<PlannedRequest> requests = arrivals.draw(count, ONE, ONE, new SplittableRandom(7));
        assertEquals(0, requests.getFirst().arrivalSeconds());
        double[] gaps = new double[count - 1];
        Arrays.setAll(
                gaps,
                i -> requests.get(i + 1).arrivalSeconds() - requests.get(i).arrivalSeconds());
        return gaps;
    }

    private static double mean(double[] values) {
        return Arrays.stream(values).average().orElseThrow();
    }

    @Test
    void withoutARateAllArriveAtOnce() {
        double[] gaps = gaps(Arrivals.at(Double.POSITIVE_INFINITY, 0.5), 50);
        assertTrue(Arrays.stream(gaps).allMatch(gap -> gap == 0));
    }

    @ParameterizedTest
    @ValueSource(doubles = {0.25, 1, 4})
    void gapsHaveAGammaDistributionOfMeanOneOverTheRate(double burstiness) {
        double[] gaps = gaps(Arrivals.at(500, burstiness), 20_000);
        double mean = mean(gaps);
        double variance =
                mean(Arrays.stream(gaps).map(gap -> (gap - mean) * (gap - mean)).toArray());
        double thirdMoment =
                mean(Arrays.stream(gaps).map(gap -> Math.pow(gap - mean, 3)).toArray());
        double skewness = thirdMoment / Math.pow(variance, 1.5);
        assertEquals(1 / 500.0, mean, 0.05 / 500);
        assertEquals(1 / Math.sqrt(burstiness), Math.sqrt(variance) / mean, 0.05 / Math.sqrt(burstiness));
        assertEquals(2 / Math.sqrt(burstiness), skewness, 0.25 / Math.sqrt(burstiness));
    }

    @Test
    void aRampGoesFromTheFirstRateToTheLast() {
        int count = 10_001;
        double[] linear = gaps(new Arrivals(Ramp.LINEAR, 10, 1_000, 1), count);
        double[] exponential = gaps(new Arrivals(Ramp.EXPONENTIAL, 10, 1_000, 1), count);
        for (double[] gaps : List.of(linear, exponential)) {
            assertEquals(1, 1_000 * mean(Arrays.copyOfRange(gaps, 9_900, 10_000)), 0.4);
        }
        // Halfway the one has the arithmetic mean of the rates, the other the geometric.
        assertEquals(1, 505 * mean(Arrays.copyOfRange(linear, 4_500, 5_500)), 0.2);
        assertEquals(1, 100 * mean(Arrays.copyOfRange(exponential, 4_500, 5_500)), 0.2);
    }

    @Test
    void aSeedGivesTheSameRequests() {
        Arrivals arrivals = Arrivals.at(3, 2);
        Lengths lengths = new Lengths.Uniform(1, 1_000);
        List<PlannedRequest> first = arrivals.draw(20, lengths, lengths, new SplittableRandom(1));
        assertEquals(first, arrivals.draw(20, lengths, lengths, new SplittableRandom(1)));
        assertTrue(!first.equals(arrivals.draw(20, lengths, lengths, new SplittableRandom(2))));
    }

    @Test
    void wrongNumbersAreRefused() {
        assertEquals(
                "requestRate must be > 0, got NaN",
                assertThrows(IllegalArgumentException.class, () -> Arrivals.at(Double.NaN, 1))
                        .getMessage());
        assertEquals(
                "burstiness must be > 0 and finite, got 0.0",
                assertThrows(IllegalArgumentException.class, () -> Arrivals.at(1, 0))
                        .getMessage());
    }
}
