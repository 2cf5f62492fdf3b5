package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.github.loomtorch.model.Checkpoint;
import io.github.loomtorch.model.CheckpointTensor;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.testing.NaiveGpt2;
import io.github.loomtorch.testing.RandomCheckpoint;
import io.github.loomtorch.testing.SafetensorsWriter;
import io.github.loomtorch.testing.TorchScriptModels;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/**
 * Models of every configuration against {@link NaiveGpt2}, on small random weights: by the C library where it runs, and
 * as TorchScript programs.
 */
class Gpt2VariantsIT {
    private static final JsonMapper JSON = JsonMapper.builder().build();

    private static final String BASE = """
            {"model_type": "gpt2", "vocab_size": 67, "n_positions": 50, "n_embd": 24, "n_layer": 2, "n_head": 3}""";

    /** Around the borders of pages of 16 tokens, and up to the context, 50. */
    private static final int[] PROMPT_LENGTHS = {1, 2, 15, 16, 17, 33, 49};

    /*
     * Logprobs lie within [-10, 0]. A float32 rounds them by up to 5e-7, and they are the end of about ten sums of 24 to 96 terms each.
     * The largest difference seen is 2e-5, with heads of one element.
     */
    private static final double TOLERANCE = 1e-4;

    @TempDir
    private Path directory;

    @TestFactory
    Stream<DynamicTest> everyConfigurationComputesWhatItsDefinitionSays() {
        return Stream.of(
                        "{}",
                        "{'activation_function': 'gelu'}",
                        "{'activation_function': 'gelu_pytorch_tanh'}",
                        "{'activation_function': 'relu'}",
                        "{'activation_function': 'quick_gelu'}",
                        "{'activation_function': 'silu'}",
                        "{'activation_function': 'tanh'}",
                        "{'n_inner': 40}",
                        "{'n_inner': 7}",
                        "{'tie_word_embeddings': false}",
                        "{'scale_attn_weights': false}",
                        "{'scale_attn_by_inverse_layer_idx': true, 'n_layer': 3}",
                        "{'scale_attn_by_inverse_layer_idx': true, 'scale_attn_weights': false}",
                        "{'layer_norm_epsilon': 0.1}",
                        "{'layer_norm_epsilon': 1e-12}",
                        "{'vocab_size': 19}",
                        "{'vocab_size': 64}",
                        "{'vocab_size': 129, 'tie_word_embeddings': false}",
                        "{'n_embd': 15}",
                        "{'n_embd': 36}",
                        "{'n_embd': 60}",
                        "{'n_embd': 64, 'n_head': 1}",
                        "{'n_embd': 160, 'n_head': 2, 'n_layer': 1}",
                        "{'n_head': 1}",
                        "{'n_head': 24}",
                        "{'n_layer': 1}")
                .map(variation -> DynamicTest.dynamicTest(variation, () -> {
                    Path model = directory.resolve(Integer.toHexString(variation.hashCode()));
                    ObjectNode json = (ObjectNode) JSON.readTree(BASE);
                    json.setAll((ObjectNode) JSON.readTree(variation.replace('\'', '"')));
                    assertMatchesDefinition(write(model, json, DType.F32));
                }));
    }

    @TestFactory
    Stream<DynamicTest> everyStorageFormatIsReadExactly() {
        return Stream.of(DType.F32, DType.F16, DType.BF16)
                .map(dtype -> DynamicTest.dynamicTest(
                        dtype.name(),
                        () -> assertMatchesDefinition(
                                write(directory.resolve(dtype.name()), JSON.readTree(BASE), dtype))));
    }

    @Test
    void namesMayHaveThePrefixTransformer() throws IOException {
        Path model = write(directory, JSON.readTree(BASE), DType.F32);
        Checkpoint weights = Checkpoint.open(model);
        SafetensorsWriter prefixed = new SafetensorsWriter();
        for (String name : weights.names()) {
            add(prefixed, "transformer." + name, weights.tensor(name));
        }
        prefixed.write(model.resolve("model.safetensors"));
        assertMatchesDefinition(model);
    }

    @Test
    void shardedCheckpointsAreReadWhole() throws IOException {
        Path model = write(directory, JSON.readTree(BASE), DType.F32);
        Checkpoint weights = Checkpoint.open(model);
        SafetensorsWriter[] shards = {new SafetensorsWriter(), new SafetensorsWriter(), new SafetensorsWriter()};
        Map<String, String> weightMap = new TreeMap<>();
        for (String name : weights.names()) {
            int shard = weightMap.size() % shards.length;
            add(shards[shard], name, weights.tensor(name));
            weightMap.put(name, "model-" + shard + ".safetensors");
        }
        for (int shard = 0; shard < shards.length; shard++) {
            shards[shard].write(model.resolve("model-" + shard + ".safetensors"));
        }
        JSON.writeValue(model.resolve("model.safetensors.index.json").toFile(), Map.of("weight_map", weightMap));
        Files.delete(model.resolve("model.safetensors"));
        assertMatchesDefinition(model);
    }

    private static Path write(Path model, Object json, DType dtype) throws IOException {
        Files.createDirectories(model);
        Path file = model.resolve("config.json");
        JSON.writeValue(file.toFile(), json);
        return RandomCheckpoint.write(model, Gpt2Config.read(file), dtype, /* seed= */ 5, /* deviation= */ 0.3f);
    }

    private static void add(SafetensorsWriter writer, String name, CheckpointTensor tensor) throws IOException {
        byte[] bytes = new byte[tensor.data().remaining()];
        tensor.data().get(bytes);
        writer.add(name, tensor.dtype().name(), tensor.shape(), bytes);
    }

    /**
     * Prefill at once, in chunks, and with others; decode alone and in batches that shrink; all up to the full context.
     */
    private static void assertMatchesDefinition(Path path) throws IOException {
        ModelDirectory model = ModelDirectory.open(path);
        List<GenerationRequest> requests = Arrays.stream(PROMPT_LENGTHS)
                .mapToObj(length -> request(length, model.config()))
                .toList();
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(PROMPT_LENGTHS.length)
                .build();
        NaiveGpt2 naive = new NaiveGpt2(path);
        try (Gpt2 gpt2 = Gpt2Loader.load(model, options)) {
            assertMatches(naive, gpt2, requests);
        }
        try (Gpt2 gpt2 = TorchScriptModels.load(model, options)) {
            assertMatches(naive, gpt2, requests);
        }
    }

    private static void assertMatches(NaiveGpt2 naive, Gpt2 gpt2, List<GenerationRequest> requests) throws IOException {
        EngineOptions whole = EngineOptions.defaults();
        EngineOptions chunked =
                EngineOptions.builder().maxPrefillTokensPerStep(7).build();
        assertMatches(naive, "together", Generations.together(gpt2, whole, requests));
        assertMatches(naive, "in chunks", Generations.together(gpt2, chunked, requests));
        assertMatches(naive, "alone", Generations.alone(gpt2, whole, requests.subList(4, 6)));
    }

    private static GenerationRequest request(int promptLength, Gpt2Config config) {
        int[] prompt = new Random(promptLength)
                .ints(promptLength, 0, config.vocabSize())
                .toArray();
        SamplingParams sampling = SamplingParams.builder()
                .maxNewTokens(config.contextLength() - promptLength)
                .temperature(1)
                .seed(promptLength)
                .ignoreEos(true)
                .topLogprobs(Math.min(config.vocabSize(), SamplingParams.MAX_TOP_LOGPROBS))
                .build();
        return new GenerationRequest(prompt, sampling);
    }

    private static void assertMatches(NaiveGpt2 naive, String how, List<Completion> completions) throws IOException {
        double largest = 0;
        for (Completion completion : completions) {
            int[] prompt = completion.promptTokenIds();
            int[] output = completion.outputTokenIds();
            int[] tokens = IntStream.concat(Arrays.stream(prompt), Arrays.stream(output))
                    .toArray();
            double[][] expected = naive.logprobs(tokens);
            for (int i = 0; i < output.length; i++) {
                TokenLogprobs actual = completion.logprobs().get(i);
                double[] row = expected[prompt.length - 1 + i];
                largest = larger(largest, actual.logprob() - row[output[i]]);
                for (TokenLogprobs.Entry entry : actual.top()) {
                    largest = larger(largest, entry.logprob() - row[entry.tokenId()]);
                }
            }
        }
        assertTrue(largest <= TOLERANCE, how + ": the largest difference of a logprob is " + largest);
    }

    /** NaN is larger than any number. */
    private static double larger(double largest, double difference) {
        return Math.max(largest, Math.abs(difference));
    }
}
