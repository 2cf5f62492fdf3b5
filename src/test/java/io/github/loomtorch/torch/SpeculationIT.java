package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** Candidates on the embedded model, on the CPU in float32. No choice of these requests is a near tie. */
class SpeculationIT {
    /** Greedy text after these is a loop. */
    private static final List<String> PROMPTS = List.of(
            "Ho, ho, ho, ho, ho, ho,",
            "one, two, three, one, two, three, one, two, three, one,",
            "The cat ran, and the dog ran, and the cat ran, and the dog ran, and the");

    @Test
    void theTextIsTheSameInFewerSteps() throws IOException {
        Tokenizer tokenizer = BpeTokenizer.load(Path.of("tokenizer"));
        List<GenerationRequest> requests = new ArrayList<>();
        for (String prompt : PROMPTS) {
            SamplingParams greedy = SamplingParams.greedy(30);
            requests.add(new GenerationRequest(tokenizer.encode(prompt), greedy));
            SamplingParams drawn = greedy.toBuilder().temperature(0.4f).seed(3).build();
            requests.add(new GenerationRequest(tokenizer.encode(prompt), drawn));
        }
        List<GenerationRequest> speculating = requests.stream()
                .map(each -> each.withSampling(
                        each.sampling().toBuilder().speculation(2, 4).build()))
                .toList();
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(4)
                .build();
        AtomicInteger steps = new AtomicInteger();
        AtomicInteger accepted = new AtomicInteger();
        EngineOptions counting = EngineOptions.builder()
                .listener(step -> {
                    steps.incrementAndGet();
                    accepted.addAndGet(step.acceptedTokens());
                })
                .build();
        try (Gpt2 gpt2 = Gpt2Loader.load(ModelDirectory.open(Path.of("models/tales")), options)) {
            List<Completion> without = Generations.alone(gpt2, counting, requests);
            int stepsWithout = steps.getAndSet(0);
            List<Completion> with = Generations.alone(gpt2, counting, speculating);
            int stepsWith = steps.getAndSet(0);
            List<Completion> crowd = Generations.together(gpt2, counting, speculating);
            for (int i = 0; i < requests.size(); i++) {
                assertArrayEquals(without.get(i).outputTokenIds(), with.get(i).outputTokenIds());
                assertArrayEquals(without.get(i).outputTokenIds(), crowd.get(i).outputTokenIds());
            }
            assertTrue(stepsWith < 0.8 * stepsWithout && accepted.get() > 20, stepsWith + " steps of " + stepsWithout);
        }
    }
}
