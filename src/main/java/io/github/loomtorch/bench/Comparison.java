package io.github.loomtorch.bench;

import io.github.loomtorch.bench.ResultFile.Result;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;

/** Compares the results of two measurements of one benchmark. */
public final class Comparison {
    /** What is compared unless metrics are named, as far as the results have it. */
    private static final List<String> DEFAULT_METRICS = List.of(
            "request_throughput",
            "output_throughput",
            "median_ttft_ms",
            "p99_ttft_ms",
            "median_tpot_ms",
            "median_itl_ms",
            "p99_itl_ms",
            "median_e2el_ms");

    private static final Pattern MORE_IS_BETTER =
            Pattern.compile("throughput|goodput|tflop|share_of|tb_per_s|completed");

    /** Quantile 97.5% of Student's t for 1 to 30 degrees of freedom; 1.96 beyond. */
    private static final double[] STUDENT_T = {
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
        2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042
    };

    private Comparison() {}

    /**
     * Bounds between which a ratio lies with a probability of 95%. Immutable.
     *
     * @param low bound
     * @param high bound
     */
    public record Interval(double low, double high) {
        boolean contains(double value) {
            return low <= value && value <= high;
        }
    }

    /**
     * One number of one result in both files. Immutable.
     *
     * @param result name of the result
     * @param metric name of the number
     * @param before value in the first file
     * @param after value in the second file
     * @param interval of the ratio, if both files have at least two runs
     */
    public record Line(String result, String metric, double before, double after, Optional<Interval> interval) {
        /**
         * After over before.
         *
         * @return not finite if {@code before} is 0
         */
        public double ratio() {
            return after / before;
        }

        /**
         * Whether the second file is worse by more than a factor, and not only by chance as far as that is known.
         *
         * @param factor &gt;= 1
         * @return whether it is
         */
        public boolean isWorseThan(double factor) {
            double worse = MORE_IS_BETTER.matcher(metric).find() ? before / after : after / before;
            boolean isChance = interval.isPresent() && interval.get().contains(1);
            return worse > factor && !isChance;
        }
    }

    /**
     * Compares what two files have in common.
     *
     * @param before the first
     * @param after the second
     * @param metrics names; empty for those that matter most
     * @return lines, by result and metric; at least one
     * @throws IOException if the files are of different benchmarks or workloads, have no result in common, or a named
     *     metric is not in both
     */
    public static List<Line> of(ResultFile before, ResultFile after, List<String> metrics) throws IOException {
        requireEqual("benchmark", before.benchmark(), after.benchmark());
        Set<String> names = new LinkedHashSet<>(before.workload().keySet());
        names.addAll(after.workload().keySet());
        for (String name : names) {
            requireEqual(
                    name,
                    Objects.requireNonNullElse(before.workload().get(name), "nothing"),
                    Objects.requireNonNullElse(after.workload().get(name), "nothing"));
        }
        List<Line> lines = new ArrayList<>();
        for (Pair pair : pairs(before, after)) {
            for (String metric : metrics(pair, metrics)) {
                lines.add(line(pair, metric));
            }
        }
        return lines;
    }

    private record Pair(Result before, Result after) {}

    private static void requireEqual(String name, String before, String after) throws IOException {
        if (!before.equals(after)) {
            throw new IOException(
                    "comparison failed: " + name + " must be the same in both files, got " + before + " and " + after);
        }
    }

    /** Results with the same parameters; the only result of each file may have others. */
    private static List<Pair> pairs(ResultFile before, ResultFile after) throws IOException {
        if (before.results().size() == 1 && after.results().size() == 1) {
            return List.of(new Pair(before.results().getFirst(), after.results().getFirst()));
        }
        List<Pair> pairs = new ArrayList<>();
        for (Result first : before.results()) {
            for (Result second : after.results()) {
                if (first.parameters().equals(second.parameters())) {
                    pairs.add(new Pair(first, second));
                }
            }
        }
        if (pairs.isEmpty()) {
            throw new IOException("comparison failed: the files must have a result in common, got " + names(before)
                    + " and " + names(after));
        }
        return pairs;
    }

    private static String names(ResultFile file) {
        return String.join(", ", file.results().stream().map(Result::name).toList());
    }

    private static List<String> metrics(Pair pair, List<String> wanted) throws IOException {
        Set<String> common = new LinkedHashSet<>(pair.before.metrics().keySet());
        common.retainAll(pair.after.metrics().keySet());
        for (String metric : wanted) {
            if (!common.contains(metric)) {
                throw new IOException("comparison failed: metrics must be in both files, got " + metric + "; both have "
                        + String.join(", ", common));
            }
        }
        if (!wanted.isEmpty()) {
            return wanted;
        }
        List<String> most = DEFAULT_METRICS.stream().filter(common::contains).toList();
        return most.size() > 1 ? most : List.copyOf(common);
    }

    private static Line line(Pair pair, String metric) {
        double[] before = values(pair.before, metric);
        double[] after = values(pair.after, metric);
        String name = pair.before.name().equals(pair.after.name())
                ? pair.before.name()
                : pair.before.name() + " -> " + pair.after.name();
        return new Line(
                name,
                metric,
                Objects.requireNonNull(pair.before.metrics().get(metric)),
                Objects.requireNonNull(pair.after.metrics().get(metric)),
                interval(before, after));
    }

    private static double[] values(Result result, String metric) {
        return result.runs().stream()
                .map(run -> run.get(metric))
                .filter(Objects::nonNull)
                .mapToDouble(Double::doubleValue)
                .toArray();
    }

    /** Of the logarithms, by Welch's t-test: a ratio of times is the difference of their logarithms. */
    static Optional<Interval> interval(double[] before, double[] after) {
        if (before.length < 2 || after.length < 2 || hasNoLogarithm(before) || hasNoLogarithm(after)) {
            return Optional.empty();
        }
        double first = variance(before) / before.length;
        double second = variance(after) / after.length;
        double difference = mean(after) - mean(before);
        double error = Math.sqrt(first + second);
        if (error == 0) {
            return Optional.of(new Interval(Math.exp(difference), Math.exp(difference)));
        }
        double freedom = Math.pow(first + second, 2)
                / (first * first / (before.length - 1) + second * second / (after.length - 1));
        int rounded = (int) Math.floor(freedom + 1e-9);
        double t = rounded > STUDENT_T.length ? 1.96 : STUDENT_T[Math.max(1, rounded) - 1];
        return Optional.of(new Interval(Math.exp(difference - t * error), Math.exp(difference + t * error)));
    }

    private static boolean hasNoLogarithm(double[] values) {
        for (double value : values) {
            if (!(value > 0)) {
                return true;
            }
        }
        return false;
    }

    private static double mean(double[] values) {
        double sum = 0;
        for (double value : values) {
            sum += Math.log(value);
        }
        return sum / values.length;
    }

    private static double variance(double[] values) {
        double mean = mean(values);
        double sum = 0;
        for (double value : values) {
            sum += Math.pow(Math.log(value) - mean, 2);
        }
        return sum / (values.length - 1);
    }

    /**
     * What else differs, which may be the reason for a difference or what was to be measured.
     *
     * @param before the first
     * @param after the second
     * @return sentences such as {@code dtype: float32 -> float16}
     */
    public static List<String> differences(ResultFile before, ResultFile after) {
        List<String> differences = new ArrayList<>();
        addDifferences(differences, before.machine(), after.machine());
        addDifferences(differences, before.versions(), after.versions());
        addDifferences(differences, before.settings(), after.settings());
        if (!before.seed().equals(after.seed())) {
            differences.add("seed: " + seed(before) + " -> " + seed(after));
        }
        return differences;
    }

    private static String seed(ResultFile file) {
        return file.seed().isPresent() ? "" + file.seed().getAsLong() : "none";
    }

    private static void addDifferences(
            List<String> differences, Map<String, String> before, Map<String, String> after) {
        Set<String> names = new LinkedHashSet<>(before.keySet());
        names.addAll(after.keySet());
        for (String name : names) {
            if (!Objects.equals(before.get(name), after.get(name))) {
                differences.add(name + ": " + Objects.requireNonNullElse(before.get(name), "none") + " -> "
                        + Objects.requireNonNullElse(after.get(name), "none"));
            }
        }
    }
}
