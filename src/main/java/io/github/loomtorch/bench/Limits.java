package io.github.loomtorch.bench;

import java.util.OptionalDouble;

/**
 * Limits that a request must keep to count as goodput. Immutable.
 *
 * @param ttftMillis longest TTFT in milliseconds, if limited
 * @param tpotMillis longest TPOT in milliseconds, if limited
 * @param e2elMillis longest E2EL in milliseconds, if limited
 */
public record Limits(OptionalDouble ttftMillis, OptionalDouble tpotMillis, OptionalDouble e2elMillis) {
    /** All completed requests count. */
    public static final Limits NONE =
            new Limits(OptionalDouble.empty(), OptionalDouble.empty(), OptionalDouble.empty());

    boolean areKeptBy(RequestTrace trace) {
        return trace.ttftNanos() / 1e6 <= ttftMillis.orElse(Double.MAX_VALUE)
                && trace.tpotNanos() / 1e6 <= tpotMillis.orElse(Double.MAX_VALUE)
                && trace.e2elNanos() / 1e6 <= e2elMillis.orElse(Double.MAX_VALUE);
    }
}
