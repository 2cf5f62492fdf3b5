package io.github.loomtorch.torch.program;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.model.Activation;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.testing.RandomCheckpoint;
import io.github.loomtorch.torch.Gpt2Loader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

class TorchScriptExporterIT {
    private static final Gpt2Config CONFIG = RandomCheckpoint.tinyConfig();
    private static final FileTime LONG_AGO = FileTime.fromMillis(0);

    @TempDir
    private Path directory;

    private Path exported;

    @BeforeEach
    void writeCheckpoint() throws IOException {
        RandomCheckpoint.write(directory, CONFIG, DType.F32, 1);
        exported = directory.resolve("model.ts");
    }

    @AfterEach
    void noTemporaryFileIsLeft() throws IOException {
        try (Stream<Path> files = Files.list(directory)) {
            assertEquals(
                    List.of(),
                    files.filter(file -> file.toString().endsWith(".tmp")).toList());
        }
    }

    @Test
    void exportsWhatTheFirstUseWouldExport() throws IOException {
        List<TokenLogprobs> atFirstUse = run();
        assertTrue(isCurrent());
        Files.delete(exported);
        assertFalse(isCurrent());
        assertEquals(exported, TorchScriptExporter.export(open()));
        assertTrue(isCurrent());
        assertEquals(atFirstUse, run());
    }

    @Test
    void theSecondUseTakesTheFileAsItIs() throws IOException {
        List<TokenLogprobs> first = run();
        Files.setLastModifiedTime(exported, LONG_AGO);
        assertEquals(first, run());
        assertEquals(LONG_AGO, Files.getLastModifiedTime(exported));
    }

    @Test
    void exportWritesAnewWhateverIsThere() throws IOException {
        TorchScriptExporter.export(open());
        Files.setLastModifiedTime(exported, LONG_AGO);
        TorchScriptExporter.export(open());
        assertNotEquals(LONG_AGO, Files.getLastModifiedTime(exported));
    }

    @Test
    void changedWeightsAreExportedAgain() throws IOException {
        List<TokenLogprobs> old = run();
        RandomCheckpoint.write(directory, CONFIG, DType.F32, 2);
        Files.setLastModifiedTime(directory.resolve("model.safetensors"), LONG_AGO); // older ones count as changed too
        assertFalse(isCurrent());
        List<TokenLogprobs> changed = run();
        assertNotEquals(old, changed);
        assertTrue(isCurrent());
        Files.delete(exported);
        assertEquals(changed, run());
    }

    @Test
    void aChangedConfigurationIsExportedAgain() throws IOException {
        List<TokenLogprobs> old = run();
        with(Activation.RELU, CONFIG.contextLength()).write(directory.resolve("config.json"));
        assertFalse(isCurrent());
        assertNotEquals(old, run());
        assertTrue(isCurrent());
    }

    @Test
    void anExportedModelRunsWithoutItsWeights() throws IOException {
        List<TokenLogprobs> expected = run();
        deleteWeights();
        assertEquals(expected, run());
    }

    @Test
    void anExportOfAnotherProgramIsNotRun() throws IOException {
        run();
        deleteWeights();
        with(Activation.RELU, CONFIG.contextLength()).write(directory.resolve("config.json"));
        assertRefused("one exported by another version or for another config.json");
    }

    @Test
    void anExportOfAnotherShapeIsNotRun() throws IOException {
        run();
        deleteWeights();
        with(CONFIG.activation(), 48).write(directory.resolve("config.json"));
        assertEquals(
                exported + ": expected parameter wpe of shape [48, 16] from config.json, got [32, 16]",
                assertThrows(IOException.class, this::run).getMessage());
    }

    @Test
    void aForeignFileIsReplacedIfThereAreWeightsAndElseRefused() throws IOException {
        List<TokenLogprobs> expected = run();
        Files.writeString(exported, "not an archive");
        assertFalse(isCurrent());
        assertEquals(expected, run());
        assertTrue(isCurrent());

        deleteWeights();
        Files.writeString(exported, "not an archive");
        assertRefusedAsForeign();
        writeArchive("some/other/entry", "");
        assertRefusedAsForeign();
    }

    @Test
    void aTruncatedFileIsReplacedIfThereAreWeightsAndElseRefused() throws IOException {
        List<TokenLogprobs> expected = run();
        byte[] whole = Files.readAllBytes(exported);
        for (int length : new int[] {0, 100, whole.length / 2, whole.length - 1}) {
            Files.write(exported, Arrays.copyOf(whole, length));
            assertFalse(isCurrent());
            assertEquals(expected, run());
        }
        deleteWeights();
        Files.write(exported, Arrays.copyOf(whole, whole.length / 2));
        assertRefusedAsForeign();
    }

    @Test
    void aDamagedArchiveIsRefused() throws IOException {
        run();
        writeArchive("model/extra/loomtorch", stamp());
        assertTrue(isCurrent());
        String message = assertThrows(IOException.class, this::run).getMessage();
        assertTrue(message.matches("\\Q" + exported + "\\E: expected a TorchScript archive, got: \\w.*"), message);
        assertTrue(message.endsWith("; delete it, then it is exported again from the weights"), message);
        assertEquals(1, message.lines().count(), message);
    }

    @Test
    void theNextExportDeletesWhatAKilledOneLeft() throws IOException {
        Path left = Files.writeString(directory.resolve("model.ts.1234.tmp"), "half a mod");
        Files.setLastModifiedTime(left, LONG_AGO);
        Path own = Files.writeString(directory.resolve("model.ts.old"), "the user's own");
        Files.setLastModifiedTime(own, LONG_AGO);
        run();
        assertTrue(isCurrent());
        assertFalse(Files.exists(left));
        assertTrue(Files.exists(own));
    }

    @Test
    void anExportThatMayStillRunIsPassedOver() throws IOException {
        Path other = Files.writeString(directory.resolve("model.ts.1234.tmp"), "half a mod");
        run();
        assertTrue(isCurrent());
        assertEquals("half a mod", Files.readString(other));
        Files.delete(other);
    }

    @Test
    void whereTheFileCannotBeWrittenTheModelRunsWithAWarning() throws IOException {
        List<TokenLogprobs> expected = run();
        Files.delete(exported);
        Files.createDirectory(exported);
        PrintStream stderr = System.err;
        ByteArrayOutputStream log = new ByteArrayOutputStream();
        System.setErr(new PrintStream(log, true, StandardCharsets.UTF_8));
        try {
            assertEquals(expected, run());
        } finally {
            System.setErr(stderr);
        }
        String warning = log.toString(StandardCharsets.UTF_8);
        assertTrue(warning.contains(exported + " could not be written: "), warning);
        assertTrue(warning.contains("; the model runs, but is exported again next time"), warning);

        String message = assertThrows(IOException.class, () -> TorchScriptExporter.export(open()))
                .getMessage();
        assertTrue(message.startsWith(exported + " could not be written: "), message);
        assertFalse(message.contains("Exception") || message.contains(".tmp"), message);
        Files.delete(exported);
    }

    @Test
    void severalCanExportAtTheSameTime() throws Exception {
        List<TokenLogprobs> expected = run();
        Files.delete(exported);
        try (ExecutorService threads = Executors.newFixedThreadPool(4)) {
            List<Callable<List<TokenLogprobs>>> runs = List.of(this::run, this::run, this::run, this::run);
            for (Future<List<TokenLogprobs>> run : threads.invokeAll(runs)) {
                assertEquals(expected, run.get());
            }
        }
        assertTrue(isCurrent());
        deleteWeights();
        assertEquals(expected, run());
    }

    @Test
    @DisabledOnOs(OS.WINDOWS)
    void theFileHasTheUsualPermissions() throws IOException {
        TorchScriptExporter.export(open());
        assertEquals(
                Files.getPosixFilePermissions(directory.resolve("config.json")),
                Files.getPosixFilePermissions(exported));
    }

    private ModelDirectory open() throws IOException {
        return ModelDirectory.open(directory);
    }

    private boolean isCurrent() throws IOException {
        return TorchScriptExporter.isCurrent(open());
    }

    /** Loads the model and tells what it says. */
    private List<TokenLogprobs> run() throws IOException {
        try (Gpt2 gpt2 = Gpt2Loader.load(
                open(),
                ModelOptions.builder()
                        .device("cpu")
                        .dtype(Dtype.FLOAT32)
                        .maxBatchSize(1)
                        .build())) {
            SamplingParams sampling = SamplingParams.greedy(3).toBuilder()
                    .topLogprobs(20)
                    .ignoreEos(true)
                    .build();
            GenerationRequest request = new GenerationRequest(new int[] {3, 1, 4, 1, 5}, sampling);
            return Generations.alone(gpt2, EngineOptions.defaults(), List.of(request))
                    .get(0)
                    .logprobs();
        }
    }

    private void deleteWeights() throws IOException {
        Files.delete(directory.resolve("model.safetensors"));
    }

    private static Gpt2Config with(Activation activation, int contextLength) {
        return new Gpt2Config(
                CONFIG.vocabSize(),
                contextLength,
                CONFIG.hiddenSize(),
                CONFIG.layerCount(),
                CONFIG.headCount(),
                CONFIG.innerSize(),
                activation,
                CONFIG.layerNormEpsilon(),
                CONFIG.scaleAttnWeights(),
                CONFIG.scaleAttnByInverseLayerIdx(),
                CONFIG.tieWordEmbeddings(),
                CONFIG.endOfTextIds());
    }

    private String stamp() throws IOException {
        try (ZipFile archive = new ZipFile(exported.toFile())) {
            ZipEntry entry = archive.stream()
                    .filter(each -> each.getName().endsWith("/extra/loomtorch"))
                    .findFirst()
                    .orElseThrow();
            return new String(archive.getInputStream(entry).readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private void writeArchive(String name, String content) throws IOException {
        try (ZipOutputStream archive = new ZipOutputStream(Files.newOutputStream(exported))) {
            archive.putNextEntry(new ZipEntry(name));
            archive.write(content.getBytes(StandardCharsets.UTF_8));
        }
    }

    private void assertRefusedAsForeign() {
        assertRefused("a file that it did not export");
    }

    private void assertRefused(String got) {
        assertEquals(
                exported + ": expected a model that this version of the program exported for config.json as it is, got "
                        + got + "; put the model's weights beside it, then it is exported again",
                assertThrows(IOException.class, this::run).getMessage());
    }
}
