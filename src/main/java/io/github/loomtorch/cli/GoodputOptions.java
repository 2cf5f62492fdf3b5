package io.github.loomtorch.cli;

import io.github.loomtorch.bench.Limits;
import java.util.OptionalDouble;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** What a request must keep to count for goodput. */
final class GoodputOptions {
    @Option(
            names = "--goodput-ttft-ms",
            paramLabel = "MS",
            description = "A request counts for goodput up to this TTFT.")
    private @Nullable Double goodputTtftMs;

    @Option(
            names = "--goodput-tpot-ms",
            paramLabel = "MS",
            description = "A request counts for goodput up to this TPOT.")
    private @Nullable Double goodputTpotMs;

    @Option(
            names = "--goodput-e2el-ms",
            paramLabel = "MS",
            description = "A request counts for goodput up to this E2EL.")
    private @Nullable Double goodputE2elMs;

    Limits limits() {
        return new Limits(
                limit(goodputTtftMs, "goodputTtftMs"),
                limit(goodputTpotMs, "goodputTpotMs"),
                limit(goodputE2elMs, "goodputE2elMs"));
    }

    private static OptionalDouble limit(@Nullable Double millis, String name) {
        if (millis != null && !(millis > 0)) {
            throw new IllegalArgumentException(name + " must be > 0, got " + millis);
        }
        return millis == null ? OptionalDouble.empty() : OptionalDouble.of(millis);
    }
}
