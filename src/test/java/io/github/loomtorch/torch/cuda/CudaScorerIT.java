package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PositionScore;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.testing.Gpu;
import io.github.loomtorch.testing.Seeds;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.natives.CacheFolder;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.Gpt2Module;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.io.IOException;
import java.nio.IntBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Scores on an NVIDIA GPU: of given hidden states, and of texts by the embedded model. */
@Tag("gpu")
@Timeout(value = 180, unit = TimeUnit.SECONDS)
class CudaScorerIT {
    private static final int VOCAB = 50257;
    private static final PromptScoring ALL = new PromptScoring(1, 5, true, true);

    /** More rows than a block, so that the second is not full. */
    @ParameterizedTest
    @CsvSource({"FLOAT16, 700", "BFLOAT16, 700", "FLOAT16, 1"})
    void scoresOfHiddenStatesAreThoseOfDoublePrecision(Dtype dtype, int count) throws IOException {
        long seed = Seeds.next("CudaScorerIT");
        Random random = new Random(seed);
        Gpt2Config gpt2 = Gpt2Config.shape("gpt2");
        Gpt2Config config = new Gpt2Config(
                VOCAB, 128, 768, 1, 12, 3072, gpt2.activation(), gpt2.layerNormEpsilon(), true, false, true, List.of());
        ModelOptions options = ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(dtype)
                .maxBatchSize(4)
                .build();
        try (TorchScriptProgram program = new TorchScriptProgram(Gpt2Module.random(config, seed), options, 0);
                TensorScope scope = new TensorScope()) {
            program.configureThread();
            var loader = new CudaKernels.Loader(
                    CudaGpt2.kernels(program, options), new KernelCache(CacheFolder.path()), program.stream().stream());
            try (CudaLayers layers = new CudaLayers(program, loader, 16, false);
                    CudaScorer scorer = new CudaScorer(layers, program.device(), loader, false)) {
                boolean[] wordStarts = new boolean[VOCAB];
                for (int id = 0; id < VOCAB; id++) {
                    wordStarts[id] = random.nextInt(3) == 0;
                }
                scorer.wordStarts(wordStarts);
                Tensor wte = program.parameter("wte"); // of deviation 0.02: logits of deviation 4 with these weights
                wte.mul_(new Scalar(7));
                Tensor x = torch.randn(
                                new long[] {count, 768},
                                new TensorOptions(ScalarType.Float).device(new DeviceOptional(program.device())))
                        .to(program.dtype());
                var hidden = new CudaLayers.Hidden(x, 0);
                Tensor results = scorer.launchSynthetic(hidden, count, ALL).cpu();
                Tensor logits = layers.normed(new CudaLayers.Hidden(x.clone(), 0))
                        .to(ScalarType.Double)
                        .mm(wte.to(ScalarType.Double).t())
                        .cpu()
                        .contiguous(); // [count, VP]
                int stride = ResultRow.size(ALL.top());
                int[] ints = new int[count * stride];
                new IntPointer(results.data_ptr()).get(ints);
                double[] errors = new double[4];
                for (int row = 0; row < count; row++) {
                    double[] own = new double[VOCAB];
                    new DoublePointer(logits.data_ptr())
                            .position(row * logits.size(1))
                            .get(own);
                    PositionScore score = ScoreRows.score(
                            IntBuffer.wrap(ints, row * stride, stride).slice(), ALL, VOCAB);
                    compare(own, row % VOCAB, wordStarts, score, errors);
                }
                System.out.printf(
                        "%s, %d rows: largest errors of log-probability, entropy, variance, word starts %s%n",
                        dtype, count, Arrays.toString(errors));
                for (double error : errors) {
                    assertTrue(error < 1e-4, Arrays.toString(errors) + " with seed " + seed);
                }
            }
        }
    }

    private static void compare(
            double[] logits, int target, boolean[] wordStarts, PositionScore score, double[] errors) {
        double max = Arrays.stream(logits).max().orElseThrow();
        double mass = 0;
        double mean = 0;
        double square = 0;
        double starts = 0;
        int larger = 0;
        int near = 0; // logits that rounding to float32 may put on the other side of the target's
        for (int id = 0; id < VOCAB; id++) {
            double p = Math.exp(logits[id] - max);
            mass += p;
            mean += p * (logits[id] - max);
            square += p * (logits[id] - max) * (logits[id] - max);
            starts += wordStarts[id] ? p : 0;
            larger += logits[id] > logits[target] ? 1 : 0;
            near += Math.abs(logits[id] - logits[target]) < 1e-4 ? 1 : 0;
        }
        mean /= mass;
        double logSum = max + Math.log(mass);
        PositionScore.Statistics statistics = score.statistics().orElseThrow();
        note(errors, 0, score.logprobs().logprob() - (logits[target] - logSum));
        for (var entry : score.logprobs().top()) {
            note(errors, 0, entry.logprob() - (logits[entry.tokenId()] - logSum));
        }
        double[] sorted = Arrays.stream(logits).sorted().toArray();
        for (int i = 0; i < ALL.top(); i++) {
            note(errors, 0, score.logprobs().top().get(i).logprob() - (sorted[VOCAB - 1 - i] - logSum));
        }
        note(errors, 1, (statistics.entropy() - (Math.log(mass) - mean)) / Math.max(1, statistics.entropy()));
        note(errors, 2, (statistics.variance() - (square / mass - mean * mean)) / Math.max(1, statistics.variance()));
        note(errors, 3, score.wordStartLogprob().orElseThrow() - Math.log(starts / mass));
        assertEquals(larger + 1, statistics.rank(), near);
    }

    private static void note(double[] errors, int at, double error) {
        errors[at] = Double.isNaN(error) ? error : Math.max(errors[at], Math.abs(error));
    }

    private static ContinuousScheduler tales(ModelOptions options) throws IOException {
        ModelDirectory model = ModelDirectory.open(Path.of("models/tales"));
        return new ContinuousScheduler(() -> new Engine(Gpt2Loader.load(model, options), EngineOptions.defaults()));
    }

    private static ModelOptions.Builder cuda(Dtype dtype) {
        return ModelOptions.builder()
                .device(Gpu.DEVICE)
                .dtype(dtype)
                .maxBatchSize(24)
                .kvCacheFraction(0.4);
    }

    private static SamplingParams.Builder free(int tokens, long seed) {
        return SamplingParams.builder()
                .maxNewTokens(tokens)
                .ignoreEos(true)
                .temperature(1)
                .seed(seed);
    }

    /** Texts by the model itself, of different lengths. */
    private static List<int[]> texts(int count) throws IOException {
        try (ContinuousScheduler scheduler = tales(cuda(Dtype.FLOAT32).build())) {
            List<Generation> generations = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                generations.add(scheduler.submit(new GenerationRequest(
                        new int[] {50256},
                        free(i % 8 == 0 ? 1000 : 20 + 13 * i, i).build())));
            }
            return generations.stream()
                    .map(generation -> IntStream.concat(
                                    IntStream.of(50256),
                                    Arrays.stream(generation.join().outputTokenIds()))
                            .toArray())
                    .toList();
        }
    }

    /** Scores from the second token on; every third text is continued, too, and others run beside. */
    private static List<Completion> scores(ModelOptions options, List<int[]> texts) throws IOException {
        try (ContinuousScheduler scheduler = tales(options)) {
            List<Generation> beside = new ArrayList<>();
            for (int i = 0; i < 8; i++) {
                beside.add(scheduler.submit(new GenerationRequest(
                        new int[] {50256}, free(60 + i, i).topLogprobs(2).build())));
            }
            List<Generation> generations = new ArrayList<>();
            for (int i = 0; i < texts.size(); i++) {
                generations.add(scheduler.submit(new GenerationRequest(
                        texts.get(i),
                        free(i % 3 == 0 ? 3 : 0, i)
                                .promptScoring(new PromptScoring(1, i % 7, i % 2 == 0, false))
                                .build())));
            }
            beside.forEach(Generation::join);
            return generations.stream().map(Generation::join).toList();
        }
    }

    @ParameterizedTest
    @CsvSource({
        // error of 99.9% of the log-probabilities, of the perplexity
        "FLOAT32, 1e-3, 1e-4",
        "FLOAT16, 0.03, 0.002",
        "BFLOAT16, 0.27, 0.01"
    })
    void scoresOfTextsAreThoseOfFloat32OnTheCpu(Dtype dtype, double ofToken, double ofPerplexity) throws IOException {
        List<int[]> texts = texts(20);
        List<Completion> expected = scores(
                ModelOptions.builder()
                        .device("cpu")
                        .dtype(Dtype.FLOAT32)
                        .maxBatchSize(24)
                        .build(),
                texts);
        for (ModelOptions options : List.of(
                cuda(dtype).build(),
                cuda(dtype).cudaGraphs(false).build(),
                cuda(dtype).maxBatchSize(2).build())) {
            List<Completion> got = scores(options, texts);
            List<Double> errors = new ArrayList<>();
            double difference = 0;
            for (int i = 0; i < texts.size(); i++) {
                List<PositionScore> want = expected.get(i).promptScores();
                assertEquals(texts.get(i).length - 1, got.get(i).promptScores().size());
                for (int token = 0; token < want.size(); token++) {
                    PositionScore one = want.get(token);
                    PositionScore other = got.get(i).promptScores().get(token);
                    double error = other.logprobs().logprob() - one.logprobs().logprob();
                    errors.add(Math.abs(error));
                    difference += error;
                    assertEquals(
                            one.logprobs().top().size(), other.logprobs().top().size());
                    Optional<PositionScore.Statistics> statistics = one.statistics();
                    if (statistics.isPresent()) {
                        assertEquals(
                                statistics.get().entropy(),
                                other.statistics().orElseThrow().entropy(),
                                5 * ofToken);
                    }
                }
            }
            errors.sort(null); // NaN is last
            int count = errors.size();
            double most = errors.get(count * 999 / 1000);
            double largest = errors.getLast();
            System.out.printf(
                    "%s: %d tokens, error of a log-probability: 99.9%% within %.4f, largest %.4f; of the perplexity %.5f%n",
                    dtype, count, most, largest, Math.expm1(Math.abs(difference / count)));
            assertTrue(most < ofToken, "99.9% within " + most);
            assertTrue(largest < 2 * ofToken, "largest " + largest);
            assertTrue(Math.expm1(Math.abs(difference / count)) < ofPerplexity, "perplexity");
        }
    }

    /** Whatever runs beside, with and without recorded steps, and of models with and without kernels for products. */
    @ParameterizedTest
    @ValueSource(strings = {"FLOAT16", "BFLOAT16", "FLOAT32"})
    void deterministicScoresAreWhatDecodingReports(Dtype dtype) throws IOException {
        int[] prompt = {50256, 464, 1468, 582};
        Completion generated;
        try (ContinuousScheduler scheduler =
                tales(cuda(dtype).deterministic(true).build())) {
            generated = scheduler
                    .submit(new GenerationRequest(
                            prompt, free(150, 4).topLogprobs(3).build()))
                    .join();
        }
        int[] text = IntStream.concat(Arrays.stream(prompt), Arrays.stream(generated.outputTokenIds()))
                .toArray();
        GenerationRequest request = new GenerationRequest(
                text,
                free(0, 1)
                        .promptScoring(new PromptScoring(prompt.length, 3, true, false))
                        .build());
        for (boolean graphs : List.of(true, false)) {
            try (ContinuousScheduler scheduler =
                    tales(cuda(dtype).deterministic(true).cudaGraphs(graphs).build())) {
                List<Generation> beside = new ArrayList<>();
                for (int i = 0; i < 20; i++) {
                    beside.add(scheduler.submit(new GenerationRequest(
                            Arrays.copyOf(text, 1 + 5 * i), free(40 + i, i).build())));
                }
                Completion scored = scheduler.submit(request).join();
                beside.forEach(Generation::join);
                assertEquals(
                        generated.logprobs(),
                        scored.promptScores().stream()
                                .map(PositionScore::logprobs)
                                .toList());
            }
        }
    }
}
