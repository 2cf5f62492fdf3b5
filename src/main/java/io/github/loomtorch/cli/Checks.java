package io.github.loomtorch.cli;

import java.time.Duration;

/** Checks options that no part of the library checks. */
final class Checks {
    private Checks() {}

    static void atLeast(int least, int value, String name) {
        if (value < least) {
            throw new IllegalArgumentException(name + " must be >= " + least + ", got " + value);
        }
    }

    static Duration seconds(double value, String name) {
        if (!(value >= 0 && value <= 1e9)) {
            throw new IllegalArgumentException(name + " must be in [0, 1e9] seconds, got " + value);
        }
        return Duration.ofNanos((long) (value * 1e9));
    }
}
