package io.github.loomtorch.cli;

import io.github.loomtorch.request.SamplingParams;
import picocli.CommandLine.Option;

/**
 * Which tokens are drawn from. An option that is not given has the value of {@link SamplingParams#creative()}, whatever
 * other options are given.
 */
final class DistributionOptions {
    @Option(
            names = "--temperature",
            paramLabel = "T",
            description = "Divides the logits; 0 takes the most probable token each time (default: ${DEFAULT-VALUE}).")
    private float temperature = SamplingParams.creative().temperature();

    @Option(
            names = "--top-k",
            paramLabel = "K",
            description = "Draw from the K most probable tokens; 0: from all (default: ${DEFAULT-VALUE}).")
    private int topK = SamplingParams.creative().topK();

    @Option(
            names = "--top-p",
            paramLabel = "P",
            description =
                    "Draw from the most probable tokens that together reach this probability; 1: from all (default: ${DEFAULT-VALUE}).")
    private float topP = SamplingParams.creative().topP();

    @Option(
            names = "--min-p",
            paramLabel = "P",
            description =
                    "Draw from tokens at least this fraction as probable as the most probable; 0: from all (default: ${DEFAULT-VALUE}).")
    private float minP = SamplingParams.creative().minP();

    /** The ranges are checked when it is built. */
    SamplingParams.Builder builder() {
        return SamplingParams.builder()
                .temperature(temperature)
                .topK(topK)
                .topP(topP)
                .minP(minP);
    }
}
