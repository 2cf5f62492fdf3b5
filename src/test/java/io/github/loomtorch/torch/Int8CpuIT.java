package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.torch.cpu.CpuGpt2;
import io.github.loomtorch.torch.cpu.CpuKernels;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.Gpt2Module;
import io.github.loomtorch.torch.program.TorchScriptGpt2;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Weights of 8 bits on the CPU, with the embedded model. */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class Int8CpuIT {
    private static final Path TALES = Path.of("models/tales");
    private static final ModelOptions INT8 = ModelOptions.builder()
            .device("cpu")
            .maxBatchSize(8)
            .int8Weights(true)
            .build();

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void changeThePerplexityByLessThanHalfAPercent(boolean kernels) throws IOException {
        System.setProperty(CpuKernels.PROPERTY, String.valueOf(kernels));
        try {
            double exact = perplexity(
                    INT8.toBuilder().int8Weights(false).dtype(Dtype.FLOAT32).build());
            double quantized = perplexity(INT8);
            System.out.printf("perplexity in float32: %.3f, with int8 weights: %.3f%n", exact, quantized);
            assertNotEquals(exact, quantized);
            assertEquals(1, quantized / exact, 0.005);
        } finally {
            System.clearProperty(CpuKernels.PROPERTY);
        }
    }

    @Test
    void runByTheKernelsUnlessAPropertySaysOtherwise() throws IOException {
        try (Gpt2 model = Gpt2Loader.load(ModelDirectory.open(TALES), INT8)) {
            assertInstanceOf(CpuGpt2.class, model);
        }
        System.setProperty(CpuKernels.PROPERTY, "false");
        try (Gpt2 model = Gpt2Loader.load(ModelDirectory.open(TALES), INT8)) {
            assertInstanceOf(TorchScriptGpt2.class, model);
        } finally {
            System.clearProperty(CpuKernels.PROPERTY);
        }
    }

    private static double perplexity(ModelOptions options) throws IOException {
        try (TextGenerator tales = TextGenerator.builder(TALES).model(options).build()) {
            return tales.score(Files.readString(Path.of("src/test/resources/prose.txt")), ScoreOptions.defaults())
                    .perplexity();
        }
    }

    /** The head has one linear layer: bits of a row's logits whatever rows are beside it. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 5, 8, 17, 64, 100})
    void computeARowBitForBitWhateverIsBesideIt(int rows) throws IOException {
        TorchScriptProgram program =
                new TorchScriptProgram(Gpt2Module.open(ModelDirectory.open(TALES), false), INT8, 0);
        try (program;
                TensorScope scope = new TensorScope()) {
            Tensor hidden = torch.randn(128, program.config().hiddenSize());
            hidden.select(0, 127).fill_(new Scalar(1e3)); // would change a scale for all rows
            Tensor together = program.head(hidden);
            assertTrue(program.head(hidden.narrow(0, 0, rows)).equal(together.narrow(0, 0, rows)));
        }
    }

    @Test
    void giveBitEqualLogprobsAloneAndInABatchIfDeterministic() throws IOException {
        SamplingParams sampling = SamplingParams.creative().toBuilder()
                .seed(1)
                .maxNewTokens(8)
                .topLogprobs(5)
                .build();
        List<GenerationRequest> requests = IntStream.rangeClosed(1, 6)
                .mapToObj(n -> new GenerationRequest(
                        IntStream.range(0, 5 * n).map(i -> 300 + 7 * i).toArray(), sampling))
                .toList();
        EngineOptions uncached = EngineOptions.builder().prefixCaching(false).build();
        ModelOptions options = INT8.toBuilder().deterministic(true).build();
        try (Gpt2 model = Gpt2Loader.load(ModelDirectory.open(TALES), options)) {
            assertEquals(
                    Generations.alone(model, uncached, requests).stream()
                            .map(Completion::logprobs)
                            .toList(),
                    Generations.together(model, uncached, requests).stream()
                            .map(Completion::logprobs)
                            .toList());
        }
    }

    @Test
    void needFloat32() {
        ModelOptions options = INT8.toBuilder().dtype(Dtype.BFLOAT16).build();
        TorchException e =
                assertThrows(TorchException.class, () -> Gpt2Loader.load(ModelDirectory.open(TALES), options));
        assertEquals("int8Weights on a CPU needs dtype float32 or auto, got BFLOAT16", e.getMessage());
    }
}
