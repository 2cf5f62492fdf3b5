package io.github.loomtorch.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.random.RandomGenerator;

/**
 * A process by which requests arrive: gaps with a gamma distribution, whose mean is one over the rate. Immutable.
 *
 * @param ramp how the rate goes from the start to the end
 * @param startRate requests per second at the first request, &gt; 0; infinite for all at once
 * @param endRate requests per second at the last request, &gt; 0
 * @param burstiness shape of the gamma distribution, &gt; 0: 1 is a Poisson process, less comes in bursts, more evenly
 */
public record Arrivals(Ramp ramp, double startRate, double endRate, double burstiness) {

    /** How a rate changes from request to request. */
    public enum Ramp {
        /** By the same difference. */
        LINEAR,
        /** By the same factor. */
        EXPONENTIAL
    }

    /**
     * Validates.
     *
     * @throws IllegalArgumentException naming the value that is out of its range
     */
    public Arrivals {
        if (!(startRate > 0)) {
            throw new IllegalArgumentException("requestRate must be > 0, got " + startRate);
        }
        if (!(endRate > 0)) {
            throw new IllegalArgumentException("requestRate must be > 0, got " + endRate);
        }
        if (!(burstiness > 0 && burstiness < Double.POSITIVE_INFINITY)) {
            throw new IllegalArgumentException("burstiness must be > 0 and finite, got " + burstiness);
        }
    }

    /**
     * Arrivals at one rate.
     *
     * @param rate requests per second, &gt; 0; infinite for all at once
     * @param burstiness &gt; 0
     * @return the process
     */
    public static Arrivals at(double rate, double burstiness) {
        return new Arrivals(Ramp.LINEAR, rate, rate, burstiness);
    }

    /**
     * Draws requests; the first arrives at once.
     *
     * @param count how many
     * @param input lengths of the prompts
     * @param output how many tokens to generate
     * @param random source
     * @return requests, arrivals ascending
     */
    public List<PlannedRequest> draw(int count, Lengths input, Lengths output, RandomGenerator random) {
        List<PlannedRequest> requests = new ArrayList<>();
        double seconds = 0;
        for (int i = 0; i < count; i++) {
            requests.add(new PlannedRequest(seconds, input.draw(random), output.draw(random)));
            seconds += gamma(burstiness, random) / burstiness / rate((double) i / Math.max(1, count - 2));
        }
        return requests;
    }

    private double rate(double progress) {
        if (startRate == endRate) {
            return startRate;
        }
        return switch (ramp) {
            case LINEAR -> startRate + (endRate - startRate) * progress;
            case EXPONENTIAL -> startRate * Math.pow(endRate / startRate, progress);
        };
    }

    /** Marsaglia and Tsang, A Simple Method for Generating Gamma Variables, https://doi.org/10.1145/358407.358414 */
    private static double gamma(double shape, RandomGenerator random) {
        if (shape == 1) {
            return random.nextExponential();
        }
        if (shape < 1) {
            return gamma(shape + 1, random) * Math.pow(random.nextDouble(), 1 / shape);
        }
        double d = shape - 1.0 / 3;
        double c = 1 / Math.sqrt(9 * d);
        while (true) {
            double x = random.nextGaussian();
            double v = Math.pow(1 + c * x, 3);
            if (v > 0 && Math.log(random.nextDouble()) < 0.5 * x * x + d - d * v + d * Math.log(v)) {
                return d * v;
            }
        }
    }
}
