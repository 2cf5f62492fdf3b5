package io.github.loomtorch.cli;

import java.time.Duration;
import picocli.CommandLine.Option;

/** How long the asynchronous naive scheduler waits for a batch to fill. */
final class TimeoutOptions {
    @Option(
            names = "--timeout",
            paramLabel = "SECONDS",
            description =
                    "Longest that async-naive lets a request wait for its batch to fill (default: ${DEFAULT-VALUE}).")
    private double timeout;

    TimeoutOptions(double seconds) {
        timeout = seconds;
    }

    Duration timeout() {
        if (!(timeout >= 0 && timeout <= 1e9)) {
            throw new IllegalArgumentException("timeout must be in [0, 1e9] seconds, got " + timeout);
        }
        return Duration.ofNanos((long) (timeout * 1e9));
    }

    double seconds() {
        return timeout;
    }
}
