package io.github.loomtorch.cli;

import io.github.loomtorch.request.SamplingParams;
import java.util.stream.Stream;
import picocli.CommandLine.Option;

/** Which tokens are drawn from. */
final class DistributionOptions {
    @Option(names = "--temperature", paramLabel = "T", description = "0 takes the most probable token each time.")
    private Float temperature;

    @Option(names = "--top-k", paramLabel = "K", description = "Draw from the K most probable tokens; 0: from all.")
    private Integer topK;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            description = "Draw from the most probable tokens that together reach this probability; 1: from all.")
    private Float topP;

    @Option(
            names = "--min-p",
            paramLabel = "P",
            description = "Draw from tokens at least this fraction as probable as the most probable; 0: from all.")
    private Float minP;

    /**
     * The given options, the others off; but if none is given, those of {@code preset}. The ranges are checked when it
     * is built.
     */
    SamplingParams.Builder orElse(SamplingParams preset) {
        boolean isAnyGiven = Stream.of(temperature, topK, topP, minP).anyMatch(option -> option != null);
        return over(isAnyGiven ? SamplingParams.builder().build() : preset);
    }

    /** The given options, the others from {@code defaults}. The ranges are checked when it is built. */
    SamplingParams.Builder over(SamplingParams defaults) {
        SamplingParams.Builder sampling = defaults.toBuilder();
        if (temperature != null) {
            sampling.temperature(temperature);
        }
        if (topK != null) {
            sampling.topK(topK);
        }
        if (topP != null) {
            sampling.topP(topP);
        }
        if (minP != null) {
            sampling.minP(minP);
        }
        return sampling;
    }
}
