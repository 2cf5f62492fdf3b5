package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.request.UnusableLogitsException;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.testing.RandomCheckpoint;
import io.github.loomtorch.testing.SafetensorsWriter;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.natives.Libtorch;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletionException;
import java.util.stream.Stream;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is wrong with a file, an option or the weights' values is told in one sentence, and leaves nothing behind. */
class BadInputIT {
    private static final Gpt2Config CONFIG = RandomCheckpoint.tinyConfig();
    private static final int BATCH_SIZE = 6;
    private static final int POISON = 7;

    @TempDir
    private Path directory;

    @Test
    void aDeviceThatIsNotThere() throws IOException {
        RandomCheckpoint.write(directory, CONFIG, DType.F32, 1);
        String message =
                assertThrows(TorchException.class, () -> load("cuda:99")).getMessage();
        if (Libtorch.cudaDeviceCount() > 0) {
            assertTrue(message.startsWith("device must be one of the "), message);
            assertTrue(message.endsWith(", got cuda:99"), message);
        } else {
            assertEquals(
                    "CUDA is not available: libtorch "
                            + (torch.hasCUDA()
                                    ? "found no working GPU; check the driver, or set device=cpu"
                                    : "was loaded without CUDA; put its GPU natives on the class path (Maven profile gpu), or set device=cpu"),
                    message);
        }
        assertNothingIsLeft();
    }

    @Test
    void aTensorOfAnotherShape() throws IOException {
        writeCheckpoint("h.1.mlp.c_fc.weight", DType.F32, 64, 16);
        assertRefused("tensor h.1.mlp.c_fc.weight: expected shape [16, 64] from the configuration, got [64, 16]");
    }

    @Test
    void aTensorOfAnotherType() throws IOException {
        writeCheckpoint("ln_f.bias", DType.I32, 16);
        assertRefused("tensor ln_f.bias: dtype must be one of [F32, F16, BF16, F64], got I32");
    }

    @Test
    void aTensorTooFew() throws IOException {
        Path file = writeCheckpoint().resolve("config.json");
        Files.writeString(file, Files.readString(file).replace("\"n_layer\" : 2", "\"n_layer\" : 3"));
        String message = assertThrows(IOException.class, () -> load("cpu")).getMessage();
        assertEquals(
                directory.resolve("model.safetensors")
                        + ": expected tensor h.2.ln_1.weight of shape [16], got none of that name",
                message);
        assertNothingIsLeft();
    }

    @Test
    void aTruncatedFile() throws IOException {
        Path file = writeCheckpoint().resolve("model.safetensors");
        byte[] whole = Files.readAllBytes(file);
        Files.write(file, Arrays.copyOf(whole, whole.length - 1));
        String message = assertThrows(IOException.class, () -> load("cpu")).getMessage();
        assertTrue(message.startsWith(file + ": tensor "), message);
        assertEquals(1, message.lines().count(), message);
        assertNothingIsLeft();
    }

    /*
     * The head is not tied, so that the row of one token's embedding is NaN and nothing else: a sequence has finite logits until it holds
     * that token. Whatever then came to others through the cache, a padded batch or reused memory would be NaN too.
     */
    @Test
    void nanWeightsFailTheSequencesTheyReachAndNoOthers() throws IOException {
        Gpt2Config config = new Gpt2Config(
                CONFIG.vocabSize(),
                64,
                CONFIG.hiddenSize(),
                CONFIG.layerCount(),
                CONFIG.headCount(),
                CONFIG.innerSize(),
                CONFIG.activation(),
                CONFIG.layerNormEpsilon(),
                true,
                false,
                /* tieWordEmbeddings= */ false,
                List.of());
        Path healthy = RandomCheckpoint.write(directory.resolve("healthy"), config, DType.F32, 1);
        Path poisoned = RandomCheckpoint.write(directory.resolve("poisoned"), config, DType.F32, 1);
        poison(poisoned, config);

        List<GenerationRequest> requests = requests(config);
        List<Completion> expected;
        try (Gpt2 gpt2 = load(healthy, "cpu")) {
            expected = Generations.alone(gpt2, EngineOptions.defaults(), requests);
        }
        try (NaiveScheduler scheduler =
                new NaiveScheduler(new Engine(load(poisoned, "cpu"), EngineOptions.defaults()), BATCH_SIZE)) {
            List<Generation> generations = new ArrayList<>();
            for (int round = 0; round < 4; round++) { // pages that held NaN are used again
                requests.forEach(request -> generations.add(scheduler.submit(request)));
            }
            scheduler.flush();
            int failed = 0;
            for (int i = 0; i < generations.size(); i++) {
                Completion healthyRun = expected.get(i % requests.size());
                if (hasPoison(healthyRun)) {
                    failed++;
                    CompletionException e = assertThrows(CompletionException.class, generations.get(i)::join);
                    UnusableLogitsException cause = assertInstanceOf(UnusableLogitsException.class, e.getCause());
                    assertTrue(cause.getMessage().contains("NaN"), cause.getMessage());
                } else {
                    assertArrayEquals(
                            healthyRun.outputTokenIds(),
                            generations.get(i).join().outputTokenIds());
                }
            }
            assertTrue(failed > 0 && failed < generations.size(), failed + " of " + generations.size() + " failed");
        }
    }

    /** Prompts of several lengths; every third holds the poison, others may come to sample it. */
    private static List<GenerationRequest> requests(Gpt2Config config) {
        Random random = new Random(1);
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < 2 * BATCH_SIZE; i++) {
            int[] prompt = random.ints(1 + 4 * i, 0, config.vocabSize())
                    .map(id -> id == POISON ? POISON + 1 : id)
                    .toArray();
            if (i % 3 == 0) {
                prompt[prompt.length / 2] = POISON;
            }
            SamplingParams sampling = SamplingParams.builder()
                    .maxNewTokens(16)
                    .temperature(1)
                    .seed(i)
                    .ignoreEos(true)
                    .build();
            requests.add(new GenerationRequest(prompt, sampling));
        }
        return requests;
    }

    /** Whether the model read the poison: the last token was sampled and not read. */
    private static boolean hasPoison(Completion completion) {
        int[] output = completion.outputTokenIds();
        return Arrays.stream(completion.promptTokenIds()).anyMatch(id -> id == POISON)
                || Arrays.stream(output, 0, output.length - 1).anyMatch(id -> id == POISON);
    }

    /** Makes the embedding of one token NaN; the first tensor in the file is the token embedding. */
    private static void poison(Path model, Gpt2Config config) throws IOException {
        Path file = model.resolve("model.safetensors");
        byte[] bytes = Files.readAllBytes(file);
        ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        int data = 8 + (int) buffer.getLong(0);
        for (int i = 0; i < config.hiddenSize(); i++) {
            buffer.putFloat(data + 4 * (POISON * config.hiddenSize() + i), Float.NaN);
        }
        Files.write(file, bytes);
    }

    private Path writeCheckpoint() throws IOException {
        return RandomCheckpoint.write(directory, CONFIG, DType.F32, 1);
    }

    /** A checkpoint of zeros in which one tensor has another type or shape. */
    private void writeCheckpoint(String wrong, DType dtype, long... shape) throws IOException {
        CONFIG.write(directory.resolve("config.json"));
        SafetensorsWriter writer = new SafetensorsWriter();
        for (Map.Entry<String, long[]> tensor : Gpt2Weights.shapes(CONFIG).entrySet()) {
            boolean isWrong = tensor.getKey().equals(wrong);
            long[] size = isWrong ? shape : tensor.getValue();
            byte[] zeros = new byte[4 * (int) Arrays.stream(size).reduce(1, (a, b) -> a * b)];
            writer.add(tensor.getKey(), (isWrong ? dtype : DType.F32).name(), size, zeros);
        }
        writer.write(directory.resolve("model.safetensors"));
    }

    private Gpt2 load(String device) throws IOException {
        return load(directory, device);
    }

    private static Gpt2 load(Path model, String device) throws IOException {
        return Gpt2Loader.load(
                ModelDirectory.open(model),
                ModelOptions.builder()
                        .device(device)
                        .dtype(Dtype.FLOAT32)
                        .maxBatchSize(BATCH_SIZE)
                        .build());
    }

    /** That loading fails with this about the weights, and leaves no file and no native memory. */
    private void assertRefused(String problem) throws IOException {
        assertThrows(IOException.class, () -> load("cpu")); // loads the library, which keeps a few pointers
        long count = Pointer.totalCount();
        long bytes = Pointer.totalBytes();
        IOException e = assertThrows(IOException.class, () -> load("cpu"));
        assertEquals(directory.resolve("model.safetensors") + ": " + problem, e.getMessage());
        assertEquals(count, Pointer.totalCount());
        assertEquals(bytes, Pointer.totalBytes());
        assertNothingIsLeft();
    }

    private void assertNothingIsLeft() throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            assertEquals(
                    List.of("config.json", "model.safetensors"),
                    files.map(file -> file.getFileName().toString()).sorted().toList());
        }
        assertFalse(Thread.getAllStackTraces().keySet().stream()
                .anyMatch(thread -> thread.getName().startsWith("engine")));
    }
}
