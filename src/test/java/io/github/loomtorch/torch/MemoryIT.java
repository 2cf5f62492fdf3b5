package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.model.Activation;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.testing.RandomCheckpoint;
import io.github.loomtorch.testing.SafetensorsWriter;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.program.TorchScriptExporter;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.Pointer;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

/**
 * Native memory: what JavaCPP counts of its pointers, exactly; and the process's resident memory, which holds the
 * tensors, within a margin for the JVM itself. glibc would keep up to 64 MiB of free memory for each thread, or not, as
 * earlier tests have it: {@code pom.xml} sets {@code MALLOC_MMAP_THRESHOLD_}, so that every large tensor comes from the
 * system and goes back to it when freed, and before each look glibc is told to give back what is small.
 */
class MemoryIT {
    private static final long MIB = 1 << 20;
    private static final long MARGIN_BYTES = 32 * MIB;

    /** 41 M parameters: 157 MiB in float32. */
    private static final Gpt2Config MEDIUM = config(31_000, 512, 8);

    private static final long MEDIUM_BYTES = 4 * MEDIUM.parameterCount();

    private static final ModelOptions OPTIONS = ModelOptions.builder()
            .device("cpu")
            .dtype(Dtype.FLOAT32)
            .maxBatchSize(8)
            .build();

    /** The first runs by the C library, the second as a TorchScript program. */
    private static final List<Dtype> BOTH = List.of(Dtype.FLOAT32, Dtype.FLOAT16);

    @TempDir
    private Path directory;

    private static Gpt2Config config(int vocabSize, int hiddenSize, int layerCount) {
        return new Gpt2Config(
                vocabSize,
                64,
                hiddenSize,
                layerCount,
                8,
                4 * hiddenSize,
                Activation.GELU_TANH,
                1e-5,
                true,
                false,
                true,
                List.of());
    }

    /** Loads the C library and libtorch. */
    @BeforeAll
    static void warmUp(@TempDir Path tiny) throws IOException {
        TorchScriptExporter.export(
                ModelDirectory.open(RandomCheckpoint.write(tiny, RandomCheckpoint.tinyConfig(), DType.F32, 1)));
        for (Dtype dtype : BOTH) {
            try (Gpt2 gpt2 = Gpt2Loader.random(config(50, 16, 1), 1, options(dtype))) {
                generate(gpt2, 1);
            }
        }
    }

    private static ModelOptions options(Dtype dtype) {
        return OPTIONS.toBuilder().dtype(dtype).build();
    }

    /** The logits alone of a batch are 1.5 MiB, so that a step's tensors kept would soon show. */
    @ParameterizedTest
    @FieldSource("BOTH")
    void aThousandGenerationsLeaveMemoryFlat(Dtype dtype) {
        try (Gpt2 gpt2 = Gpt2Loader.random(config(50_000, 16, 2), 1, options(dtype))) {
            generate(gpt2, 400);
            collectGarbage();
            long count = Pointer.totalCount();
            long bytes = Pointer.totalBytes();
            long resident = residentBytes();
            generate(gpt2, 1000);
            assertEquals(count, Pointer.totalCount());
            assertEquals(bytes, Pointer.totalBytes());
            collectGarbage();
            assertFlat(resident);
        }
    }

    @ParameterizedTest
    @FieldSource("BOTH")
    void closeFreesEverythingOnce(Dtype dtype) throws IOException {
        writeZeros(MEDIUM, DType.F32);
        collectGarbage();
        long count = Pointer.totalCount();
        long bytes = Pointer.totalBytes();
        long resident = residentBytes();
        Gpt2 gpt2 = Gpt2Loader.load(open(), options(dtype));
        assertTrue(residentBytes() - resident > MEDIUM_BYTES / 3);
        gpt2.close();
        gpt2.close();
        collectGarbage();
        assertEquals(count, Pointer.totalCount());
        assertEquals(bytes, Pointer.totalBytes());
        assertFlat(resident);
    }

    @Test
    void aLoadThatFailsFreesEverything() throws IOException {
        writeZeros(MEDIUM, DType.F32);
        TorchScriptExporter.export(open());
        config(31_000 + 64, 512, 8).write(directory.resolve("config.json"));
        Files.delete(directory.resolve("model.safetensors"));
        collectGarbage();
        long count = Pointer.totalCount();
        long bytes = Pointer.totalBytes();
        long resident = residentBytes();
        assertThrows(IOException.class, () -> Gpt2Loader.load(open(), OPTIONS)); // only after the weights were read
        assertEquals(count, Pointer.totalCount());
        assertEquals(bytes, Pointer.totalBytes());
        assertFlat(resident);
    }

    /**
     * Copies as large as the weights in float32. The pages of a mapped checkpoint count as one, though the system can
     * take them back, and so do random weights until garbage is collected; beside them a load holds the weights; an
     * export holds the largest of the parameters.
     */
    @Test
    @EnabledOnOs(value = OS.LINUX, architectures = "amd64")
    void loadingHoldsFewCopiesOfTheWeights() throws IOException {
        assertPeak("random", 2.1, () -> Gpt2Loader.random(MEDIUM, 1, OPTIONS).close());
        writeZeros(MEDIUM, DType.F32);
        assertPeak("load", 2.1, () -> Gpt2Loader.load(open(), OPTIONS).close());
        for (Dtype dtype : List.of(Dtype.BFLOAT16, Dtype.FLOAT16)) {
            assertPeak(
                    "load as " + dtype,
                    1.6,
                    () -> Gpt2Loader.load(open(), options(dtype)).close());
        }
        ModelOptions int8 = OPTIONS.toBuilder().int8Weights(true).build();
        assertPeak(
                "load with int8 weights",
                1.35,
                () -> Gpt2Loader.load(open(), int8).close());
        assertPeak("export", 1.5, () -> TorchScriptExporter.export(open()));
        Files.delete(directory.resolve("model.safetensors"));
        assertPeak(
                "load of model.ts", 2.1, () -> Gpt2Loader.load(open(), OPTIONS).close());
        writeZeros(MEDIUM, DType.F16);
        assertPeak(
                "load of float16 weights",
                1.6,
                () -> Gpt2Loader.load(open(), OPTIONS).close());
    }

    private interface Action {
        void run() throws IOException;
    }

    /** Lets the kernel forget the most that was resident so far, and asks it afterwards. */
    private static void assertPeak(String what, double copies, Action action) throws IOException {
        collectGarbage();
        Files.writeString(Path.of("/proc/self/clear_refs"), "5");
        long before = peakResidentBytes();
        action.run();
        long growth = peakResidentBytes() - before;
        assertTrue(
                growth <= copies * MEDIUM_BYTES + MARGIN_BYTES,
                what + ": grew by " + growth / MIB + " MiB for weights of " + MEDIUM_BYTES / MIB + " MiB");
    }

    private static long peakResidentBytes() throws IOException {
        String line = Files.readAllLines(Path.of("/proc/self/status")).stream()
                .filter(each -> each.startsWith("VmHWM:"))
                .findFirst()
                .orElseThrow();
        return 1024 * Long.parseLong(line.replaceAll("\\D", ""));
    }

    /** Until no file is mapped any more. */
    private static void collectGarbage() {
        BufferPoolMXBean mapped = ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class).stream()
                .filter(pool -> pool.getName().equals("mapped"))
                .findFirst()
                .orElseThrow();
        assertTimeoutPreemptively(Duration.ofSeconds(20), () -> {
            do {
                System.gc();
            } while (mapped.getCount() > 0);
        });
    }

    private static long residentBytes() {
        Pointer.trimMemory();
        return Pointer.physicalBytes();
    }

    private static void assertFlat(long residentBefore) {
        long growth = residentBytes() - residentBefore;
        assertTrue(growth <= MARGIN_BYTES, "resident memory grew by " + growth / MIB + " MiB");
    }

    private static void generate(Gpt2 gpt2, int count) {
        List<GenerationRequest> requests = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            int[] prompt = new int[1 + i % 20];
            prompt[0] = i % 50;
            requests.add(new GenerationRequest(prompt, SamplingParams.greedy(4)));
        }
        Generations.together(gpt2, EngineOptions.defaults(), requests);
    }

    private ModelDirectory open() throws IOException {
        return ModelDirectory.open(directory);
    }

    /** A checkpoint of zeros that no byte of passes through the Java heap. */
    private void writeZeros(Gpt2Config config, DType dtype) throws IOException {
        config.write(directory.resolve("config.json"));
        Map<String, String> header = new LinkedHashMap<>();
        long end = 0;
        for (Map.Entry<String, long[]> tensor : Gpt2Weights.shapes(config).entrySet()) {
            long begin = end;
            long size = dtype.sizeBytes();
            for (long n : tensor.getValue()) {
                size *= n;
            }
            end += size;
            header.put(
                    tensor.getKey(),
                    "{\"dtype\": \"%s\", \"shape\": %s, \"data_offsets\": [%d, %d]}"
                            .formatted(dtype, Arrays.toString(tensor.getValue()), begin, end));
        }
        StringBuilder json = new StringBuilder("{");
        header.forEach((name, entry) -> json.append(json.length() == 1 ? "" : ", ")
                .append('"')
                .append(name)
                .append("\": ")
                .append(entry));
        json.append('}').append(" ".repeat(-json.length() & 7)); // aligns the elements, else they are copied
        Path file = SafetensorsWriter.write(directory.resolve("model.safetensors"), json.toString(), new byte[0]);
        try (RandomAccessFile grown = new RandomAccessFile(file.toFile(), "rw")) {
            grown.setLength(grown.length() + end);
        }
    }
}
