package io.github.loomtorch.bench;

import java.util.Arrays;

/**
 * Mean and percentiles of many values. Immutable.
 *
 * @param mean their sum divided by their number
 * @param p50 the median
 * @param p99 99 of 100 values are not above it
 */
public record Distribution(double mean, double p50, double p99) {

    /**
     * Summarises values.
     *
     * @param values in any order
     * @return their distribution; all zero if there are none
     */
    public static Distribution of(double... values) {
        if (values.length == 0) {
            return new Distribution(0, 0, 0);
        }
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        return new Distribution(
                Arrays.stream(sorted).sum() / sorted.length, percentile(sorted, 0.5), percentile(sorted, 0.99));
    }

    /** Linear between the two nearest values, as numpy's default. */
    private static double percentile(double[] sorted, double fraction) {
        double position = fraction * (sorted.length - 1);
        int below = (int) position;
        double low = sorted[below];
        double high = sorted[Math.min(below + 1, sorted.length - 1)];
        return low + (position - below) * (high - low);
    }
}
