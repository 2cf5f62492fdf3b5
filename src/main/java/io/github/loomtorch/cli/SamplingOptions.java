package io.github.loomtorch.cli;

import io.github.loomtorch.request.SamplingParams;
import java.util.List;
import java.util.stream.Stream;
import picocli.CommandLine.Option;

/** How tokens are chosen. */
final class SamplingOptions {
    @Option(names = "--max-new-tokens", paramLabel = "N", description = "Most tokens to generate (default: 50).")
    private Integer maxNewTokens;

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

    @Option(names = "--seed", paramLabel = "S", description = "Seed of the random numbers (default: a new one each time).")
    private Long seed;

    @Option(
            names = "--stop",
            paramLabel = "TEXT",
            description = "End at this text, which is not part of the output. May be given several times.")
    private List<String> stop = List.of();

    @Option(names = "--ignore-eos", description = "Go on after an end-of-text token.")
    private boolean ignoreEos;

    /** Whether an option is given that shapes the distribution that tokens are drawn from. */
    boolean shapesDistribution() {
        return Stream.of(temperature, topK, topP, minP).anyMatch(option -> option != null);
    }

    /** The given options over others; the ranges are checked when it is built. */
    SamplingParams.Builder over(SamplingParams defaults) {
        SamplingParams.Builder sampling = defaults.toBuilder().stopStrings(stop).ignoreEos(ignoreEos);
        if (maxNewTokens != null) {
            sampling.maxNewTokens(maxNewTokens);
        }
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
        if (seed != null) {
            sampling.seed(seed);
        }
        return sampling;
    }
}
