package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.Checkpoints;
import io.github.loomtorch.testing.OpenModels;
import io.github.loomtorch.testing.RandomCheckpoint;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Directories that would cost much memory or time, opened in a JVM with a small heap. */
@Timeout(120)
class HostileModelsTest {
    private static final long MAX_MILLIS = 1000;

    @TempDir
    Path dir;

    /** What each directory's message begins with, after its path. */
    private final Map<Path, String> expected = new LinkedHashMap<>();

    private Path model(String name, String file, String message) throws IOException {
        Path model = RandomCheckpoint.write(dir.resolve(name), RandomCheckpoint.tinyConfig(), DType.F32, 1);
        expected.put(model, file.isEmpty() ? message : "/" + file + message);
        return model.resolve(file);
    }

    private Path bin(String name, String message) throws IOException {
        Path file = model(name, "pytorch_model.bin", message);
        Files.delete(file.resolveSibling("model.safetensors"));
        return file;
    }

    private void config(String name, String key, String value, String message) throws IOException {
        Path config = model(name, "config.json", message);
        Files.writeString(
                config,
                Files.readString(config)
                        .replaceFirst("\"" + key + "\" : \\S+?(,?)\n", "\"" + key + "\" : " + value + "$1\n"));
    }

    private static void enlarge(Path file, long size) throws IOException {
        try (RandomAccessFile sparse = new RandomAccessFile(file.toFile(), "rw")) {
            sparse.setLength(size);
        }
    }

    @Test
    void areRefusedAtOnceByAnIOExceptionThatNamesTheFile() throws Exception {
        config("layers", "n_layer", "2147483648", ": n_layer must be a 32-bit integer, got 2147483648");
        config("layers2", "n_layer", "2147483647", ": layerCount (n_layer) must be in [1, 1024], got 2147483647");
        config(
                "positions",
                "n_positions",
                "2097152",
                ": contextLength (n_positions) must be in [1, 1048576], got 2097152");
        config(
                "vocabulary",
                "vocab_size",
                "2147483647",
                ": vocabSize (vocab_size) must be in [1, 16777216], got 2147483647");
        config("digits", "n_inner", "1".repeat(100_000), ": expected a JSON object, got bad JSON");
        config("deep", "n_inner", "[".repeat(1_000_000), ": expected a JSON object, got bad JSON");
        config("text", "n_inner", "\"" + "x".repeat(4_000_000) + "\"", ": n_inner must be a 32-bit integer, got \"xxx");
        config(
                "many",
                "n_inner",
                "[" + "[],".repeat(1_000_000) + "[]]",
                ": n_inner must be a 32-bit integer, got [[],[],");
        enlarge(
                model("config", "config.json", ": size must be <= 4194304 bytes for a JSON file, got 3221225472"),
                3L << 30);
        Path generation = model("generation", "generation_config.json", ": size must be <= 4194304 bytes");
        enlarge(generation, 3L << 30);
        Path index = model("index", "model.safetensors.index.json", ": size must be <= 4194304 bytes");
        Files.delete(index.resolveSibling("model.safetensors"));
        enlarge(index, 3L << 30);
        Path header = model("header", "model.safetensors", ": header length must be <= 4194304, got 100000000");
        Files.write(header, new byte[] {0, (byte) 0xE1, (byte) 0xF5, 5, 0, 0, 0, 0});
        enlarge(header, 200_000_000);

        Checkpoints.writeZip(
                bin("inflates", ": entry archive/data.pkl must be stored, got a compressed one"),
                Map.of("archive/data.pkl", new byte[300_000_000]),
                /* compressed= */ true);
        Path pickle = bin("pickle", ": data.pkl must have <= 16777216 bytes, got 20000000");
        Checkpoints.writeZip(pickle, Map.of("archive/data.pkl", new byte[20_000_000]), /* compressed= */ false);
        Path lists = bin("lists", ": data.pkl: byte 999999: pickle must have at most 1000000 instructions");
        Checkpoints.writeZip(
                lists,
                Map.of("archive/data.pkl", "]".repeat(2_000_000).getBytes(StandardCharsets.ISO_8859_1)),
                /* compressed= */ false);
        // A dict of 100,000 entries, then modules that all have it as their attributes.
        StringBuilder modules = new StringBuilder("}(");
        for (int i = 0; i < 100_000; i++) {
            modules.append('J')
                    .append((char) (i & 255))
                    .append((char) (i >> 8 & 255))
                    .append((char) (i >> 16))
                    .append("\0N");
        }
        modules.append("uq\0")
                .append("c__torch__\nM\n)\201h\0b".repeat(100_000))
                .append('.');
        Path copies = bin("copies", ": expected tensor wte.weight of shape [50, 16], got none of that name");
        Checkpoints.writeZip(
                copies,
                Map.of("archive/data.pkl", modules.toString().getBytes(StandardCharsets.ISO_8859_1)),
                /* compressed= */ false);
        Path legacy = bin("legacy", ": byte 1000000: pickle must have at most 1000000 instructions");
        Files.writeString(legacy, "\200\2" + "}".repeat(2_000_000), StandardCharsets.ISO_8859_1);
        enlarge(legacy, 3L << 30);
        enlarge(
                bin("zeros", ": expected a file of torch.save, which begins with PK or 0x80, got 0x00000000"),
                3L << 30);

        Path overlap =
                model("overlap", "model.ts", ": expected a zip archive, got one that is damaged: its entries overlap");
        Files.delete(overlap.resolveSibling("model.safetensors"));
        writeOverlappingEntries(overlap);

        List<String> lines = run(expected.keySet().stream().map(Path::toString).toList());
        assertEquals(expected.size(), lines.size(), lines.toString());
        int i = 0;
        for (Map.Entry<Path, String> model : expected.entrySet()) {
            String[] line = lines.get(i++).split(" ", 2);
            String message = "IOException " + model.getKey() + model.getValue();
            assertTrue(line[1].startsWith(message), line[1] + " must start with " + message);
            assertTrue(Long.parseLong(line[0]) < MAX_MILLIS, line[0] + " ms: " + line[1]);
            assertTrue(line[1].length() < 600, line[1]);
        }
    }

    /** Writes a zip archive of 10,000 entries that are all the same 100 MB. */
    private static void writeOverlappingEntries(Path file) throws IOException {
        int size = 100_000_000;
        try (RandomAccessFile archive = new RandomAccessFile(file.toFile(), "rw")) {
            ByteBuffer local = ByteBuffer.allocate(31).order(ByteOrder.LITTLE_ENDIAN);
            archive.write(local.putInt(0, 0x04034b50).putShort(26, (short) 1).array());
            archive.seek(31 + size);
            ByteBuffer directory = ByteBuffer.allocate(10_000 * 50 + 22).order(ByteOrder.LITTLE_ENDIAN);
            for (int i = 0; i < 10_000; i++) {
                int at = directory.position();
                directory.putInt(at, 0x02014b50).putInt(at + 20, size).putInt(at + 24, size);
                directory
                        .putShort(at + 28, (short) 4)
                        .putInt(at + 46, 10_000 + i)
                        .position(at + 50);
            }
            int end = directory.position();
            directory.putInt(end, 0x06054b50).putInt(end + 12, end).putInt(end + 16, 31 + size);
            archive.write(directory.array());
        }
    }

    private static List<String> run(List<String> directories) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx256m",
                "-cp",
                System.getProperty("java.class.path"),
                OpenModels.class.getName()));
        command.addAll(directories);
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().remove("JAVA_TOOL_OPTIONS"); // the JVM would name it
        Process process = builder.start();
        try {
            List<String> lines = process.inputReader().lines().toList();
            assertTrue(process.waitFor(60, TimeUnit.SECONDS));
            return lines;
        } finally {
            process.destroyForcibly();
        }
    }
}
