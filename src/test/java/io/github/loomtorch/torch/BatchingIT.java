package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The embedded model gives each request the tokens that it gives it alone, whatever runs beside it. Rounding differs
 * between batch shapes, by about 1e-5 in a logit; no choice of these requests is that near to turning round, so the
 * tokens are equal.
 */
class BatchingIT {
    private static final int BATCH_SIZE = 4;
    private static final int NEW_TOKENS = 16;

    private static final String[] PROMPTS = {
        "a",
        "The King",
        "Once upon a time",
        "It was a dark and stormy night, and",
        "Alice was beginning to get very tired of sitting by her sister on the bank",
        "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do",
        "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or twice"
                + " she had peeped into the book her sister was reading",
    };

    private static final SamplingParams SEEDED = SamplingParams.creative().toBuilder()
            .maxNewTokens(NEW_TOKENS)
            .seed(1)
            .build();

    private static Gpt2 gpt2;
    private static List<GenerationRequest> requests;
    private static List<Completion> alone;

    @BeforeAll
    static void load() throws IOException {
        gpt2 = gpt2(16);
        Tokenizer tokenizer = BpeTokenizer.load(Path.of("tokenizer"));
        requests = new ArrayList<>();
        for (String prompt : PROMPTS) {
            SamplingParams sampling = requests.size() % 2 == 0 ? SamplingParams.greedy(NEW_TOKENS) : SEEDED;
            requests.add(new GenerationRequest(tokenizer.encode(prompt), sampling));
        }
        alone = Generations.alone(gpt2, uncached(), requests);
    }

    private static Gpt2 gpt2(int pageSize) throws IOException {
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(BATCH_SIZE)
                .pageSize(pageSize)
                .build();
        return Gpt2Loader.load(ModelDirectory.open(Path.of("models/tales")), options);
    }

    @AfterAll
    static void close() {
        gpt2.close();
    }

    private static EngineOptions uncached() {
        return EngineOptions.builder().prefixCaching(false).build();
    }

    @Test
    void inStaticBatches() {
        assertSame(requests, Generations.together(gpt2, uncached(), requests));
    }

    @Test
    void inAnyOrder() {
        List<GenerationRequest> shuffled = shuffled(1);
        assertSame(shuffled, Generations.together(gpt2, uncached(), shuffled));
    }

    @ParameterizedTest
    @ValueSource(ints = {5, 16})
    void withPromptsPrefilledInChunks(int maxPrefillTokensPerStep) {
        EngineOptions config = EngineOptions.builder()
                .prefixCaching(false)
                .maxPrefillTokensPerStep(maxPrefillTokensPerStep)
                .build();
        assertSame(requests, Generations.together(gpt2, config, requests));
    }

    @Test
    void withPrefixesTakenFromTheCache() {
        AtomicInteger computed = new AtomicInteger();
        EngineOptions config = EngineOptions.builder()
                .listener(step -> computed.addAndGet(step.computedTokens()))
                .build();
        assertSame(requests, Generations.together(gpt2, config, requests));
        int all = alone.stream()
                .mapToInt(each -> each.promptTokenIds().length + each.outputTokenIds().length - 1)
                .sum();
        assertTrue(computed.get() < all, "computed " + computed + " of " + all + " tokens");
    }

    @ParameterizedTest
    @ValueSource(ints = {8, 64})
    void withPagesOfAnotherSize(int pageSize) throws IOException {
        try (Gpt2 paged = gpt2(pageSize)) {
            assertEquals(pageSize, paged.pageSize());
            assertEquals(BATCH_SIZE * 1024 / pageSize, paged.pageCount());
            assertSame(requests, Generations.together(paged, EngineOptions.defaults(), requests));
        }
    }

    @Test
    void whenTheCacheIsFullAndSequencesAreComputedAgain() throws IOException {
        AtomicInteger preempted = new AtomicInteger();
        EngineOptions config = EngineOptions.builder()
                .listener(step -> preempted.addAndGet(step.preemptedSequences()))
                .build();
        try (Gpt2 paged = gpt2(8)) {
            CausalLm small = new ForwardingLm(paged) {
                @Override
                public int contextLength() {
                    return 64;
                }

                @Override
                public int pageCount() {
                    return 9;
                }
            };
            assertSame(requests, Generations.together(small, config, requests));
        }
        assertTrue(preempted.get() > 0, "no sequence lost its pages");
    }

    @Test
    void underTheNaiveScheduler() {
        assertSame(requests, submitted(new NaiveScheduler(engine(), 3), requests));
    }

    @Test
    void underTheAsyncNaiveScheduler() throws IOException {
        assertSame(
                requests, submitted(new AsyncNaiveScheduler(BatchingIT::engine, 3, Duration.ofMillis(20)), requests));
    }

    @Test
    void underTheContinuousScheduler() throws IOException {
        List<GenerationRequest> shuffled = shuffled(2);
        assertSame(shuffled, submitted(new ContinuousScheduler(BatchingIT::engine), shuffled));
    }

    @Test
    void bitForBitIfDeterministic() throws IOException {
        SamplingParams sampling =
                SEEDED.toBuilder().maxNewTokens(6).topLogprobs(5).build();
        List<GenerationRequest> logged = requests.stream()
                .map(request -> new GenerationRequest(request.promptTokenIds(), sampling))
                .toList();
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(BATCH_SIZE)
                .deterministic(true)
                .build();
        try (Gpt2 deterministic = Gpt2Loader.load(ModelDirectory.open(Path.of("models/tales")), options)) {
            assertEquals(
                    Generations.alone(deterministic, uncached(), logged).stream()
                            .map(Completion::logprobs)
                            .toList(),
                    Generations.together(deterministic, uncached(), logged).stream()
                            .map(Completion::logprobs)
                            .toList());
        }
    }

    private static Engine engine() {
        CausalLm borrowed = new ForwardingLm(gpt2) {
            @Override
            public void close() {}
        };
        return new Engine(
                borrowed, EngineOptions.builder().maxPrefillTokensPerStep(24).build());
    }

    private static List<Completion> submitted(Scheduler scheduler, List<GenerationRequest> order) {
        List<Generation> generations;
        try (scheduler) {
            generations = order.stream().map(scheduler::submit).toList();
        }
        return generations.stream().map(Generation::join).toList();
    }

    private static List<GenerationRequest> shuffled(long seed) {
        List<GenerationRequest> shuffled = new ArrayList<>(requests);
        Collections.shuffle(shuffled, new Random(seed));
        return shuffled;
    }

    private static void assertSame(List<GenerationRequest> order, List<Completion> completions) {
        for (int i = 0; i < order.size(); i++) {
            Completion expected = alone.get(requests.indexOf(order.get(i)));
            assertArrayEquals(
                    expected.outputTokenIds(),
                    completions.get(i).outputTokenIds(),
                    "prompt of " + expected.promptTokenIds().length);
        }
    }
}
