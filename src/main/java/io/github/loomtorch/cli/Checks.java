package io.github.loomtorch.cli;

/** Checks options that no part of the library checks. */
final class Checks {
    private Checks() {}

    static void atLeast(int least, int value, String name) {
        if (value < least) {
            throw new IllegalArgumentException(name + " must be >= " + least + ", got " + value);
        }
    }
}
