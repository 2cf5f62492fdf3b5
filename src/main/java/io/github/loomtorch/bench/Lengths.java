package io.github.loomtorch.bench;

import java.util.random.RandomGenerator;

/** How many tokens a prompt or an output has. Immutable. */
public sealed interface Lengths {

    /**
     * The same for every request.
     *
     * @param tokens &gt;= 1
     */
    record Fixed(int tokens) implements Lengths {
        /** Validates. */
        public Fixed {
            atLeast(1, tokens, "length");
        }

        @Override
        public int draw(RandomGenerator random) {
            return tokens;
        }

        @Override
        public String toString() {
            return "" + tokens;
        }
    }

    /**
     * All lengths between two bounds equally likely.
     *
     * @param min &gt;= 1
     * @param max &gt;= {@code min}
     */
    record Uniform(int min, int max) implements Lengths {
        /** Validates. */
        public Uniform {
            atLeast(1, min, "minimum");
            atLeast(min, max, "maximum");
        }

        @Override
        public int draw(RandomGenerator random) {
            return (int) random.nextLong(min, max + 1L);
        }

        @Override
        public String toString() {
            return "uniform:" + min + ":" + max;
        }
    }

    /**
     * Normally distributed, rounded, and at least 1.
     *
     * @param mean &gt;= 1
     * @param standardDeviation &gt;= 0
     */
    record Normal(double mean, double standardDeviation) implements Lengths {
        /** Validates. */
        public Normal {
            if (!(mean >= 1 && mean <= 1e9)) {
                throw new IllegalArgumentException("mean must be in [1, 1e9], got " + mean);
            }
            if (!(standardDeviation >= 0 && standardDeviation <= 1e9)) {
                throw new IllegalArgumentException("standard deviation must be in [0, 1e9], got " + standardDeviation);
            }
        }

        @Override
        public int draw(RandomGenerator random) {
            return (int) Math.max(1, Math.round(random.nextGaussian(mean, standardDeviation)));
        }

        @Override
        public String toString() {
            return "normal:" + mean + ":" + standardDeviation;
        }
    }

    private static void atLeast(int least, int value, String name) {
        if (value < least) {
            throw new IllegalArgumentException(name + " must be >= " + least + ", got " + value);
        }
    }

    /**
     * A length for one request.
     *
     * @param random source
     * @return tokens, &gt;= 1
     */
    int draw(RandomGenerator random);

    /**
     * Reads the form that {@code toString} writes.
     *
     * @param text {@code N}, {@code uniform:MIN:MAX} or {@code normal:MEAN:SD}
     * @return the lengths
     * @throws IllegalArgumentException if it has another form, or a number is out of its range
     */
    static Lengths parse(String text) {
        String[] parts = text.split(":", -1);
        try {
            if (parts.length == 1) {
                return new Fixed(Integer.parseInt(text));
            }
            if (parts.length == 3 && parts[0].equals("uniform")) {
                return new Uniform(Integer.parseInt(parts[1]), Integer.parseInt(parts[2]));
            }
            if (parts.length == 3 && parts[0].equals("normal")) {
                return new Normal(Double.parseDouble(parts[1]), Double.parseDouble(parts[2]));
            }
        } catch (NumberFormatException e) {
            // Falls through to the same sentence.
        }
        throw new IllegalArgumentException("expected N, uniform:MIN:MAX or normal:MEAN:SD, got '" + text + "'");
    }
}
