package io.github.loomtorch.testing;

/** Seeds of tests whose inputs are new in each run. */
public final class Seeds {
    private Seeds() {}

    /**
     * A new seed, printed; or the value of the system property {@code loomtorch.seed}, to repeat a run.
     *
     * @param test that uses it, for the output
     */
    public static long next(String test) {
        long seed = Long.getLong("loomtorch.seed", System.nanoTime());
        System.out.println(test + ": repeat with -Dloomtorch.seed=" + seed);
        return seed;
    }
}
