package io.github.loomtorch.testing;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** The golden checkpoints, which {@code make.py} beside them made, and files like them. */
public final class Checkpoints {
    public static final Path ROOT = Path.of("src/test/resources/checkpoints");
    /** What the expected logits follow. */
    public static final int[] PROMPT = {1, 2, 3, 5, 8};

    private Checkpoints() {}

    /** Logits after {@link #PROMPT}, by name. */
    public static Map<String, double[]> expected() throws IOException {
        return JsonMapper.builder()
                .build()
                .readValue(ROOT.resolve("expected.json").toFile(), new TypeReference<>() {});
    }

    /** The model directory of a name; {@code activation/x} is a copy with that activation. */
    public static Path directory(String name, Path temporary) throws IOException {
        if (!name.contains("/")) {
            return ROOT.resolve(name);
        }
        Path copy = Files.createDirectories(temporary.resolve(name));
        Path original = ROOT.resolve("activation");
        String config = Files.readString(original.resolve("config.json"));
        Files.writeString(
                copy.resolve("config.json"), config.replace("gelu_new", name.substring(name.indexOf('/') + 1)));
        Path weights = copy.resolve("model.safetensors");
        if (!Files.exists(weights)) {
            Files.copy(original.resolve("model.safetensors"), weights);
        }
        return copy;
    }

    /** Writes a zip archive. */
    public static void writeZip(Path file, Map<String, byte[]> entries, boolean compressed) throws IOException {
        try (ZipOutputStream archive = new ZipOutputStream(Files.newOutputStream(file))) {
            for (Map.Entry<String, byte[]> content : entries.entrySet()) {
                ZipEntry entry = new ZipEntry(content.getKey());
                if (!compressed) {
                    CRC32 crc = new CRC32();
                    crc.update(content.getValue());
                    entry.setMethod(ZipEntry.STORED);
                    entry.setSize(content.getValue().length);
                    entry.setCrc(crc.getValue());
                }
                archive.putNextEntry(entry);
                archive.write(content.getValue());
                archive.closeEntry();
            }
        }
    }
}
