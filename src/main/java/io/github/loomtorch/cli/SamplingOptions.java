package io.github.loomtorch.cli;

import io.github.loomtorch.request.SamplingParams;
import java.util.List;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** How tokens are chosen, and when to end. */
final class SamplingOptions {
    @Option(
            names = "--max-new-tokens",
            paramLabel = "N",
            description = "Most tokens to generate (default: ${DEFAULT-VALUE}).")
    private int maxNewTokens = 50;

    @Mixin
    private DistributionOptions distribution;

    @Option(
            names = "--seed",
            paramLabel = "S",
            description = "Seed of the random numbers (default: a new one each time).")
    private Long seed;

    @Option(
            names = "--stop",
            paramLabel = "TEXT",
            description = "End at this text, which is not part of the output. May be given several times.")
    private List<String> stop = List.of();

    @Option(names = "--ignore-eos", description = "Go on after an end-of-text token.")
    private boolean ignoreEos;

    /** As {@link DistributionOptions#orElse}. */
    SamplingParams.Builder orElse(SamplingParams preset) {
        return complete(distribution.orElse(preset));
    }

    /** As {@link DistributionOptions#over}. */
    SamplingParams.Builder over(SamplingParams defaults) {
        return complete(distribution.over(defaults));
    }

    private SamplingParams.Builder complete(SamplingParams.Builder sampling) {
        if (seed != null) {
            sampling.seed(seed);
        }
        return sampling.maxNewTokens(maxNewTokens).stopStrings(stop).ignoreEos(ignoreEos);
    }
}
