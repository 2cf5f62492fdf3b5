package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.testing.Gpu;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Candidates on a GPU: rows of one sequence that are sampled in one step. */
@Tag("gpu")
class CudaSpeculationIT {
    private static final Path TEXTS = Path.of("docs/benchmarks/texts");
    private static final int NEW_TOKENS = 100;

    private final AtomicInteger steps = new AtomicInteger();
    private final AtomicInteger accepted = new AtomicInteger();

    /** Greedy, drawn, and drawn with penalties, of each text. */
    private static List<GenerationRequest> requests() throws IOException {
        Tokenizer tokenizer = BpeTokenizer.load(Path.of("tokenizer"));
        List<GenerationRequest> requests = new ArrayList<>();
        for (String name : List.of("house-that-jack-built", "psalm-136", "ecclesiastes-3", "not-repeating")) {
            int[] prompt = tokenizer.encode(Files.readString(TEXTS.resolve(name + ".txt")));
            SamplingParams greedy = SamplingParams.greedy(NEW_TOKENS).toBuilder()
                    .topLogprobs(5)
                    .ignoreEos(true)
                    .build();
            requests.add(new GenerationRequest(prompt, greedy));
            SamplingParams.Builder drawn = greedy.toBuilder().temperature(0.4f).seed(3);
            requests.add(new GenerationRequest(prompt, drawn.build()));
            requests.add(new GenerationRequest(
                    prompt,
                    drawn.repetitionPenalty(1.02f)
                            .presencePenalty(0.1f)
                            .frequencyPenalty(0.01f)
                            .build()));
        }
        return requests;
    }

    private static List<GenerationRequest> speculating(List<GenerationRequest> requests) {
        return requests.stream()
                .map(each -> each.withSampling(
                        each.sampling().toBuilder().speculation(2, 4).build()))
                .toList();
    }

    private EngineOptions counting() {
        return EngineOptions.builder()
                .listener(step -> {
                    steps.incrementAndGet();
                    accepted.addAndGet(step.acceptedTokens());
                })
                .build();
    }

    private static Gpt2 tales(Dtype dtype, boolean deterministic) throws IOException {
        ModelOptions options = ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(dtype)
                .maxBatchSize(16)
                .kvCacheFraction(0.5)
                .deterministic(deterministic)
                .build();
        return Gpt2Loader.load(ModelDirectory.open(Path.of("models/tales")), options);
    }

    /** In float32, where no choice of these requests is a near tie. */
    @Test
    void theTextIsTheSameInFewerSteps() throws IOException {
        try (Gpt2 gpt2 = tales(Dtype.FLOAT32, false)) {
            List<Completion> without = Generations.alone(gpt2, counting(), requests());
            int stepsWithout = steps.getAndSet(0);
            List<Completion> with = Generations.alone(gpt2, counting(), speculating(requests()));
            int stepsWith = steps.getAndSet(0);
            List<Completion> crowd = Generations.together(gpt2, counting(), speculating(requests()));
            for (int i = 0; i < without.size(); i++) {
                assertArrayEquals(without.get(i).outputTokenIds(), with.get(i).outputTokenIds(), "request " + i);
                assertArrayEquals(without.get(i).outputTokenIds(), crowd.get(i).outputTokenIds(), "request " + i);
            }
            assertTrue(stepsWith < 0.9 * stepsWithout && accepted.get() > 100, stepsWith + " steps of " + stepsWithout);
        }
    }

    @ParameterizedTest
    @ValueSource(floats = {0.02f, 0.15f})
    void greedyTextsDifferInNearTiesOnly(float margin) throws IOException {
        try (Gpt2 gpt2 = tales(margin < 0.1f ? Dtype.FLOAT16 : Dtype.BFLOAT16, false)) {
            List<GenerationRequest> greedy = requests().stream()
                    .filter(each -> each.sampling().temperature() == 0)
                    .toList();
            List<Completion> without = Generations.alone(gpt2, counting(), greedy);
            List<Completion> with = Generations.alone(gpt2, counting(), speculating(greedy));
            for (int i = 0; i < without.size(); i++) {
                assertDiffersInNearTiesOnly(without.get(i), with.get(i), margin);
            }
            assertTrue(accepted.get() > 50, accepted + " accepted");
        }
    }

    private static void assertDiffersInNearTiesOnly(Completion expected, Completion got, float margin) {
        for (int i = 0; i < NEW_TOKENS; i++) {
            int wanted = expected.outputTokenIds()[i];
            if (got.outputTokenIds()[i] != wanted) {
                TokenLogprobs here = got.logprobs().get(i);
                float other = here.top().stream()
                        .filter(entry -> entry.tokenId() == wanted)
                        .findFirst()
                        .orElseThrow(() -> new AssertionError("token " + wanted + " is not among the top 5: " + here))
                        .logprob();
                assertTrue(here.logprob() - other <= margin, "place " + i + ": expected " + wanted + ", got " + here);
                return; // behind it the texts differ anyway
            }
        }
    }

    @Test
    void deterministicTextsAndLogprobsAreTheSameBitForBit() throws IOException {
        try (Gpt2 gpt2 = tales(Dtype.FLOAT16, true)) {
            List<Completion> without = Generations.alone(gpt2, counting(), requests());
            List<Completion> with = Generations.alone(gpt2, counting(), speculating(requests()));
            List<Completion> crowd = Generations.together(gpt2, counting(), speculating(requests()));
            for (int i = 0; i < without.size(); i++) {
                assertArrayEquals(without.get(i).outputTokenIds(), with.get(i).outputTokenIds(), "request " + i);
                assertEquals(without.get(i).logprobs(), with.get(i).logprobs(), "request " + i);
                assertArrayEquals(without.get(i).outputTokenIds(), crowd.get(i).outputTokenIds(), "request " + i);
                assertEquals(without.get(i).logprobs(), crowd.get(i).logprobs(), "request " + i);
            }
            assertTrue(accepted.get() > 200, accepted + " accepted"); // by the rows that a request alone leaves over
        }
    }
}
