package io.github.loomtorch.torch.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.model.Activation;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.UnusableLogitsException;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.testing.RandomCheckpoint;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.natives.Processor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The C library on small random models. {@code Gpt2VariantsIT} and {@code GoldenIT} say whether its results are right.
 */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class CpuGpt2IT {
    private static final int BATCH_SIZE = 16;

    @TempDir
    private Path directory;

    /** Notes the logits after each sequence of tokens; if they were noted before, the bits must be the same. */
    private static final class Recording extends ForwardingLm {
        private final Gpt2 gpt2;
        private final Map<List<Integer>, float[]> logits = new HashMap<>();
        private int compared;

        Recording(Gpt2 gpt2) {
            super(gpt2);
            this.gpt2 = gpt2;
        }

        @Override
        public void launch(List<Chunk> chunks) {
            float[][] rows = CpuLogits.of(gpt2, chunks);
            int next = 0;
            for (Chunk chunk : chunks) {
                for (WantedPosition wanted : chunk.wantedPositions()) {
                    int[] tokens = chunk.sequence().tokens();
                    List<Integer> key = Arrays.stream(tokens, 0, wanted.position() + 1)
                            .boxed()
                            .toList();
                    float[] row = rows[next++];
                    float[] before = logits.putIfAbsent(key, row);
                    if (before != null) {
                        compared++;
                        for (int id = 0; id < row.length; id++) {
                            assertEquals(
                                    Float.floatToRawIntBits(before[id]),
                                    Float.floatToRawIntBits(row[id]),
                                    "logit " + id + " after " + key.size() + " tokens, in a step of " + chunks.size()
                                            + " sequences and a chunk of " + chunk.count() + " tokens");
                        }
                    }
                }
            }
            assertEquals(next, rows.length);
            super.launch(chunks);
        }
    }

    /** The last two are the sizes of a bfloat16 model with odd sizes, and of heads as wide as those of GPT-2. */
    @ParameterizedTest
    @CsvSource({
        // hidden size, heads, inner size, vocabulary, tied, page size, threads
        "24, 3, 96, 67, true, 16, 1",
        "60, 3, 100, 129, false, 8, 3",
        "64, 1, 256, 64, true, 256, 2",
        "160, 2, 7, 1000, true, 32, 2",
        "256, 4, 1024, 2003, false, 16, 4",
    })
    void theBitsOfARowDependOnItsTokensOnly(
            int hiddenSize, int heads, int innerSize, int vocabSize, boolean tied, int pageSize, int threads)
            throws IOException {
        Gpt2Config config = new Gpt2Config(
                vocabSize,
                120,
                hiddenSize,
                2,
                heads,
                innerSize,
                Activation.GELU_TANH,
                1e-5,
                true,
                false,
                tied,
                List.of());
        RandomCheckpoint.write(directory, config, DType.F32, 1, 0.3f);
        ModelOptions float32 = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(BATCH_SIZE)
                .pageSize(pageSize)
                .threads(threads)
                .build();
        for (ModelOptions options : List.of(
                float32,
                float32.toBuilder().dtype(Dtype.BFLOAT16).build(),
                float32.toBuilder().int8Weights(true).build())) {
            for (int instructionSet = 1; instructionSet <= CpuKernels.bestInstructionSet(); instructionSet++) {
                try (Gpt2 gpt2 = CpuGpt2.load(ModelDirectory.open(directory).weights(), options, instructionSet)) {
                    assertSameBits(gpt2);
                }
            }
        }
    }

    /** Sampled alone and in a batch; as a prompt, in one chunk and in several, alone and beside others. */
    private static void assertSameBits(Gpt2 gpt2) {
        Recording lm = new Recording(gpt2);
        Random random = new Random(2);
        List<GenerationRequest> requests = IntStream.range(0, BATCH_SIZE)
                .map(i -> 1 + 5 * i)
                .mapToObj(length -> new GenerationRequest(
                        random.ints(length, 0, gpt2.vocabSize()).toArray(), SamplingParams.greedy(12)))
                .toList();
        List<Completion> completions = Generations.alone(lm, options(4096), requests);
        int sampled = BATCH_SIZE * 12;
        assertCompared(lm, 0);
        Generations.together(lm, options(4096), requests);
        assertCompared(lm, sampled);
        Generations.together(lm, options(7), requests);
        assertCompared(lm, sampled);
        SamplingParams scoring = SamplingParams.builder()
                .maxNewTokens(0)
                .promptScoring(PromptScoring.from(1))
                .build();
        List<GenerationRequest> texts = completions.stream()
                .map(each -> new GenerationRequest(
                        IntStream.concat(Arrays.stream(each.promptTokenIds()), Arrays.stream(each.outputTokenIds()))
                                .toArray(),
                        scoring))
                .toList();
        int tokens = texts.stream()
                .mapToInt(each -> each.promptTokenIds().length - 1)
                .sum();
        Generations.alone(lm, options(4096), texts);
        assertCompared(lm, sampled);
        Generations.together(lm, options(4096), texts);
        assertCompared(lm, tokens);
        Generations.together(lm, options(13), texts);
        assertCompared(lm, tokens);
    }

    private static EngineOptions options(int maxPrefillTokens) {
        return EngineOptions.builder()
                .prefixCaching(false)
                .maxPrefillTokensPerStep(maxPrefillTokens)
                .maxPrefillTokensBesideDecode(maxPrefillTokens)
                .build();
    }

    private static void assertCompared(Recording lm, int atLeast) {
        assertTrue(lm.compared >= atLeast, lm.compared + " of " + atLeast);
        lm.compared = 0;
    }

    /** Each weight is a bfloat16 already, so that only activations can be rounded; 8 bits are compared loosely. */
    @ParameterizedTest
    @CsvSource({"BFLOAT16, false, 0.02", "FLOAT32, true, 0.1"})
    void otherWeightsGiveNearlyTheSameLogits(Dtype dtype, boolean int8, double tolerance) throws IOException {
        RandomCheckpoint.write(directory, RandomCheckpoint.tinyConfig(), DType.BF16, 3, 0.3f);
        ModelOptions exact = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(1)
                .build();
        double[] expected = logprobs(exact);
        double[] actual =
                logprobs(exact.toBuilder().dtype(dtype).int8Weights(int8).build());
        assertArrayEquals(expected, actual, tolerance);
        assertEquals(int8 || Processor.hasBfloat16(), !Arrays.equals(expected, actual));
    }

    /** Of the tokens of a text. */
    private double[] logprobs(ModelOptions options) throws IOException {
        SamplingParams scoring = SamplingParams.builder()
                .maxNewTokens(0)
                .promptScoring(PromptScoring.from(1))
                .build();
        int[] text = new Random(5).ints(30, 0, 50).toArray();
        try (Gpt2 gpt2 = load(options)) {
            return Generations.alone(gpt2, EngineOptions.defaults(), List.of(new GenerationRequest(text, scoring)))
                    .getFirst()
                    .promptScores()
                    .stream()
                    .mapToDouble(score -> score.logprobs().logprob())
                    .toArray();
        }
    }

    /**
     * A token whose embedding is infinite fails its own request. It harms no row of the same step, none before it in
     * its own chunk, which may be in a page that others share, and none that uses the same memory later.
     */
    @ParameterizedTest
    @CsvSource({"FLOAT32, false", "BFLOAT16, false", "FLOAT32, true"})
    void infinityFailsItsOwnRequestOnly(Dtype dtype, boolean int8) throws IOException {
        Gpt2Config config = new Gpt2Config(
                67, 64, 60, 2, 3, 96, Activation.RELU, 1e-5, true, false, /* tieWordEmbeddings= */ false, List.of());
        RandomCheckpoint.write(directory, config, DType.F32, 1, 0.3f);
        makeInfinite(directory.resolve("model.safetensors"), "wte.weight", 5L * 60);
        int places = 20;
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(dtype)
                .int8Weights(int8)
                .maxBatchSize(places)
                .build();
        Random random = new Random(3);
        List<GenerationRequest> good = IntStream.range(0, places - 1)
                .mapToObj(i -> new GenerationRequest(random.ints(17, 6, 67).toArray(), SamplingParams.greedy(5)))
                .toList();
        int[] beginsLikeTheFirst = Arrays.copyOf(good.getFirst().promptTokenIds(), 50);
        beginsLikeTheFirst[17] = 5;
        GenerationRequest bad = new GenerationRequest(beginsLikeTheFirst, SamplingParams.greedy(5));
        for (int instructionSet = 1; instructionSet <= CpuKernels.bestInstructionSet(); instructionSet++) {
            try (Gpt2 gpt2 = CpuGpt2.load(ModelDirectory.open(directory).weights(), options, instructionSet)) {
                List<int[]> expected = outputs(Generations.alone(gpt2, options(4096), good));
                for (int place : new int[] {0, 7, places - 1}) { // all prompts in one step
                    List<GenerationRequest> requests = new ArrayList<>(good);
                    requests.add(place, bad);
                    assertOneFails(expected, Generations.ended(gpt2, options(4096), requests, places), place);
                }
                EngineOptions sharingPages = EngineOptions.builder()
                        .maxPrefillTokensPerStep(20)
                        .maxPrefillTokensBesideDecode(20)
                        .build();
                List<GenerationRequest> requests = List.of(bad, good.getFirst());
                assertOneFails(expected.subList(0, 1), Generations.ended(gpt2, sharingPages, requests, 1), 0);
            }
        }
    }

    private static void assertOneFails(List<int[]> expected, List<Generation> ended, int failing) {
        List<Generation> others = new ArrayList<>(ended);
        Throwable cause = assertThrows(CompletionException.class, others.remove(failing)::join)
                .getCause();
        assertInstanceOf(UnusableLogitsException.class, cause);
        List<int[]> actual = outputs(others.stream().map(Generation::join).toList());
        assertEquals(expected.size(), actual.size());
        for (int i = 0; i < actual.size(); i++) {
            assertArrayEquals(expected.get(i), actual.get(i), "request " + i);
        }
    }

    private static List<int[]> outputs(List<Completion> completions) {
        return completions.stream().map(Completion::outputTokenIds).toList();
    }

    /** Changes one element of a float32 tensor in a safetensors file. */
    private static void makeInfinite(Path file, String tensor, long element) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            ByteBuffer length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
            channel.read(length, 0);
            ByteBuffer header = ByteBuffer.allocate(Math.toIntExact(length.getLong(0)));
            channel.read(header, 8);
            String json = new String(header.array(), StandardCharsets.UTF_8);
            Matcher begin = Pattern.compile(Pattern.quote(tensor) + "\"[^}]*\"data_offsets\":\\s*\\[(\\d+)")
                    .matcher(json);
            assertTrue(begin.find(), json);
            ByteBuffer infinity = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN);
            infinity.putFloat(0, Float.POSITIVE_INFINITY);
            channel.write(infinity, 8 + header.capacity() + Long.parseLong(begin.group(1)) + 4 * element);
        }
    }

    @Test
    void aClosedModelComputesNothing() throws IOException {
        RandomCheckpoint.write(directory, RandomCheckpoint.tinyConfig(), DType.F32, 1);
        Gpt2 gpt2 =
                load(ModelOptions.builder().device("cpu").dtype(Dtype.FLOAT32).build());
        gpt2.close();
        gpt2.close();
        gpt2.launch(List.of());
        String message = assertThrows(IllegalStateException.class, gpt2::await).getMessage();
        assertEquals("model is closed", message);
    }

    @Test
    void itIsNotDeterministicInTheSenseThatCostsTime() throws IOException {
        RandomCheckpoint.write(directory, RandomCheckpoint.tinyConfig(), DType.F32, 1);
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .deterministic(true)
                .build();
        try (Gpt2 gpt2 = load(options)) {
            assertFalse(gpt2.deterministic());
            assertTrue(gpt2.maxDecodeRows() > BATCH_SIZE);
        }
    }

    private Gpt2 load(ModelOptions options) throws IOException {
        return assertInstanceOf(CpuGpt2.class, Gpt2Loader.load(ModelDirectory.open(directory), options));
    }
}
