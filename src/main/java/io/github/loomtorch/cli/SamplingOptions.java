package io.github.loomtorch.cli;

import io.github.loomtorch.request.SamplingParams;
import java.util.List;
import java.util.Set;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** How tokens are sampled, and when a generation ends. */
final class SamplingOptions {
    @Option(
            names = {"-l", "--max-new-tokens"},
            paramLabel = "N",
            description = "Most tokens to generate (default: ${DEFAULT-VALUE}).")
    private int maxNewTokens = SamplingParams.creative().maxNewTokens();

    @Mixin
    private DistributionOptions distribution;

    @Option(
            names = {"-s", "--seed"},
            paramLabel = "S",
            description = "Seed of the random numbers (default: a new one each time).")
    private Long seed;

    @Option(
            names = "--stop",
            paramLabel = "TEXT",
            description = "End at this text, which is not part of the output. May be given several times.")
    private List<String> stop = List.of();

    @Option(
            names = "--stop-ids",
            paramLabel = "IDS",
            split = ",",
            description = "End at one of these token ids, separated by commas, as at an end-of-text token.")
    private Set<Integer> stopIds = Set.of();

    @Option(names = "--ignore-eos", description = "Go on after an end-of-text token.")
    private boolean ignoreEos;

    /** The ranges are checked when it is built. */
    SamplingParams.Builder builder() {
        SamplingParams.Builder sampling = distribution
                .builder()
                .maxNewTokens(maxNewTokens)
                .stopStrings(stop)
                .stopTokenIds(stopIds)
                .ignoreEos(ignoreEos);
        return seed == null ? sampling : sampling.seed(seed);
    }
}
