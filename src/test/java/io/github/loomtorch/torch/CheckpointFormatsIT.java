package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.testing.Checkpoints;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Checkpoints of every format and activation, run by libtorch, against the log-probabilities of Transformers. */
@Timeout(120)
class CheckpointFormatsIT {
    @TempDir
    private Path temporary;

    @TestFactory
    Stream<DynamicTest> everyCheckpointGivesTheLogprobsOfTransformersOrNanoGpt() throws IOException {
        return Checkpoints.expected().entrySet().stream()
                .map(expected -> DynamicTest.dynamicTest(expected.getKey(), () -> {
                    double[] logits = expected.getValue();
                    double logSum =
                            Math.log(Arrays.stream(logits).map(Math::exp).sum());
                    TokenLogprobs actual = run(Checkpoints.directory(expected.getKey(), temporary));
                    assertEquals(SamplingParams.MAX_TOP_LOGPROBS, actual.top().size());
                    for (TokenLogprobs.Entry entry : actual.top()) {
                        assertEquals(logits[entry.tokenId()] - logSum, entry.logprob(), 1e-4);
                    }
                }));
    }

    private static TokenLogprobs run(Path directory) throws IOException {
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(1)
                .build();
        SamplingParams sampling = SamplingParams.greedy(1).toBuilder()
                .topLogprobs(SamplingParams.MAX_TOP_LOGPROBS)
                .build();
        try (Gpt2 gpt2 = Gpt2Loader.load(ModelDirectory.open(directory), options)) {
            List<GenerationRequest> requests = List.of(new GenerationRequest(Checkpoints.PROMPT, sampling));
            return Generations.alone(gpt2, EngineOptions.defaults(), requests)
                    .get(0)
                    .logprobs()
                    .get(0);
        }
    }
}
