package io.github.loomtorch.model;

import com.code_intelligence.jazzer.junit.FuzzTest;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Readers of files that may come from anywhere: whatever the bytes, the result is a value or an {@link IOException}
 * that names the file. A build runs the inputs in {@code CheckpointFuzzTestInputs} only; CONTRIBUTING.md says how to
 * fuzz.
 */
@Tag("fuzz")
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class CheckpointFuzzTest {
    private static final int MAX_DATA_BYTES = 1 << 16;

    @TempDir
    static Path directory;

    private interface Reader {
        Object read(Path file) throws IOException;
    }

    @FuzzTest(maxDuration = "3m")
    void config(byte[] bytes) throws IOException {
        read("config.json", bytes, Gpt2Config::read);
    }

    @FuzzTest(maxDuration = "3m")
    void generationConfig(byte[] bytes) throws IOException {
        read("generation_config.json", bytes, GenerationConfig::read);
    }

    /** Its shards are a good file and a directory. */
    @FuzzTest(maxDuration = "3m")
    void index(byte[] bytes) throws IOException {
        Path shard = directory.resolve("1.safetensors");
        if (!Files.exists(shard)) {
            byte[] header =
                    "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}} ".getBytes(StandardCharsets.UTF_8);
            Files.write(shard, new byte[] {(byte) header.length, 0, 0, 0, 0, 0, 0, 0});
            Files.write(shard, header, StandardOpenOption.APPEND);
            Files.write(shard, new byte[1], StandardOpenOption.APPEND);
            Files.createDirectory(directory.resolve("2.safetensors"));
        }
        read("model.safetensors.index.json", bytes, CheckpointFuzzTest::readAll);
    }

    @FuzzTest(maxDuration = "3m")
    void safetensors(byte[] bytes) throws IOException {
        read("model.safetensors", bytes, CheckpointFuzzTest::readAll);
    }

    /** Both formats of torch.save. */
    @FuzzTest(maxDuration = "3m")
    void torchFile(byte[] bytes) throws IOException {
        read("pytorch_model.bin", bytes, CheckpointFuzzTest::readAll);
    }

    @FuzzTest(maxDuration = "3m")
    void nanoGpt(byte[] bytes) throws IOException {
        read("ckpt.pt", bytes, file -> {
            NanoGpt.open(file);
            return NanoGpt.readConfig(file);
        });
    }

    @FuzzTest(maxDuration = "3m")
    void pickle(byte[] bytes) throws IOException {
        read("pickle", new byte[0], file -> new Pickle(file.toString(), ByteBuffer.wrap(bytes)).read());
    }

    private static void read(String name, byte[] bytes, Reader reader) throws IOException {
        Path file = Files.write(directory.resolve(name), bytes);
        try {
            reader.read(file);
        } catch (IOException e) {
            String message = String.valueOf(e.getMessage());
            if (!message.startsWith(directory.toString()) || message.length() > 1000) {
                throw new AssertionError("message must begin with the file and be short: " + message, e);
            }
        }
    }

    private static Object readAll(Path file) throws IOException {
        Checkpoint checkpoint = Checkpoint.open(file);
        for (String name : checkpoint.names()) {
            CheckpointTensor tensor = checkpoint.tensor(name);
            if (tensor.sizeBytes() <= MAX_DATA_BYTES && tensor.data().remaining() != tensor.sizeBytes()) {
                throw new AssertionError(name + " of shape " + Arrays.toString(tensor.shape()));
            }
        }
        return checkpoint;
    }
}
