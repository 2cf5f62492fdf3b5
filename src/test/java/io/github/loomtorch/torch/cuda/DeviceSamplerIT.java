package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.model.Activation;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.RequestLimits;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.request.UnusableLogitsException;
import io.github.loomtorch.sampling.Sampler;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.Gpu;
import io.github.loomtorch.torch.natives.CacheFolder;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.TensorScope;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CompletionException;
import java.util.stream.Collectors;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The kernel that samples on the GPU against the reference sampler: equal tokens for thousands of rows with mixed
 * parameters.
 */
@Tag("gpu")
class DeviceSamplerIT {
    private static final int SLOTS = 160; // more than SMs, up to which another kernel is used
    private static final int VOCAB = 50257;
    private static final int PADDED = 50304;
    private static final int CONTEXT = 128;
    private static final int PAGE_SIZE = 16;
    private static final Gpt2Config CONFIG =
            new Gpt2Config(VOCAB, CONTEXT, 64, 1, 1, 64, Activation.GELU_TANH, 1e-5, true, false, true, List.of());

    @ParameterizedTest
    @CsvSource({"Float, true, 64", "Half, false, 64", "Half, true, 160", "BFloat16, true, 160"})
    void samplesAsTheReferenceDoes(String dtype, boolean ahead, int batch) {
        Random random = new Random(7);
        ComparingLm lm = new ComparingLm(
                ScalarType.valueOf(dtype), ahead, (request, target, from) -> makeRow(random, target, from));
        List<Generation> generations = new ArrayList<>();
        try (NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, EngineOptions.defaults()), batch)) {
            for (int round = 0; round < 2; round++) {
                for (int i = 0; i < batch; i++) {
                    int[] prompt = random.ints(1 + random.nextInt(20), 0, VOCAB).toArray();
                    generations.add(scheduler.submit(new GenerationRequest(prompt, randomParams(random))));
                }
            }
        }
        int tokens = generations.stream()
                .mapToInt(generation -> generation.join().outputTokenIds().length)
                .sum();
        // A stop token ends a request early; a step launched ahead may then sample one row more.
        assertTrue(tokens > 11 * generations.size() && lm.rows >= tokens, lm.rows + " rows, " + tokens + " tokens");
        assertEquals(List.of(), lm.differences);
    }

    @Test
    void saysWhyLogitsAreUnusableAsTheReferenceDoes() {
        List<SamplingParams> params = new ArrayList<>();
        SamplingParams greedy =
                SamplingParams.greedy(2).toBuilder().ignoreEos(true).build();
        params.add(greedy); // 0: NaN
        params.add(greedy.toBuilder().temperature(1).build()); // 1: infinity
        params.add(greedy.toBuilder()
                .repetitionPenalty(1e-30f)
                .logitBias(Map.of(2, 3e38f))
                .build()); // 2: infinity, but for the bias
        Map<Integer, Float> bans = new HashMap<>();
        for (int id = 0; id < VOCAB; id++) {
            bans.put(id, Float.NEGATIVE_INFINITY);
        }
        params.add(greedy.toBuilder().logitBias(bans).build()); // 3: nothing left
        params.add(greedy); // 4: nothing there
        ComparingLm lm = new ComparingLm(ScalarType.Half, true, (request, target, from) -> {
            int row = request.promptTokenIds()[0];
            Arrays.fill(target, from, from + VOCAB, row == 4 ? Float.NEGATIVE_INFINITY : 1);
            if (row < 2) {
                target[from + 40000] = row == 0 ? Float.NaN : Float.POSITIVE_INFINITY;
                target[from + 50000] = Float.NaN;
            }
        });
        EngineOptions options = EngineOptions.builder()
                .limits(RequestLimits.builder().maxLogitBiases(VOCAB).build())
                .build();
        List<Generation> generations = new ArrayList<>();
        try (NaiveScheduler scheduler = new NaiveScheduler(new Engine(lm, options), params.size())) {
            for (int i = 0; i < params.size(); i++) {
                generations.add(scheduler.submit(new GenerationRequest(new int[] {i}, params.get(i))));
            }
        }
        for (int i = 0; i < params.size(); i++) {
            Throwable cause = assertThrows(CompletionException.class, generations.get(i)::join)
                    .getCause();
            assertEquals(lm.failures.get(i), cause.getMessage());
        }
        assertEquals(5, Set.copyOf(lm.failures.values()).size());
        assertEquals(List.of(), lm.differences);
    }

    private static SamplingParams randomParams(Random random) {
        SamplingParams.Builder params =
                SamplingParams.builder().maxNewTokens(12).ignoreEos(true).seed(random.nextLong());
        params.temperature(pick(random, 0, 0.05f, 0.7f, 1, 1.5f, 8, 1000));
        params.topK((int) pick(random, 0, 0, 1, 3, 50, 128, 129, 3000));
        params.topP(pick(random, 1, 1, 0.95f, 0.5f, 1e-4f, 0.999999f));
        params.minP(pick(random, 0, 0, 0.01f, 0.3f, 1));
        if (random.nextInt(3) == 0) {
            params.repetitionPenalty(pick(random, 1, 1.3f, 0.8f));
            params.presencePenalty(pick(random, 0, 0.6f, -1));
            params.frequencyPenalty(pick(random, 0, 0.4f, -0.2f));
        }
        if (random.nextInt(4) == 0) {
            Map<Integer, Float> bias = new HashMap<>();
            for (int i = random.nextInt(300); i >= 0; i--) {
                bias.put(random.nextInt(VOCAB), pick(random, 5, -3, Float.NEGATIVE_INFINITY, 20));
            }
            params.logitBias(bias);
        }
        if (random.nextInt(4) == 0) {
            params.allowedTokenIds(random.ints(300, 0, VOCAB).boxed().collect(Collectors.toSet()));
        }
        if (random.nextInt(4) == 0) {
            params.minNewTokens(random.nextInt(13))
                    .stopTokenIds(random.ints(300, 0, VOCAB).boxed().collect(Collectors.toSet()));
        }
        if (random.nextInt(4) == 0) {
            params.badWordIds(List.of(List.of(random.nextInt(VOCAB)), List.of(random.nextInt(VOCAB), 5)));
        }
        if (random.nextInt(5) > 1) {
            params.topLogprobs((int) pick(random, 0, 1, 20));
        }
        return params.build();
    }

    private static float pick(Random random, float... values) {
        return values[random.nextInt(values.length)];
    }

    private static void makeRow(Random random, float[] target, int from) {
        float deviation = pick(random, 0.01f, 1, 3, 10);
        float offset = pick(random, 0, -60, 20);
        boolean coarse = random.nextInt(3) == 0; // many ties
        double banned = random.nextInt(4) == 0 ? 0.9 : 0;
        for (int i = 0; i < VOCAB; i++) {
            float logit = offset + deviation * (float) random.nextGaussian();
            target[from + i] =
                    random.nextDouble() < banned ? Float.NEGATIVE_INFINITY : coarse ? Math.round(logit) : logit;
        }
    }

    private interface Rows {
        void make(GenerationRequest request, float[] target, int from);
    }

    /** Makes logits up, samples them on the device and by the reference, and goes on with the device's token. */
    private static final class ComparingLm implements CausalLm {
        final List<String> differences = new ArrayList<>();
        final Map<Integer, String> failures =
                new HashMap<>(); // messages of the reference, by the first token of the prompt
        int rows;
        private final ScalarType dtype;
        private final boolean ahead;
        private final Rows maker;
        private final Sampler reference = new Sampler(VOCAB);
        private final int[] last = new int[SLOTS]; // by slot: what the reference sampled
        private final Device device;
        private final CUDAStream stream;
        private final DeviceSampler sampler;
        private final StepRows step;
        private int steps;

        ComparingLm(ScalarType dtype, boolean ahead, Rows maker) {
            Libtorch.load();
            this.dtype = dtype;
            this.ahead = ahead;
            this.maker = maker;
            Cuda.check(cudart.cudaSetDevice(Gpu.INDEX), "cudaSetDevice");
            try (TensorScope scope = new TensorScope()) {
                device = new Device(DeviceType.CUDA, (byte) Gpu.INDEX).retainReference();
                stream = torch_cuda.getStreamFromPool(true, (byte) Gpu.INDEX).retainReference();
                torch_cuda.setCurrentCUDAStream(stream);
                KernelSet set = new KernelSet(CONFIG, Libtorch.dtype(dtype), PAGE_SIZE, false, CudaKernels.gpu(device));
                sampler = new DeviceSampler(
                        SLOTS,
                        device,
                        new CudaKernels.Loader(set, new KernelCache(CacheFolder.path()), stream.stream()));
                int rowSize = StepInput.rowSize(CONTEXT / PAGE_SIZE);
                step = new StepRows(SLOTS, rowSize, PAGE_SIZE, Optional.empty(), device, stream.stream());
            }
        }

        @Override
        public String device() {
            return "cuda:" + Gpu.INDEX;
        }

        @Override
        public void wordStarts(boolean[] table) {}

        @Override
        public boolean runsAhead() {
            return ahead;
        }

        private record Sampled(Chunk chunk, WantedPosition wanted) {}

        @Override
        public void launch(List<Chunk> chunks) {
            List<Sampled> sampled = chunks.stream()
                    .flatMap(chunk -> chunk.wantedPositions().stream().map(wanted -> new Sampled(chunk, wanted)))
                    .toList();
            int count = sampled.size();
            StepRows.Host host = step.host(steps++ % 2);
            try (TensorScope scope = new TensorScope()) {
                torch_cuda.setCurrentCUDAStream(stream);
                float[] made = new float[count * PADDED];
                Arrays.fill(made, 1e4f); // padding must never win
                for (int row = 0; row < count; row++) {
                    maker.make(sampled.get(row).chunk.sequence().request(), made, row * PADDED);
                }
                Tensor logits = torch.from_blob(
                                new FloatPointer(made), new long[] {count, PADDED}, new TensorOptions(ScalarType.Float))
                        .to(dtype);
                host.fillSampled(chunks, sampler::prepare);
                host.upload(count, false);
                sampler.launch(step, count, logits.to(device, dtype));
                Cuda.check(cudart.cudaStreamSynchronize(stream.stream()), "cudaStreamSynchronize");
                FloatPointer rounded = logits.to(ScalarType.Float).data_ptr_float();
                float[] row = new float[VOCAB];
                for (int i = 0; i < count; i++) {
                    rounded.position((long) i * PADDED).get(row);
                    Sampled one = sampled.get(i);
                    compare(one.chunk, one.wanted.position() + 1, host, i, row);
                    sampler.take(one.chunk, one.wanted, host, i);
                }
            }
        }

        /** {@code length}: tokens that are known before the sampled one. */
        private void compare(Chunk chunk, int length, StepRows.Host host, int row, float[] logits) {
            Sequence sequence = chunk.sequence();
            int slot = sequence.slot();
            if (failures.containsKey(sequence.request().promptTokenIds()[0])) {
                return; // a wasted row
            }
            SamplingParams params = sequence.sampling();
            int[] tokens = Arrays.copyOf(sequence.tokens(), length);
            if (chunk.isPending()) {
                tokens[length - 1] = last[slot];
            }
            int expected;
            try {
                expected = reference.sample(
                        logits,
                        params,
                        sequence.seed(),
                        tokens,
                        sequence.promptLength(),
                        length,
                        sequence.bannedIds(length));
            } catch (UnusableLogitsException e) {
                failures.put(sequence.request().promptTokenIds()[0], e.getMessage());
                return;
            }
            rows++;
            last[slot] = expected;
            int got = host.result(row, ResultRow.TOKEN);
            if (got != expected) {
                differences.add(params + " output " + (length - sequence.promptLength()) + ": expected " + expected
                        + ", got " + got);
            } else if (params.topLogprobs().isPresent()) {
                TokenLogprobs want = reference.logprobs(
                        logits, expected, params.topLogprobs().getAsInt());
                TokenLogprobs taken =
                        sampler.logprobs(host, row, params.topLogprobs().getAsInt());
                if (!want.equals(taken)) {
                    differences.add("logprobs: expected " + want + ", got " + taken);
                }
            }
        }

        @Override
        public void await() {}

        @Override
        public int vocabSize() {
            return VOCAB;
        }

        @Override
        public int contextLength() {
            return CONTEXT;
        }

        @Override
        public int[] endOfTextIds() {
            return new int[0];
        }

        @Override
        public int maxBatchSize() {
            return SLOTS;
        }

        @Override
        public int pageSize() {
            return PAGE_SIZE;
        }

        @Override
        public int pageCount() {
            return 8 * SLOTS;
        }

        @Override
        public void close() {
            sampler.close();
            step.close();
            device.releaseReference();
            stream.releaseReference();
        }
    }
}
