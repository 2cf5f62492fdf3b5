package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class EmbeddedModelTest {
    private static final FileTime LONG_AGO = FileTime.fromMillis(0);

    @TempDir
    private Path temporary;

    private Path resources;
    private Path cache;
    private URLClassLoader loader;

    @BeforeEach
    void putTheModelOnAClassPath() throws IOException {
        resources = Files.createDirectories(temporary.resolve("classes/io/github/loomtorch/models/tales"));
        for (String name : List.of("config.json", "model.safetensors")) {
            Files.copy(Path.of("models/tales", name), resources.resolve(name));
        }
        cache = temporary.resolve("cache/of/mine");
        loader = new URLClassLoader(
                new URL[] {temporary.resolve("classes").toUri().toURL()}, null);
    }

    @AfterEach
    void close() throws IOException {
        loader.close();
    }

    @Test
    void unpacksOnceWhatIsInTheRepository() throws IOException {
        Path model = unpack();
        assertEquals(-1, Files.mismatch(Path.of("models/tales/config.json"), model.resolve("config.json")));
        Path weights = model.resolve("model.safetensors");
        assertEquals(-1, Files.mismatch(Path.of("models/tales/model.safetensors"), weights));
        try (Stream<Path> files = Files.list(model)) {
            assertEquals(
                    Set.of("config.json", "model.safetensors"),
                    files.map(file -> file.getFileName().toString()).collect(Collectors.toSet()));
        }
        Files.setLastModifiedTime(weights, LONG_AGO);
        assertEquals(model, unpack());
        assertEquals(LONG_AGO, Files.getLastModifiedTime(weights));
    }

    @Test
    void replacesAFileThatWasCutOrChanged() throws IOException {
        Path weights = unpack().resolve("model.safetensors");
        for (long length : new long[] {0, Files.size(weights) - 1}) {
            try (RandomAccessFile file = new RandomAccessFile(weights.toFile(), "rw")) {
                file.setLength(length);
            }
            unpack();
            assertEquals(-1, Files.mismatch(Path.of("models/tales/model.safetensors"), weights));
        }
        try (RandomAccessFile file = new RandomAccessFile(weights.toFile(), "rw")) {
            file.seek(20_000_000);
            file.write(file.read() ^ 1);
        }
        unpack();
        assertEquals(-1, Files.mismatch(Path.of("models/tales/model.safetensors"), weights));
    }

    @Test
    void severalCanUnpackAtOnce() throws Exception {
        try (ExecutorService threads = Executors.newFixedThreadPool(4)) {
            List<Callable<Path>> unpacks = List.of(this::unpack, this::unpack, this::unpack, this::unpack);
            List<Path> models = new ArrayList<>();
            for (Future<Path> unpack : threads.invokeAll(unpacks)) {
                models.add(unpack.get());
            }
            assertEquals(1, Set.copyOf(models).size());
            assertEquals(
                    -1,
                    Files.mismatch(
                            Path.of("models/tales/model.safetensors"),
                            models.getFirst().resolve("model.safetensors")));
        }
    }

    @Test
    void tellsWhichDependencyIsMissing() throws IOException {
        Files.delete(resources.resolve("config.json"));
        assertEquals(
                "the embedded model must be on the class path, got no io/github/loomtorch/models/tales/config.json; add the"
                        + " dependency io.github.loomtorch:loomtorch with the classifier tales, put loomtorch-tales.jar beside"
                        + " loomtorch.jar, or name another model",
                refusal());
    }

    @Test
    void refusesAnotherModel() throws IOException {
        Files.writeString(resources.resolve("config.json"), "{}");
        assertTrue(refusal().startsWith("embedded config.json must have SHA-256 "), refusal());
    }

    @Test
    void tellsHowToChooseAnotherCacheFolder() throws IOException {
        Files.createDirectories(cache.getParent());
        Files.writeString(cache, "a file");
        assertTrue(refusal().endsWith("system property loomtorch.cache or the environment variable LOOMTORCH_CACHE"));
    }

    private Path unpack() throws IOException {
        return EmbeddedModel.unpack(loader, cache);
    }

    private String refusal() {
        return assertThrows(IOException.class, this::unpack).getMessage();
    }
}
