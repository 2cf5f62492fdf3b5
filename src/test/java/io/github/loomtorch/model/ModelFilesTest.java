package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.RandomCheckpoint;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(20)
@DisabledOnOs(OS.WINDOWS) // where links need a privilege
class ModelFilesTest {
    @TempDir
    Path dir;

    private Path model;

    @BeforeEach
    void writeModel() throws IOException {
        model = RandomCheckpoint.write(dir.resolve("model"), RandomCheckpoint.tinyConfig(), DType.F32, 1);
    }

    @ParameterizedTest
    @ValueSource(strings = {"config.json", "model.safetensors"})
    void aLinkOutOfTheDirectoryIsRefused(String name) throws IOException {
        Path outside = Files.move(model.resolve(name), dir.resolve("outside"));
        Path link = Files.createSymbolicLink(model.resolve(name), outside);
        assertRefused(link, outside);
    }

    @ParameterizedTest
    @ValueSource(strings = {"config.json", "model.safetensors"})
    void aLinkWithinTheDirectoryIsFollowed(String name) throws IOException {
        Path inside = Files.createDirectory(model.resolve("sub")).resolve("file");
        Files.move(model.resolve(name), inside);
        Files.createSymbolicLink(model.resolve(name), Path.of("sub", "file"));
        assertEquals(28, ModelDirectory.open(model).weights().names().size());
    }

    @Test
    void theDirectoryItselfMayBeALink() throws IOException {
        Path link = Files.createSymbolicLink(dir.resolve("link"), model);
        assertEquals(28, ModelDirectory.open(link).weights().names().size());
    }

    @Test
    void linksIntoTheBlobsOfHuggingFacesCacheAreFollowed() throws IOException {
        Path repository = dir.resolve("models--me--mine");
        Path blobs = Files.createDirectories(repository.resolve("blobs"));
        Path snapshot = Files.createDirectories(repository.resolve("snapshots").resolve("0a1b2c"));
        for (String name : new String[] {"config.json", "model.safetensors"}) {
            Files.move(model.resolve(name), blobs.resolve("hash-of-" + name));
            Files.createSymbolicLink(snapshot.resolve(name), Path.of("..", "..", "blobs", "hash-of-" + name));
        }
        assertEquals(28, ModelDirectory.open(snapshot).weights().names().size());

        Path outside = Files.move(blobs.resolve("hash-of-config.json"), dir.resolve("outside"));
        Files.delete(snapshot.resolve("config.json"));
        Path link = Files.createSymbolicLink(snapshot.resolve("config.json"), outside);
        String message = assertThrows(IOException.class, () -> ModelDirectory.open(snapshot))
                .getMessage();
        assertTrue(message.startsWith(link + ": link must stay in the model directory, got one to "), message);
    }

    @Test
    void linksIntoTheBlobsThatAllModelsOfTheCacheShareAreFollowed() throws IOException {
        Path blobs = Files.createDirectories(dir.resolve("models--me--mine").resolve("blobs"));
        Path snapshot =
                Files.createDirectories(blobs.resolveSibling("snapshots").resolve("0a1b2c"));
        Path shared =
                Files.createDirectories(dir.resolve("blobs").resolve("0a")).resolve("0a1b");
        Files.copy(model.resolve("config.json"), snapshot.resolve("config.json"));
        Files.move(model.resolve("model.safetensors"), shared);
        Files.createSymbolicLink(blobs.resolve("hash"), Path.of("..", "..", "blobs", "0a", "0a1b"));
        Files.createSymbolicLink(snapshot.resolve("model.safetensors"), Path.of("..", "..", "blobs", "hash"));
        String message = assertThrows(
                        IOException.class, () -> ModelDirectory.open(snapshot).weights())
                .getMessage();
        assertTrue(message.contains(": link must stay in the model directory, got one to "), message);
        Files.writeString(dir.resolve("blobs").resolve(".huggingface-shared-blobs"), "1\n");
        assertEquals(28, ModelDirectory.open(snapshot).weights().names().size());
    }

    @Test
    void aLinkedShardIsRefused() throws IOException {
        Path outside = Files.move(model.resolve("model.safetensors"), dir.resolve("1.safetensors"));
        Path link = Files.createSymbolicLink(model.resolve("1.safetensors"), outside);
        Files.writeString(
                model.resolve("model.safetensors.index.json"), "{\"weight_map\": {\"wte.weight\": \"1.safetensors\"}}");
        assertRefused(link, outside);
    }

    @ParameterizedTest
    @ValueSource(strings = {"../1.safetensors", "/etc/passwd", "a/b", "", ".", "..", "a\\\\b", "C:\\\\x", "a\\u0000b"})
    void aShardMustBeAFileOfTheDirectory(String shard) throws IOException {
        Files.move(model.resolve("model.safetensors"), dir.resolve("1.safetensors"));
        Path index = model.resolve("model.safetensors.index.json");
        Files.writeString(index, "{\"weight_map\": {\"wte.weight\": \"" + shard + "\"}}");
        String message = assertThrows(
                        IOException.class, () -> ModelDirectory.open(model).weights())
                .getMessage();
        assertTrue(message.startsWith(index + ": file name must "), message);
    }

    private void assertRefused(Path link, Path target) throws IOException {
        assertEquals(
                link + ": link must stay in the model directory, got one to " + target.toRealPath()
                        + "; copy the file, or name the directory that it is in",
                assertThrows(IOException.class, () -> ModelDirectory.open(model).weights())
                        .getMessage());
    }
}
