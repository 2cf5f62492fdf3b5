package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.cli.Main;
import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.StepFailedException;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.request.UnusableLogitsException;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.scheduler.ReplicaPool;
import io.github.loomtorch.testing.CommandProcess;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.Gpu;
import io.github.loomtorch.testing.RecordingListener;
import io.github.loomtorch.testing.Seeds;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.program.Gpt2Module;
import io.github.loomtorch.torch.program.TorchScriptGpt2;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.UnaryOperator;
import org.bytedeco.javacpp.Pointer;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The embedded model and random ones on an NVIDIA GPU. */
@Tag("gpu")
class GpuIT {
    private static final ObjectMapper JSON = new ObjectMapper();

    private static ContinuousScheduler tales(ModelOptions options) throws IOException {
        return tales(options, gpt2 -> gpt2);
    }

    private static ContinuousScheduler tales(ModelOptions options, UnaryOperator<CausalLm> change) throws IOException {
        ModelDirectory model = ModelDirectory.open(Path.of("models/tales"));
        return new ContinuousScheduler(
                () -> new Engine(change.apply(Gpt2Loader.load(model, options)), EngineOptions.defaults()));
    }

    @ParameterizedTest
    @EnumSource(names = {"FLOAT32", "FLOAT16", "BFLOAT16"})
    void greedyIdsAreHuggingFacesOrAsGood(Dtype dtype) throws IOException {
        JsonNode golden =
                JSON.readTree(Path.of("src/test/resources/golden/tales.json").toFile());
        try (ContinuousScheduler scheduler =
                tales(ModelOptions.builder().device(Gpu.DEVICE).dtype(dtype).build())) {
            List<Generation> generations = new ArrayList<>();
            for (JsonNode goldenCase : golden.get("cases")) {
                SamplingParams greedy = SamplingParams.greedy(
                                goldenCase.get("greedy_ids").size())
                        .toBuilder()
                        .ignoreEos(true)
                        .topLogprobs(5)
                        .build();
                generations.add(scheduler.submit(
                        new GenerationRequest(JSON.convertValue(goldenCase.get("prompt_ids"), int[].class), greedy)));
            }
            for (int i = 0; i < generations.size(); i++) {
                Completion completion = generations.get(i).join();
                int[] expected = JSON.convertValue(golden.get("cases").get(i).get("greedy_ids"), int[].class);
                if (dtype == Dtype.FLOAT32) {
                    assertArrayEquals(expected, completion.outputTokenIds());
                } else {
                    assertDiffersOnlyInNearTies(expected, completion, dtype == Dtype.FLOAT16 ? 0.02f : 0.15f);
                }
            }
        }
    }

    /** At the first difference, the two tokens are about equally probable; behind it the texts differ anyway. */
    private static void assertDiffersOnlyInNearTies(int[] expected, Completion completion, float margin) {
        int[] got = completion.outputTokenIds();
        for (int i = 0; i < expected.length; i++) {
            if (got[i] != expected[i]) {
                TokenLogprobs here = completion.logprobs().get(i);
                int wanted = expected[i];
                float other = here.top().stream()
                        .filter(entry -> entry.tokenId() == wanted)
                        .findFirst()
                        .orElseThrow(() -> new AssertionError("token " + wanted + " is not among the top 5: " + here))
                        .logprob();
                assertTrue(
                        here.logprob() - other <= margin, "position " + i + ": expected " + wanted + ", got " + here);
                return;
            }
        }
    }

    @Test
    void graphsAndSingleLaunchesGiveTheSameTokens() throws IOException {
        List<int[]> replayed = mixedBatch(ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(24)
                .kvCacheFraction(0.5)
                .deterministic(true)
                .build());
        List<int[]> launched = mixedBatch(ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(24)
                .kvCacheFraction(0.5)
                .cudaGraphs(false)
                .deterministic(true)
                .build());
        for (int i = 0; i < replayed.size(); i++) {
            assertArrayEquals(launched.get(i), replayed.get(i), "request " + i);
        }
    }

    /** Graphs have some numbers of rows, and padding: steps of any number must give the same but for rounding. */
    @ParameterizedTest
    @ValueSource(ints = {256, 512}) // more tokens give steps with prefill chunks more rows
    void graphsOfAllSizesGiveAboutTheSameTokensAsSingleLaunches(int prefillTokens) throws IOException {
        List<Completion> replayed = shrinkingBatch(prefillTokens, true);
        List<Completion> launched = shrinkingBatch(prefillTokens, false);
        for (int i = 0; i < replayed.size(); i++) {
            assertDiffersOnlyInNearTies(launched.get(i).outputTokenIds(), replayed.get(i), 0.02f);
        }
    }

    /** Of 200 sequences, of which two or three end with each step once all are past their prompts. */
    private static List<Completion> shrinkingBatch(int prefillTokens, boolean cudaGraphs) throws IOException {
        Random random = new Random(13);
        ModelOptions options = ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(200)
                .kvCacheFraction(0.5)
                .cudaGraphs(cudaGraphs)
                .build();
        List<Integer> decoding = new ArrayList<>(); // sequences of the steps that compute a token of each
        EngineOptions config = EngineOptions.builder()
                .maxPrefillTokensBesideDecode(prefillTokens)
                .listener(step -> {
                    if (step.computedTokens() == step.sequences()) {
                        decoding.add(step.sequences());
                    }
                })
                .build();
        List<RecordingListener> listeners = new ArrayList<>();
        Gpt2 gpt2 = Gpt2Loader.load(ModelDirectory.open(Path.of("models/tales")), options);
        AttentionChoice choice = ((CudaGpt2) gpt2).layers().attentionChoice();
        try (Engine engine = new Engine(gpt2, config, Clock.system(), Runnable::run)) {
            for (int i = 0; i < 200; i++) {
                SamplingParams params = SamplingParams.greedy(20 + i % 90).toBuilder()
                        .ignoreEos(true)
                        .topLogprobs(5)
                        .build();
                int length = i % 50 == 0 ? 900 : 1 + random.nextInt(20); // a few rows that blocks share
                int[] prompt = random.ints(length, 0, 50257).toArray();
                listeners.add(new RecordingListener());
                assertEquals(
                        Engine.Admission.ADMITTED,
                        engine.tryAdmit(
                                engine.newSequence(new GenerationRequest(prompt, params), listeners.getLast())));
            }
            while (!engine.isIdle()) {
                step(engine);
            }
        }
        if (choice.atLeast90()) {
            long persistent = decoding.stream()
                    .filter(rows -> choice.decode(rows, 1) == AttentionChoice.Kind.PERSISTENT)
                    .count();
            assertTrue(persistent > 10, decoding.toString());
        }
        assertTrue(decoding.getLast() <= 2, decoding.toString());
        return listeners.stream().map(RecordingListener::completion).toList();
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false}) // with graphs and without
    void stepsLaunchedAheadGiveTheSameTokens(boolean cudaGraphs) throws IOException {
        ModelOptions options = ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(20)
                .kvCacheFraction(0.5)
                .cudaGraphs(cudaGraphs)
                .deterministic(true)
                .build();
        List<int[]> ahead = mixedBatch(options);
        List<int[]> oneByOne = mixedBatch(options, GpuIT::oneByOne);
        for (int i = 0; i < ahead.size(); i++) {
            assertArrayEquals(oneByOne.get(i), ahead.get(i), "request " + i);
        }
    }

    private static CausalLm oneByOne(CausalLm gpt2) {
        return new ForwardingLm(gpt2) {
            @Override
            public boolean runsAhead() {
                return false;
            }
        };
    }

    /**
     * Prompts of more tokens together than go by rows: recorded, and as they are where they are too many or begin in
     * the cache. What is compared with is neither recorded nor launched ahead.
     */
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void longPromptsGiveTheSameTokensByGraphsAndBySingleLaunches(boolean besideDecode) throws IOException {
        long seed = Seeds.next("GpuIT");
        Random random = new Random(seed);
        List<int[]> groups = new ArrayList<>(List.of(
                new int[] {513}, new int[] {600}, new int[] {640}, new int[] {1000}, new int[] {1000, 1000}, new int[] {
                    700, 600, 500, 200
                }));
        for (int count : new int[] {16, 18, 24}) {
            int[] equal = new int[count];
            Arrays.fill(equal, 2000 / count);
            groups.add(equal);
        }
        for (int i = 0; i < 6; i++) {
            int count = 1 + random.nextInt(6);
            groups.add(random.ints(count, 1, Math.min(1000, 2048 / count)).toArray());
        }
        List<List<int[]>> prompts = new ArrayList<>();
        for (int[] lengths : groups) {
            prompts.add(Arrays.stream(lengths)
                    .mapToObj(length -> random.ints(length, 0, 50257).toArray())
                    .toList());
        }
        int[] cached = random.ints(900, 0, 50257).toArray();
        System.arraycopy(prompts.get(3).get(0), 0, cached, 0, 100);
        prompts.add(List.of(cached, random.ints(700, 0, 50257).toArray()));

        List<Completion> replayed = together(prompts, besideDecode, true, gpt2 -> gpt2);
        List<Completion> launched = together(prompts, besideDecode, false, GpuIT::oneByOne);
        for (int i = 0; i < launched.size(); i++) {
            String what = "request " + i + " of seed " + seed;
            try {
                assertDiffersOnlyInNearTies(launched.get(i).outputTokenIds(), replayed.get(i), 0.02f);
            } catch (AssertionError e) {
                throw new AssertionError(what + ": " + e.getMessage(), e);
            }
            assertEquals(
                    launched.get(i).logprobs().get(0).logprob(),
                    replayed.get(i).logprobs().get(0).logprob(),
                    0.02f,
                    what);
        }
    }

    /** Each group of prompts in one step as far as may be, beside a sequence that decodes if wanted. */
    private static List<Completion> together(
            List<List<int[]>> groups, boolean besideDecode, boolean graphs, UnaryOperator<CausalLm> change)
            throws IOException {
        ModelOptions options = ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(25)
                .kvCacheFraction(0.5)
                .cudaGraphs(graphs)
                .build();
        EngineOptions config =
                EngineOptions.builder().maxPrefillTokensBesideDecode(2048).build();
        SamplingParams greedy = SamplingParams.greedy(12).toBuilder()
                .ignoreEos(true)
                .topLogprobs(5)
                .build();
        List<RecordingListener> listeners = new ArrayList<>();
        ModelDirectory model = ModelDirectory.open(Path.of("models/tales"));
        try (Engine engine = new Engine(change.apply(Gpt2Loader.load(model, options)), config)) {
            for (List<int[]> prompts : groups) {
                Deque<Sequence> waiting = new ArrayDeque<>();
                if (besideDecode) {
                    SamplingParams longer = greedy.toBuilder().maxNewTokens(20).build();
                    listeners.add(new RecordingListener());
                    engine.tryAdmit(engine.newSequence(
                            new GenerationRequest(new int[] {464, 300}, longer), listeners.getLast()));
                    for (int step = 0; step < 3; step++) {
                        step(engine);
                    }
                }
                for (int[] prompt : prompts) {
                    listeners.add(new RecordingListener());
                    waiting.add(engine.newSequence(new GenerationRequest(prompt, greedy), listeners.getLast()));
                }
                while (!waiting.isEmpty() || !engine.isIdle()) {
                    while (!waiting.isEmpty() && engine.tryAdmit(waiting.peek()) == Engine.Admission.ADMITTED) {
                        waiting.remove();
                    }
                    step(engine);
                }
            }
        }
        return listeners.stream().map(RecordingListener::completion).toList();
    }

    private static void step(Engine engine) {
        try {
            engine.step();
        } catch (StepFailedException e) {
            throw e.failure();
        }
    }

    private static List<int[]> mixedBatch(ModelOptions options) throws IOException {
        return mixedBatch(options, gpt2 -> gpt2);
    }

    private static List<int[]> mixedBatch(ModelOptions options, UnaryOperator<CausalLm> change) throws IOException {
        Random random = new Random(3);
        try (ContinuousScheduler scheduler = tales(options, change)) {
            List<Generation> generations = new ArrayList<>();
            for (int i = 0; i < 24; i++) {
                SamplingParams.Builder params = SamplingParams.creative().toBuilder()
                        .seed(i)
                        .ignoreEos(i % 2 == 0)
                        .maxNewTokens(8 + 5 * i) // the last ones run in ever smaller batches
                        .repetitionPenalty(i % 7 == 6 ? 1.2f : 1)
                        .logitBias(i % 6 == 5 ? Map.of(11, 3f, 13, -3f) : Map.of());
                if (i % 5 == 0) {
                    params.topLogprobs(3);
                }
                generations.add(scheduler.submit(new GenerationRequest(
                        random.ints(1 + random.nextInt(300), 0, 50257).toArray(), params.build())));
            }
            return generations.stream()
                    .map(generation -> generation.join().outputTokenIds())
                    .toList();
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"FLOAT32", "FLOAT16"})
    void aBatchOfMixedLengthsGivesWhatEachGivesAlone(Dtype dtype) throws IOException {
        Random random = new Random(5);
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            requests.add(new GenerationRequest(
                    random.ints(1 + random.nextInt(400), 0, 50257).toArray(),
                    SamplingParams.greedy(32).toBuilder()
                            .ignoreEos(true)
                            .topLogprobs(5)
                            .build()));
        }
        try (ContinuousScheduler scheduler =
                tales(ModelOptions.builder().device(Gpu.DEVICE).dtype(dtype).build())) {
            List<Generation> together = requests.stream().map(scheduler::submit).toList();
            together.forEach(Generation::join);
            for (int i = 0; i < requests.size(); i++) {
                Completion alone = scheduler.submit(requests.get(i)).join();
                assertDiffersOnlyInNearTies(
                        alone.outputTokenIds(), together.get(i).join(), dtype == Dtype.FLOAT32 ? 1e-3f : 0.02f);
            }
        }
    }

    /**
     * The last with so many tokens that blocks would divide a row into fewer parts when it is not alone, if they did.
     */
    @ParameterizedTest
    @CsvSource({
        // batch, requests, shortest prompt, longest, fewest new tokens
        "8, 40, 1, 600, 30",
        "16, 40, 1, 600, 30",
        "200, 200, 500, 700, 150"
    })
    void deterministicRequestsGiveTheSameTokensUnderAnyLoad(
            int batchSize, int count, int shortest, int longest, int fewest) throws IOException {
        Random random = new Random(9);
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            requests.add(new GenerationRequest(
                    random.ints(random.nextInt(shortest, longest + 1), 0, 50257).toArray(),
                    SamplingParams.creative().toBuilder()
                            .seed(i)
                            .ignoreEos(count == 200 || i % 2 == 0)
                            .maxNewTokens(fewest + i % 40)
                            .topLogprobs(2)
                            .build()));
        }
        try (ContinuousScheduler scheduler = tales(ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(batchSize)
                .kvCacheFraction(0.5)
                .deterministic(true)
                .build())) {
            List<Generation> together = requests.stream().map(scheduler::submit).toList();
            together.forEach(Generation::join);
            for (int i = 0; i < requests.size(); i += 7) {
                Completion alone = scheduler.submit(requests.get(i)).join();
                assertArrayEquals(alone.outputTokenIds(), together.get(i).join().outputTokenIds(), "request " + i);
                assertEquals(alone.logprobs(), together.get(i).join().logprobs(), "request " + i);
            }
        }
    }

    /**
     * Few rows, many, and so many that cuBLAS multiplies; one head size per width of vector, odd sizes, contexts up to
     * the model's.
     */
    @ParameterizedTest
    @CsvSource({"FLOAT32, 1e-4", "FLOAT16, 2e-2", "BFLOAT16, 0.2"})
    void theKernelsComputeWhatTheProgramDoes(Dtype dtype, float margin) throws IOException {
        List<Gpt2Config> configs = List.of(
                shape(257, 1024, 128, 2, 2),
                shape(1000, 200, 96, 3, 3),
                shape(50257, 96, 64, 1, 2),
                shape(301, 64, 256, 2, 2),
                shape(301, 64, 64, 2, 8));
        for (Gpt2Config config : configs) {
            for (int batchSize : config == configs.get(0) ? new int[] {5, 40, 150} : new int[] {40}) {
                ModelOptions options = ModelOptions.builder()
                        .device(Gpu.DEVICE)
                        .dtype(dtype)
                        .maxBatchSize(batchSize)
                        .kvCacheFraction(0.1)
                        .build();
                List<Completion> kernels = contexts(config, batchSize, () -> Gpt2Loader.random(config, 1, options));
                List<Completion> program = contexts(config, batchSize, () -> {
                    TorchScriptProgram loaded = new TorchScriptProgram(Gpt2Module.random(config, 1), options, 0);
                    return new TorchScriptGpt2(loaded, options);
                });
                for (int i = 0; i < kernels.size(); i++) {
                    assertDiffersOnlyInNearTies(program.get(i).outputTokenIds(), kernels.get(i), margin);
                    float difference = Math.abs(program.get(i).logprobs().get(0).logprob()
                            - kernels.get(i).logprobs().get(0).logprob());
                    assertTrue(difference < margin, "logprob differs by " + difference);
                }
            }
        }
    }

    private static Gpt2Config shape(int vocab, int context, int hidden, int layers, int heads) {
        Gpt2Config small = Gpt2Config.shape("gpt2");
        return new Gpt2Config(
                vocab,
                context,
                hidden,
                layers,
                heads,
                4 * hidden,
                small.activation(),
                small.layerNormEpsilon(),
                true,
                false,
                true,
                List.of());
    }

    private interface Models {
        Gpt2 create() throws IOException;
    }

    private static List<Completion> contexts(Gpt2Config config, int requests, Models models) throws IOException {
        Random random = new Random(11);
        try (ContinuousScheduler scheduler =
                new ContinuousScheduler(() -> new Engine(models.create(), EngineOptions.defaults()))) {
            List<Generation> generations = new ArrayList<>();
            int[] lengths = {1, 2, 15, 16, 17, 31, 33, config.contextLength() / 2, config.contextLength() - 20};
            for (int i = 0; i < Math.max(requests, lengths.length); i++) {
                int length = i < lengths.length ? lengths[i] : 1 + random.nextInt(config.contextLength() - 20);
                SamplingParams params =
                        SamplingParams.greedy(20).toBuilder().topLogprobs(5).build();
                generations.add(scheduler.submit(new GenerationRequest(
                        random.ints(length, 0, config.vocabSize()).toArray(), params)));
            }
            return generations.stream().map(Generation::join).toList();
        }
    }

    /** Teacher-forced, a token at a time, so that every token is computed with few rows. */
    @Test
    void int8WeightsHardlyChangeThePerplexity() throws IOException {
        double exact = perplexity(false);
        double rounded = perplexity(true);
        System.out.printf("perplexity in float16: %.3f, with int8 weights: %.3f%n", exact, rounded);
        assertTrue(exact > 1 && rounded != exact, "int8 made no difference to " + exact);
        assertEquals(1, rounded / exact, 0.005);
    }

    private static double perplexity(boolean int8Weights) throws IOException {
        int[] ids = BpeTokenizer.load(Path.of("tokenizer"))
                .encode(Files.readString(Path.of("src/test/resources/prose.txt")));
        double logSum = 0;
        try (ContinuousScheduler scheduler = tales(ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(1)
                .kvCacheFraction(0.5)
                .int8Weights(int8Weights)
                .build())) {
            for (int i = 1; i < ids.length; i++) {
                SamplingParams forced = SamplingParams.greedy(1).toBuilder()
                        .logitBias(Map.of(ids[i], 1e4f))
                        .topLogprobs(0)
                        .build();
                Completion next = scheduler
                        .submit(new GenerationRequest(Arrays.copyOf(ids, i), forced))
                        .join();
                assertEquals(ids[i], next.outputTokenIds()[0]);
                logSum += next.logprobs().get(0).logprob(); // of the model, before the bias
            }
        }
        return Math.exp(-logSum / (ids.length - 1));
    }

    @ParameterizedTest
    @ValueSource(ints = {8, 64, 256})
    void pageSizesGiveTheSameTokens(int pageSize) throws IOException {
        List<int[]> usual = mixedBatch(ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(24)
                .kvCacheFraction(0.5)
                .deterministic(true)
                .build());
        List<int[]> other = mixedBatch(ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(24)
                .pageSize(pageSize)
                .kvCacheFraction(0.5)
                .deterministic(true)
                .build());
        for (int i = 0; i < usual.size(); i++) {
            assertArrayEquals(usual.get(i), other.get(i), "request " + i);
        }
    }

    @Test
    void twentyThousandRequestsLeaveMemoryFlat() throws IOException {
        Random random = new Random(1);
        try (ContinuousScheduler scheduler = tales(ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(128)
                .build())) {
            long pointers = 0;
            long heap = 0;
            for (int round = 0; round < 20; round++) {
                List<Generation> generations = new ArrayList<>();
                for (int i = 0; i < 1000; i++) {
                    SamplingParams params = SamplingParams.creative().toBuilder()
                            .maxNewTokens(1 + random.nextInt(24))
                            .build();
                    Generation generation = scheduler.submit(new GenerationRequest(
                            random.ints(1 + random.nextInt(60), 0, 50257).toArray(), params));
                    generations.add(generation);
                    if (random.nextInt(10) == 0) {
                        generation.cancel();
                    }
                }
                generations.forEach(Generation::join);
                generations.clear();
                System.gc();
                if (round == 4) { // by then all lazily made things are made
                    pointers = Pointer.totalCount();
                    heap = usedHeapBytes();
                }
            }
            assertEquals(pointers, Pointer.totalCount());
            assertTrue(
                    usedHeapBytes() < heap + (8 << 20), "heap grew from " + heap + " to " + usedHeapBytes() + " bytes");
        }
    }

    private static long usedHeapBytes() {
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }

    @Test
    void closingGivesTheGpuMemoryBack() throws IOException {
        long before = 0;
        for (int round = 0; round < 4; round++) {
            try (ContinuousScheduler scheduler = tales(ModelOptions.builder()
                    .device(Gpu.DEVICE)
                    .dtype(Dtype.FLOAT16)
                    .maxBatchSize(64)
                    .build())) {
                scheduler
                        .submit(new GenerationRequest(new int[] {464}, SamplingParams.greedy(2)))
                        .join();
            }
            long free = Gpu.freeBytes(Gpu.INDEX);
            if (round == 1) { // by then CUDA and its libraries hold what they keep
                before = free;
            }
            assertTrue(round <= 1 || free > before - (16 << 20), "free: " + before + ", then " + free + " bytes");
        }
    }

    @Test
    void twoReplicasOnOneGpuShareTheWork() throws IOException {
        ModelOptions options = ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(4)
                .kvCacheFraction(0.2)
                .build();
        try (ReplicaPool pool = new ReplicaPool(List.of(tales(options), tales(options)))) {
            List<Generation> generations = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                generations.add(pool.submit(
                        new GenerationRequest(new int[] {464, 1310, 2576, 300 + i}, SamplingParams.greedy(20))));
            }
            List<int[]> pooled = generations.stream()
                    .map(generation -> generation.join().outputTokenIds())
                    .toList();
            try (ContinuousScheduler one = tales(options)) {
                for (int i = 0; i < pooled.size(); i += 9) {
                    int[] alone = one.submit(new GenerationRequest(
                                    new int[] {464, 1310, 2576, 300 + i}, SamplingParams.greedy(20)))
                            .join()
                            .outputTokenIds();
                    assertArrayEquals(alone, pooled.get(i));
                }
            }
        }
    }

    @Test
    void aCachedPrefixIsNotComputedAgain() throws IOException {
        AtomicLong computed = new AtomicLong();
        ModelDirectory model = ModelDirectory.open(Path.of("models/tales"));
        EngineOptions counting = EngineOptions.builder()
                .listener(step -> computed.addAndGet(step.computedTokens()))
                .build();
        try (ContinuousScheduler scheduler = new ContinuousScheduler(() -> new Engine(
                Gpt2Loader.load(
                        model,
                        ModelOptions.builder()
                                .device(Gpu.DEVICE)
                                .dtype(Dtype.FLOAT32)
                                .maxBatchSize(4)
                                .build()),
                counting,
                Clock.system(),
                Runnable::run))) {
            GenerationRequest request =
                    new GenerationRequest(new Random(2).ints(900, 0, 50257).toArray(), SamplingParams.greedy(20));
            Completion first = scheduler.submit(request).join();
            computed.set(0);
            Completion second = scheduler.submit(request).join();
            assertArrayEquals(first.outputTokenIds(), second.outputTokenIds());
            assertTrue(computed.get() <= 16 + 20, "computed " + computed + " tokens");
        }
    }

    @Test
    void nvmlTellsWhatTheGpuDoes() throws IOException {
        try (ContinuousScheduler scheduler =
                        tales(ModelOptions.builder().device(Gpu.DEVICE).build());
                GpuReader reader = GpuReader.open(List.of("cuda:" + Gpu.INDEX))) {
            long free = Gpu.freeBytes(Gpu.INDEX);
            GpuReader.Reading idle = reader.read().getFirst();
            assertEquals("cuda:" + Gpu.INDEX, idle.device());
            assertEquals(free, idle.totalBytes() - idle.usedBytes(), 0.05 * idle.totalBytes());
            assertTrue(idle.powerWatts() > 5 && idle.powerWatts() < 3000, idle::toString);
            GpuReader.Reading busy;
            do { // NVML looks at the kernels of up to the last second
                scheduler
                        .submit(new GenerationRequest(
                                new int[] {464},
                                SamplingParams.greedy(500).toBuilder()
                                        .ignoreEos(true)
                                        .build()))
                        .join();
                busy = reader.read().getFirst();
            } while (busy.utilization() == 0); // not so for NaN; the time limit of the test ends it
            assertTrue(busy.utilization() > 0 && busy.utilization() <= 1, busy::toString);
        }
    }

    @Test
    void theDemoRunsOnTheGpu() throws Exception {
        CommandProcess.Result result = new CommandProcess(Main.class, "demo", "--device", Gpu.DEVICE).run();
        assertEquals("", result.err());
        assertTrue(result.out().contains("on cuda:" + Gpu.INDEX + " in float16"), result.out());
        assertTrue(result.out().lines().anyMatch(line -> line.matches("  all +180 .*")), result.out());
    }

    @Test
    void unusableLogitsFailTheirRequestOnly() throws IOException {
        try (ContinuousScheduler scheduler = tales(ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(Dtype.FLOAT16)
                .maxBatchSize(4)
                .build())) {
            SamplingParams banned = SamplingParams.greedy(3).toBuilder()
                    .logitBias(Map.of(5, 3e38f))
                    .build();
            SamplingParams twice = banned.toBuilder().repetitionPenalty(1e-30f).build(); // 3e38 / 1e-30 overflows
            Generation bad = scheduler.submit(new GenerationRequest(new int[] {5, 6}, twice));
            Generation good = scheduler.submit(new GenerationRequest(new int[] {5, 6}, SamplingParams.greedy(3)));
            assertEquals(3, good.join().outputTokenIds().length);
            Throwable cause = org.junit.jupiter.api.Assertions.assertThrows(
                            java.util.concurrent.CompletionException.class, bad::join)
                    .getCause();
            assertTrue(
                    cause instanceof UnusableLogitsException
                            && cause.getMessage().contains("after logitBias"),
                    String.valueOf(cause));
        }
    }
}
