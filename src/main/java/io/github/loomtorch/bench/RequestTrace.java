package io.github.loomtorch.bench;

/**
 * What a client saw of one finished request, in nanoseconds of {@link System#nanoTime}. The array is shared, do not
 * modify it.
 *
 * @param arrivalNanos when it was to be submitted; if that took longer, the delay counts
 * @param tokenNanos when each output token was there; at least one
 */
public record RequestTrace(long arrivalNanos, long[] tokenNanos) {

    /**
     * Time to first token.
     *
     * @return nanoseconds
     */
    public long ttftNanos() {
        return tokenNanos[0] - arrivalNanos;
    }

    /**
     * End-to-end latency.
     *
     * @return nanoseconds
     */
    public long e2elNanos() {
        return tokenNanos[tokenNanos.length - 1] - arrivalNanos;
    }

    /**
     * Time per output token after the first.
     *
     * @return nanoseconds; 0 for a single token
     */
    public double tpotNanos() {
        return tokenNanos.length < 2 ? 0 : (double) (e2elNanos() - ttftNanos()) / (tokenNanos.length - 1);
    }
}
