package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.testing.Gpu;
import io.github.loomtorch.testing.Seeds;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.natives.CacheFolder;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.Gpt2Module;
import io.github.loomtorch.torch.program.KvCache;
import io.github.loomtorch.torch.program.LibtorchGpt2;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.AbstractTensor;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The kernels against the program in float32, on the same weights: every step of batches of random requests, with
 * random weights, biases and norms, by every kind of attention that is right for it, with padding, and with all that
 * the kernels write set to NaN before. Seeds are new each time; {@code -Dloomtorch.seed} repeats one.
 */
@Tag("gpu")
class CudaLayersIT {
    /** Batches for each kernel of each product, with prefill chunks beside, and beyond what cuBLAS takes over. */
    @ParameterizedTest
    @CsvSource({
        // dtype, tolerance, hidden size, heads, page size, batch, tokens of prompts in a step
        "FLOAT16, 4e-3, 768, 12, 16, 1, 512",
        "FLOAT16, 4e-3, 768, 12, 16, 16, 512",
        "FLOAT16, 4e-3, 768, 12, 16, 61, 512",
        "FLOAT16, 4e-3, 768, 12, 8, 130, 70",
        "FLOAT16, 4e-3, 768, 12, 16, 512, 250",
        "FLOAT16, 4e-3, 96, 3, 16, 77, 512",
        "FLOAT16, 4e-3, 256, 4, 256, 200, 170",
        "FLOAT16, 4e-3, 1600, 25, 16, 70, 512",
        "FLOAT16, 4e-3, 448, 7, 16, 100, 200",
        "BFLOAT16, 3e-2, 768, 12, 16, 70, 60",
        "BFLOAT16, 3e-2, 1280, 5, 32, 60, 100",
        "BFLOAT16, 3e-2, 64, 2, 16, 9, 512",
        "FLOAT32, 1e-4, 320, 5, 16, 200, 140"
    })
    void everyStepGivesTheProgramsLogits(
            Dtype dtype, double tolerance, int hidden, int heads, int pageSize, int batch, int prefillTokens)
            throws IOException {
        long seed = Seeds.next("CudaLayersIT");
        Random random = new Random(seed);
        Gpt2Config gpt2 = Gpt2Config.shape("gpt2");
        Gpt2Config config = new Gpt2Config(
                1003,
                1024,
                hidden,
                2,
                heads,
                4 * hidden,
                gpt2.activation(),
                gpt2.layerNormEpsilon(),
                true,
                false,
                true,
                List.of());
        Map<AttentionChoice.Kind, List<Double>> errors = new EnumMap<>(AttentionChoice.Kind.class);
        try (ContinuousScheduler scheduler = new ContinuousScheduler(() -> new Engine(
                new ComparingLm(config, dtype, pageSize, batch, prefillTokens, seed, errors),
                EngineOptions.builder()
                        .maxPrefillTokensPerStep(prefillTokens)
                        .maxPrefillTokensBesideDecode(prefillTokens)
                        .build()))) {
            List<Generation> generations = new ArrayList<>();
            for (int i = 0; i < batch; i++) {
                int length = i == 1 || batch == 1
                        ? 1017
                        : i == 0 ? 1 : random.nextInt(8) == 0 ? 1 + random.nextInt(1000) : 1 + random.nextInt(40);
                generations.add(scheduler.submit(
                        new GenerationRequest(random.ints(length, 0, 1003).toArray(), SamplingParams.greedy(7))));
            }
            generations.forEach(Generation::join);
        }
        errors.forEach((kind, ofKind) -> {
            assertTrue(ofKind.size() > 7, () -> "compared " + errors);
            double worst = ofKind.stream()
                    .mapToDouble(Double::doubleValue)
                    .reduce(0, (a, b) -> Double.isNaN(b) ? b : Math.max(a, b));
            System.out.printf(
                    "%s, hidden size %d, batch %d, attention by %s: %d results, largest relative error %.2e%n",
                    dtype, hidden, batch, kind, ofKind.size(), worst);
            assertTrue(worst < tolerance, kind + ": relative error " + worst + " with seed " + seed);
        });
    }

    /**
     * Gives each sequence the program's most probable token, and notes how far the kernels' logits are from the
     * program's.
     */
    private static final class ComparingLm extends LibtorchGpt2 {
        private static final int MAX_PADDING = 20; // rows
        private static final List<String> WEIGHTS = List.of("wte", "wpe", "qkv_w", "proj_w", "fc_w", "out_w");
        private static final List<String> FACTORS = List.of("ln1_w", "ln2_w", "lnf_w");
        private static final List<String> OFFSETS =
                List.of("ln1_b", "qkv_b", "proj_b", "ln2_b", "fc_b", "out_b", "lnf_b");

        private final Map<AttentionChoice.Kind, List<Double>> errors;
        private final Random random;
        private final Deque<AutoCloseable> closers = new ArrayDeque<>();
        private final TorchScriptProgram exact;
        private final CudaLayers layers;
        private final StepRows rows;
        private final Tensor embeddings;

        ComparingLm(
                Gpt2Config config,
                Dtype dtype,
                int pageSize,
                int batch,
                int prefillTokens,
                long seed,
                Map<AttentionChoice.Kind, List<Double>> errors)
                throws IOException {
            this(
                    config,
                    ModelOptions.builder()
                            .device(Gpu.DEVICE)
                            .dtype(dtype)
                            .maxBatchSize(batch)
                            .pageSize(pageSize)
                            .kvCacheFraction(0.4)
                            .cudaGraphs(false)
                            .build(),
                    prefillTokens,
                    seed,
                    errors);
        }

        private ComparingLm(
                Gpt2Config config,
                ModelOptions options,
                int prefillTokens,
                long seed,
                Map<AttentionChoice.Kind, List<Double>> errors)
                throws IOException {
            super(program(config, options, seed), options);
            this.errors = errors;
            random = new Random(seed);
            exact = program(
                    config,
                    ModelOptions.builder()
                            .device(Gpu.DEVICE)
                            .dtype(Dtype.FLOAT32)
                            .maxBatchSize(maxBatchSize())
                            .pageSize(pageSize())
                            .kvCacheFraction(0.4)
                            .cudaGraphs(false)
                            .build(),
                    seed);
            closers.push(exact);
            try (TensorScope scope = new TensorScope()) {
                FACTORS.forEach(name -> program.parameter(name).normal_(1, 0.2, null));
                OFFSETS.forEach(name -> program.parameter(name).normal_(0, 0.1, null));
                for (List<String> names : List.of(WEIGHTS, FACTORS, OFFSETS)) {
                    names.forEach(name -> exact.parameter(name).copy_(program.parameter(name)));
                }
                program.cache().tensor().zero_();
                exact.cache().tensor().zero_();
                int maxRows = maxBatchSize() + prefillTokens + MAX_PADDING;
                embeddings = program.parameter("wte").clone().retainReference();
                layers = new CudaLayers(
                        program,
                        new CudaKernels.Loader(
                                CudaGpt2.kernels(program, options),
                                new KernelCache(CacheFolder.path()),
                                program.stream().stream().retainReference()),
                        maxRows,
                        false);
                closers.push(layers);
                rows = new StepRows(
                        maxRows,
                        StepInput.rowSize(KvCache.pagesPerSequence(config, pageSize())),
                        pageSize(),
                        layers.attentionPlan(),
                        program.device(),
                        program.stream().stream().retainReference());
                closers.push(rows);
                kindsFor(List.of()).forEach(kind -> errors.put(kind, new ArrayList<>()));
                Cuda.check(
                        cudart.cudaDeviceSynchronize(),
                        "cudaDeviceSynchronize"); // the two programs have streams of their own
            }
        }

        private static TorchScriptProgram program(Gpt2Config config, ModelOptions options, long seed)
                throws IOException {
            return new TorchScriptProgram(Gpt2Module.random(config, seed), options, 0);
        }

        @Override
        public void wordStarts(boolean[] table) {}

        @Override
        public void launch(List<Chunk> chunks) {
            try (TensorScope scope = new TensorScope()) {
                exact.configureThread();
                int decodes = Gpt2.decodes(chunks);
                List<Wanted> wanted = new ArrayList<>();
                if (decodes > 0) {
                    wanted.addAll(wanted(chunks.subList(0, decodes), exact.decode(chunks.subList(0, decodes)), 0));
                }
                if (decodes < chunks.size()) {
                    List<Chunk> prefilling = chunks.subList(decodes, chunks.size());
                    wanted.addAll(wanted(prefilling, exact.head(exact.prefill(prefilling)), decodes));
                }
                Cuda.check(
                        cudart.cudaDeviceSynchronize(), "cudaDeviceSynchronize"); // its cache is read on another stream

                program.configureThread();
                StepRows.Host host = rows.host(0);
                host.fill(chunks, chunk -> 0);
                int count = chunks.stream().mapToInt(Chunk::count).sum()
                        + (random.nextBoolean() ? random.nextInt(MAX_PADDING) : 0);
                Tensor wte = program.parameter("wte");
                Tensor written = cacheRows(chunks);
                for (AttentionChoice.Kind kind : kindsFor(chunks)) {
                    program.cache().tensor().index_fill_(2, written, new Scalar(Double.NaN));
                    wte.fill_(new Scalar(Double.NaN)); // makes all that a step writes NaN
                    host.upload(count, kind.isPlanned());
                    layers.step(rows, count, kind, 0);
                    wte.copy_(embeddings);
                    Tensor logits = layers.step(rows, count, kind, 0)
                            .to(ScalarType.Float)
                            .cpu();
                    List<Double> ofKind = errors.get(kind);
                    ofKind.add(relativeError(
                            program.cache().tensor().index_select(2, written),
                            exact.cache().tensor().index_select(2, written)));
                    if (!wanted.isEmpty()) {
                        ofKind.add(relativeError(wanted, logits));
                    }
                }
            }
        }

        private Set<AttentionChoice.Kind> kindsFor(List<Chunk> chunks) {
            AttentionChoice choice = layers.attentionChoice();
            Set<AttentionChoice.Kind> right = EnumSet.allOf(AttentionChoice.Kind.class);
            if (!choice.hasPrefill()) {
                right.removeAll(EnumSet.of(AttentionChoice.Kind.PREFILL, AttentionChoice.Kind.PREFILL_AND_PERSISTENT));
            }
            if (!choice.atLeast90()) {
                right.removeAll(EnumSet.of(
                        AttentionChoice.Kind.SPLIT_KV,
                        AttentionChoice.Kind.PERSISTENT,
                        AttentionChoice.Kind.PREFILL_AND_PERSISTENT));
            }
            if (chunks.stream().anyMatch(chunk -> chunk.count() > 1)) {
                right.remove(AttentionChoice.Kind.PERSISTENT);
            }
            return right;
        }

        /** The program's logits of a row of the step. */
        private record Wanted(int row, float[] logits) {}

        /** Of the chunks that sample, which get their tokens. */
        private List<Wanted> wanted(List<Chunk> chunks, Tensor expected, int firstRow) {
            Tensor onHost = expected.to(ScalarType.Float).cpu().contiguous();
            FloatPointer values = onHost.data_ptr_float();
            List<Wanted> wanted = new ArrayList<>();
            int row = firstRow;
            int line = 0; // of the program's, which a decode has for every chunk, a prefill for those that sample
            boolean everyChunk = expected.size(0) == chunks.size();
            for (Chunk chunk : chunks) {
                row += chunk.count();
                for (WantedPosition position : chunk.wantedPositions()) {
                    float[] logits = new float[vocabSize()];
                    values.position(line * expected.size(1)).get(logits);
                    int best = 0;
                    for (int id = 0; id < logits.length; id++) {
                        best = logits[id] > logits[best] ? id : best;
                    }
                    wanted.add(new Wanted(row - 1, logits));
                    position.sampled(best);
                }
                line += everyChunk || !chunk.wantedPositions().isEmpty() ? 1 : 0;
            }
            return wanted;
        }

        /** Where the cache has the keys and values of the step's tokens, on the device. */
        private Tensor cacheRows(List<Chunk> chunks) {
            long[] places = chunks.stream()
                    .flatMapToLong(chunk -> IntStream.range(chunk.start(), chunk.end())
                            .mapToLong(
                                    at -> (long) chunk.sequence().page(at / pageSize()) * pageSize() + at % pageSize()))
                    .toArray();
            return AbstractTensor.create(places).to(program.device(), ScalarType.Long);
        }

        private static double relativeError(Tensor got, Tensor expected) {
            return got.to(ScalarType.Float).sub(expected).norm().item_double()
                    / expected.norm().item_double();
        }

        private double relativeError(List<Wanted> wanted, Tensor logits) {
            FloatPointer values = logits.data_ptr_float();
            float[] got = new float[vocabSize()];
            double difference = 0;
            double norm = 0;
            for (Wanted row : wanted) {
                values.position(row.row * logits.size(1)).get(got);
                for (int id = 0; id < got.length; id++) {
                    difference += (row.logits[id] - got[id]) * (double) (row.logits[id] - got[id]);
                    norm += row.logits[id] * (double) row.logits[id];
                }
            }
            return Math.sqrt(difference / norm);
        }

        @Override
        public void await() {}

        @Override
        public int pageCount() {
            return Math.min(program.cache().pageCount(), exact.cache().pageCount());
        }

        /** The whole cache, too: nothing is written where it does not belong. */
        @Override
        public void close() {
            try (TensorScope scope = new TensorScope()) {
                double error =
                        relativeError(program.cache().tensor(), exact.cache().tensor());
                errors.values().forEach(ofKind -> ofKind.add(error));
            }
            embeddings.releaseReference();
            while (!closers.isEmpty()) {
                try {
                    closers.pop().close();
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            }
            super.close();
        }
    }
}
