package io.github.loomtorch.cli;

import picocli.CommandLine.Option;

/** Number of runs and batch size of a benchmark. */
final class RunOptions {
    @Option(names = "--runs", paramLabel = "N", description = "Times to run all requests (default: ${DEFAULT-VALUE}).")
    private int runs;

    @Option(names = "--batch-size", paramLabel = "N", description = "Requests in a batch (default: ${DEFAULT-VALUE}).")
    private int batchSize;

    RunOptions(int runs, int batchSize) {
        this.runs = runs;
        this.batchSize = batchSize;
    }

    int runs() {
        Checks.atLeast(1, runs, "runs");
        return runs;
    }

    int batchSize() {
        Checks.atLeast(1, batchSize, "batchSize");
        return batchSize;
    }
}
