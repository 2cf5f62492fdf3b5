package io.github.loomtorch.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.tokenizer.BpeTokenizer;
import java.io.IOException;
import java.net.URI;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(20)
class HubFilesTest {
    @Test
    void takesSafetensorsBeforePytorch() throws IOException {
        assertEquals(
                List.of("config.json", "merges.txt", "model.safetensors"),
                HubFiles.choose(
                        List.of("pytorch_model.bin", "model.safetensors", "merges.txt", "config.json", "README.md")));
        assertEquals(
                List.of("config.json", "generation_config.json", "pytorch_model.bin"),
                HubFiles.choose(
                        List.of("pytorch_model.bin", "generation_config.json", "config.json", "flax_model.msgpack")));
    }

    @Test
    void takesShardsBeforeTheirIndex() throws IOException {
        assertEquals(
                List.of(
                        "config.json",
                        "model-00001-of-00002.safetensors",
                        "model-00002-of-00002.safetensors",
                        "model.safetensors.index.json"),
                HubFiles.choose(List.of(
                        "model.safetensors.index.json",
                        "model-00002-of-00002.safetensors",
                        "model-00001-of-00002.safetensors",
                        "model-00001-of-00002.safetensors/../../x",
                        "config.json")));
    }

    @Test
    void refusesAModelThatIsNotWhole() {
        assertFails("expected config.json, got a model without it", "model.safetensors");
        assertFails("expected model.safetensors or pytorch_model.bin, got a model without them", "config.json");
        assertFails(
                "expected 2 files beside model.safetensors.index.json, got 1",
                "config.json",
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors");
        assertFails(
                "expected 1 files beside model.safetensors.index.json, got 0",
                "config.json",
                "model.safetensors.index.json");
    }

    private static void assertFails(String expected, String... names) {
        assertEquals(
                expected,
                assertThrows(IOException.class, () -> HubFiles.choose(List.of(names)))
                        .getMessage());
    }

    /** Else GPT-2's tokenizer would be taken where a model has one of its own. */
    @Test
    void takesEveryFileOfATokenizer() throws IOException {
        List<String> names = Stream.concat(
                        BpeTokenizer.fileNames().stream(), Stream.of("config.json", "model.safetensors"))
                .toList();
        assertEquals(Set.copyOf(names), Set.copyOf(HubFiles.choose(names)));
    }

    @Test
    void aBlobIsMovedWhereLinksCannotBeMade(@TempDir Path dir) throws IOException {
        HubModel model = new HubModel("a/b", "main");
        HubFile file = new HubFile("config.json", "0".repeat(40), 2);
        URI zip = URI.create("jar:" + dir.resolve("cache.zip").toUri());
        try (FileSystem withoutLinks = FileSystems.newFileSystem(zip, Map.of("create", "true"))) {
            HubCache cache = new HubCache(withoutLinks.getPath("/"), model);
            cache.createFolders(FakeHub.COMMIT);
            Files.writeString(cache.blob(file), "{}");
            cache.link(FakeHub.COMMIT, file);
            assertEquals("{}", Files.readString(cache.snapshot(FakeHub.COMMIT).resolve("config.json")));
        }
    }
}
