package io.github.loomtorch.bench;

import java.util.Arrays;
import java.util.Map;

/**
 * Mean, standard deviation and percentiles of many values. Immutable.
 *
 * @param mean their sum divided by their number
 * @param std their standard deviation, of the values as a whole population
 * @param median half of the values are not above it
 * @param p90 90 of 100 values are not above it
 * @param p99 99 of 100 values are not above it
 * @param p999 999 of 1,000 values are not above it
 */
public record Distribution(double mean, double std, double median, double p90, double p99, double p999) {

    /**
     * Summarises values.
     *
     * @param values in any order
     * @return their distribution; all zero if there are none
     */
    public static Distribution of(double... values) {
        if (values.length == 0) {
            return new Distribution(0, 0, 0, 0, 0, 0);
        }
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        double mean = Arrays.stream(sorted).sum() / sorted.length;
        double squares = Arrays.stream(sorted)
                .map(value -> (value - mean) * (value - mean))
                .sum();
        return new Distribution(
                mean,
                Math.sqrt(squares / sorted.length),
                quantile(sorted, 0.5),
                quantile(sorted, 0.9),
                quantile(sorted, 0.99),
                quantile(sorted, 0.999));
    }

    /**
     * The value that a fraction of the values does not exceed, linear between the two nearest, as numpy's default.
     *
     * @param sorted at least one value, in ascending order
     * @param fraction in [0, 1]
     * @return the value
     */
    public static double quantile(double[] sorted, double fraction) {
        double position = fraction * (sorted.length - 1);
        int below = (int) position;
        double low = sorted[below];
        double high = sorted[Math.min(below + 1, sorted.length - 1)];
        return low + (position - below) * (high - low);
    }

    /** Adds the values under vLLM's names, such as {@code p99_ttft_ms}. */
    void addTo(Map<String, Double> metrics, String name) {
        metrics.put("mean_" + name, mean);
        metrics.put("std_" + name, std);
        metrics.put("median_" + name, median);
        metrics.put("p90_" + name, p90);
        metrics.put("p99_" + name, p99);
        metrics.put("p99.9_" + name, p999);
    }
}
