package io.github.loomtorch.cli;

import io.github.loomtorch.request.SamplingParams;
import java.util.Map;
import picocli.CommandLine.Option;

/**
 * Which tokens are drawn from. An option that is not given has the value of {@link SamplingParams#creative()}, whatever
 * other options are given.
 */
final class DistributionOptions {
    @Option(
            names = {"-t", "--temperature"},
            paramLabel = "T",
            description = "Divides the logits; 0 takes the most probable token each time (default: ${DEFAULT-VALUE}).")
    private float temperature = SamplingParams.creative().temperature();

    @Option(
            names = {"-k", "--top-k"},
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

    @Option(
            names = "--repetition-penalty",
            paramLabel = "F",
            description =
                    "Divides the positive logits, and multiplies the negative ones, of tokens in the prompt or the"
                            + " output; 1: off (default: ${DEFAULT-VALUE}).")
    private float repetitionPenalty = SamplingParams.creative().repetitionPenalty();

    @Option(
            names = "--presence-penalty",
            paramLabel = "F",
            description = "Subtracted from the logits of tokens in the output (default: ${DEFAULT-VALUE}).")
    private float presencePenalty = SamplingParams.creative().presencePenalty();

    @Option(
            names = "--frequency-penalty",
            paramLabel = "F",
            description = "Subtracted for each time that a token is in the output (default: ${DEFAULT-VALUE}).")
    private float frequencyPenalty = SamplingParams.creative().frequencyPenalty();

    @Option(
            names = "--logit-bias",
            paramLabel = "ID=BIAS",
            split = ",",
            description = "Added to the logit of a token id; -Infinity bans it. Several are separated by commas.")
    private Map<Integer, Float> logitBias = Map.of();

    /** The ranges are checked when it is built. */
    SamplingParams.Builder builder() {
        return SamplingParams.builder()
                .temperature(temperature)
                .topK(topK)
                .topP(topP)
                .minP(minP)
                .repetitionPenalty(repetitionPenalty)
                .presencePenalty(presencePenalty)
                .frequencyPenalty(frequencyPenalty)
                .logitBias(logitBias);
    }
}
