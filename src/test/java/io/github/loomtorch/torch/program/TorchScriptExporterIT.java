package io.github.loomtorch.torch.program;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
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
import io.github.loomtorch.testing.Checkpoints;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.testing.RandomCheckpoint;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

@Timeout(120)
class TorchScriptExporterIT {
    private static final Gpt2Config CONFIG = RandomCheckpoint.tinyConfig();
    private static final String PROGRAM = "model/code/__torch__.py";

    @TempDir
    private Path directory;

    private Path exported;

    @BeforeEach
    void writeCheckpoint() throws IOException {
        RandomCheckpoint.write(directory, CONFIG, DType.F32, 1);
        exported = directory.resolve("model.ts");
    }

    @Test
    void loadingWritesNothing() throws IOException {
        run();
        try (Stream<Path> files = Files.list(directory)) {
            assertEquals(
                    Set.of("config.json", "model.safetensors"),
                    files.map(file -> file.getFileName().toString()).collect(Collectors.toSet()));
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"F32", "F16", "BF16"})
    void anExportedModelRunsWithoutItsWeights(DType dtype) throws IOException {
        RandomCheckpoint.write(directory, CONFIG.withTieWordEmbeddings(dtype != DType.F16), dtype, 1);
        List<TokenLogprobs> expected = run();
        assertEquals(exported, export());
        assertEquals(dtype, open().openTorchScript().tensors().get("qkv_w").dtype());
        deleteWeights();
        assertEquals(expected, run());
        assertEquals("", warning());
    }

    @Test
    void aHeadInModelTsIsUsedWhereTheConfigurationSaysThatItIsTied() throws IOException {
        RandomCheckpoint.write(directory, CONFIG.withTieWordEmbeddings(false), DType.F32, 1);
        CONFIG.withTieWordEmbeddings(true).write(directory.resolve("config.json"));
        List<TokenLogprobs> expected = run();
        export();
        deleteWeights();
        assertEquals(expected, run());
        assertEquals("", warning());
    }

    @Test
    void weightsRunWhateverModelTsIs() throws IOException {
        List<TokenLogprobs> expected = run();
        Files.writeString(exported, "not an archive");
        assertEquals(expected, run());
        assertEquals("not an archive", Files.readString(exported));
    }

    @Test
    void replacedWeightsOfEqualSizeAndTimeRun() throws IOException {
        Path weights = directory.resolve("model.safetensors");
        FileTime time = Files.getLastModifiedTime(weights);
        long size = Files.size(weights);
        export();
        List<TokenLogprobs> old = run();
        RandomCheckpoint.write(directory, CONFIG, DType.F32, 2);
        Files.setLastModifiedTime(weights, time);
        assertEquals(size, Files.size(weights));
        List<TokenLogprobs> changed = run();
        assertNotEquals(old, changed);
        Files.delete(exported);
        assertEquals(changed, run());
    }

    @Test
    void exportReplacesWhatIsThereByTheSameBytes() throws IOException {
        byte[] first = Files.readAllBytes(export());
        Files.writeString(exported, "not an archive");
        assertArrayEquals(first, Files.readAllBytes(export()));
    }

    @Test
    void libtorchLoadsTheArchiveAndItsProgramComputesTheSame() throws IOException {
        List<TokenLogprobs> expected = run();
        export();
        deleteWeights();
        forge(program ->
                program.replace("def head(", "def unused(self: __torch__.Gpt2) -> int:\n    return 1\n  def head("));
        assertNearlyEqual(expected, run(/* trusted= */ true));
    }

    /** Programs from files have ATen's linear layers, whose sums have another order than oneDNN's. */
    private static void assertNearlyEqual(List<TokenLogprobs> expected, List<TokenLogprobs> actual) {
        assertEquals(expected.size(), actual.size());
        for (int i = 0; i < expected.size(); i++) {
            List<TokenLogprobs.Entry> top = expected.get(i).top();
            for (int j = 0; j < top.size(); j++) {
                TokenLogprobs.Entry entry = actual.get(i).top().get(j);
                assertEquals(top.get(j).tokenId(), entry.tokenId());
                assertEquals(top.get(j).logprob(), entry.logprob(), 1e-4);
            }
        }
    }

    /** Stale: the program was exported for another configuration. */
    @Test
    void theProgramIsThatOfTheConfiguration() throws IOException {
        export();
        Gpt2Config other = with(Activation.RELU, CONFIG.contextLength());
        other.write(directory.resolve("config.json"));
        List<TokenLogprobs> expected = run();
        deleteWeights();
        assertEquals(expected, run());
        assertTrue(
                warning()
                        .contains(
                                exported
                                        + ": its program is not that of this version for config.json and is ignored; its weights are used"),
                warning());
    }

    @Test
    void aForgedProgramRunsOnlyIfItIsTrusted() throws IOException {
        List<TokenLogprobs> expected = run();
        export();
        deleteWeights();
        Path written = directory.resolve("written-by-the-archive");
        forge(program -> program.replace(
                "def row_by_row(self: __torch__.Gpt2, x: Tensor) -> bool:\n",
                "def row_by_row(self: __torch__.Gpt2, x: Tensor) -> bool:\n      torch.save(x, \"" + written
                        + "\")\n"));
        assertEquals(expected, run());
        assertFalse(Files.exists(written));
        run(/* trusted= */ true);
        assertTrue(Files.exists(written));
    }

    @Test
    void aTrustedProgramOfAnotherModelIsRefused() throws IOException {
        export();
        deleteWeights();
        with(Activation.RELU, 48).write(directory.resolve("config.json"));
        String message = exported + ": expected parameter wpe of shape [48, 16] from config.json, got [32, 16]";
        assertEquals(message, refusal(/* trusted= */ false));
        assertEquals(message, refusal(/* trusted= */ true));
    }

    @Test
    void everyTruncationAndEveryChangedByteIsRefused() throws IOException {
        byte[] whole = Files.readAllBytes(export());
        deleteWeights();
        for (int length = 0; length < whole.length; length += 997) {
            Files.write(exported, Arrays.copyOf(whole, length));
            assertRefused();
        }
        int data = indexOf(whole, "model/data/4") + 200; // somewhere in its elements
        int pickle = indexOf(whole, "_rebuild_tensor_v2");
        int program = indexOf(whole, "scaled_dot_product_attention");
        for (int place : new int[] {data, data + 1000, pickle, program}) {
            byte[] changed = whole.clone();
            changed[place] ^= 1;
            Files.write(exported, changed);
            assertTrue(assertRefused().endsWith("; the file is damaged"));
        }
    }

    @Test
    void whatIsNoTorchScriptArchiveIsRefused() throws IOException {
        export();
        Map<String, byte[]> entries = entries();
        deleteWeights();
        Files.writeString(exported, "not an archive");
        assertRefused();
        Checkpoints.writeZip(exported, Map.of("some/other/entry", new byte[3]), /* compressed= */ false);
        assertTrue(assertRefused().contains("got one without data.pkl"));
        Checkpoints.writeZip(exported, entries, /* compressed= */ true);
        assertTrue(assertRefused().contains(" must be stored, got a compressed one"));
        entries.remove("model/data/3");
        Checkpoints.writeZip(exported, entries, /* compressed= */ false);
        assertEquals(exported + ": expected an entry data/3, got none", refusal(/* trusted= */ false));
    }

    @Test
    void aPickleThatWouldRunACommandIsRefusedByName() throws IOException {
        export();
        deleteWeights();
        Map<String, byte[]> entries = entries();
        entries.put("model/data.pkl", "cposix\nsystem\n(X\u0004\0\0\0truetR.".getBytes(StandardCharsets.ISO_8859_1));
        Checkpoints.writeZip(exported, entries, /* compressed= */ false);
        for (boolean trusted : new boolean[] {false, true}) {
            assertEquals(
                    exported
                            + ": data.pkl: byte 0: global must be one that tensors need, got posix.system; nothing of the file was executed",
                    refusal(trusted));
        }
    }

    @Test
    void anExportThatFailsLeavesTheOldFile() throws IOException {
        byte[] old = Files.readAllBytes(export());
        Path weights = directory.resolve("model.safetensors");
        byte[] whole = Files.readAllBytes(weights);
        Files.write(weights, Arrays.copyOf(whole, whole.length - 1));
        assertThrows(IOException.class, this::export);
        assertArrayEquals(old, Files.readAllBytes(exported));
    }

    private Path export() throws IOException {
        return TorchScriptExporter.export(open());
    }

    private ModelDirectory open() throws IOException {
        return ModelDirectory.open(directory);
    }

    private final ByteArrayOutputStream log = new ByteArrayOutputStream();

    /** Loads the model and tells what it says. */
    private List<TokenLogprobs> run(boolean trusted) throws IOException {
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(1)
                .trustModelTs(trusted)
                .build();
        PrintStream stderr = System.err;
        System.setErr(new PrintStream(log, true, StandardCharsets.UTF_8));
        try (Gpt2 gpt2 = Gpt2Loader.load(open(), options)) {
            SamplingParams sampling = SamplingParams.greedy(3).toBuilder()
                    .topLogprobs(20)
                    .ignoreEos(true)
                    .build();
            GenerationRequest request = new GenerationRequest(new int[] {3, 1, 4, 1, 5}, sampling);
            return Generations.alone(gpt2, EngineOptions.defaults(), List.of(request))
                    .get(0)
                    .logprobs();
        } finally {
            System.setErr(stderr);
        }
    }

    private List<TokenLogprobs> run() throws IOException {
        return run(/* trusted= */ false);
    }

    private String warning() {
        return log.toString(StandardCharsets.UTF_8)
                .lines()
                .filter(line -> line.contains("WARN"))
                .collect(Collectors.joining("\n"));
    }

    private String refusal(boolean trusted) {
        return assertThrows(IOException.class, () -> run(trusted)).getMessage();
    }

    private String assertRefused() {
        String message = refusal(/* trusted= */ false);
        assertTrue(message.startsWith(exported + ": "), message);
        assertEquals(1, message.lines().count(), message);
        return message;
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

    private static int indexOf(byte[] bytes, String text) {
        int index = new String(bytes, StandardCharsets.ISO_8859_1).indexOf(text);
        assertTrue(index > 0, text);
        return index;
    }

    private Map<String, byte[]> entries() throws IOException {
        Map<String, byte[]> entries = new LinkedHashMap<>();
        try (ZipFile archive = new ZipFile(exported.toFile())) {
            for (ZipEntry entry : archive.stream().toList()) {
                entries.put(entry.getName(), archive.getInputStream(entry).readAllBytes());
            }
        }
        return entries;
    }

    private void forge(UnaryOperator<String> change) throws IOException {
        Map<String, byte[]> entries = entries();
        String program = new String(entries.get(PROGRAM), StandardCharsets.UTF_8);
        String changed = change.apply(program);
        assertNotEquals(program, changed);
        entries.put(PROGRAM, changed.getBytes(StandardCharsets.UTF_8));
        Checkpoints.writeZip(exported, entries, /* compressed= */ false);
    }
}
