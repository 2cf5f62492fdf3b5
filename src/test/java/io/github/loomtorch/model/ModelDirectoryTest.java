package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.RandomCheckpoint;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(30)
class ModelDirectoryTest {
    @TempDir
    Path dir;

    @BeforeEach
    void writeModel() throws IOException {
        RandomCheckpoint.write(dir, RandomCheckpoint.tinyConfig(), DType.F16, 1);
    }

    @Test
    void opensADirectoryWithWeights() throws IOException {
        ModelDirectory model = ModelDirectory.open(dir);
        assertEquals(dir, model.path());
        assertEquals(RandomCheckpoint.tinyConfig(), model.config());
        assertTrue(model.hasWeights());
        assertEquals(28, model.weights().names().size());
        assertEquals(dir.resolve("model.ts"), model.torchScript());
    }

    @Test
    void opensADirectoryWithAnExportedModelOnly() throws IOException {
        Files.move(dir.resolve("model.safetensors"), dir.resolve("model.ts"));
        ModelDirectory model = ModelDirectory.open(dir);
        assertFalse(model.hasWeights());
        IOException e = assertThrows(IOException.class, model::weights);
        assertEquals(
                dir
                        + ": expected one of [model.safetensors, model.safetensors.index.json, pytorch_model.bin,"
                        + " pytorch_model.bin.index.json], got a directory without them",
                e.getMessage());
    }

    @Test
    void endOfTextTokensOfTheGenerationConfigComeFirst() throws IOException {
        Path generation = dir.resolve("generation_config.json");
        assertEquals(List.of(49), ModelDirectory.open(dir).config().endOfTextIds());
        assertEquals(Map.of(), ModelDirectory.open(dir).generationConfig().samplingValues());
        Files.writeString(generation, "{\"eos_token_id\": [7, 3, 50256]}");
        assertEquals(List.of(3, 7), ModelDirectory.open(dir).config().endOfTextIds());
        Files.writeString(generation, "{\"eos_token_id\": null, \"temperature\": 0.7}");
        assertEquals(List.of(49), ModelDirectory.open(dir).config().endOfTextIds());
    }

    @Test
    void samplingValuesOfTheGenerationConfigCanBeShown() throws IOException {
        Files.writeString(
                dir.resolve("generation_config.json"),
                "{\"_from_model_config\": true, \"top_k\": 40, \"do_sample\": true, \"top_p\": null, \"bad_words_ids\": [[1, 2]]}");
        assertEquals(
                "{top_k=40, do_sample=true, bad_words_ids=[[1,2]]}",
                ModelDirectory.open(dir).generationConfig().samplingValues().toString());
    }

    @Test
    void refusesABadGenerationConfig() throws IOException {
        Path generation = Files.writeString(dir.resolve("generation_config.json"), "{\"eos_token_id\": \"x\"}");
        assertFails(generation + ": eos_token_id must be an integer, an array of integers or null, got \"x\"", dir);
    }

    @Test
    void namesWhatIsMissing() throws IOException {
        assertFails(dir.resolve("x") + ": expected a model directory, got nothing", dir.resolve("x"));
        assertFails(
                dir.resolve("config.json") + ": expected a model directory, got a file", dir.resolve("config.json"));
        Files.delete(dir.resolve("model.safetensors"));
        assertFails(
                dir
                        + ": expected one of [model.safetensors, model.safetensors.index.json, pytorch_model.bin,"
                        + " pytorch_model.bin.index.json] or model.ts, got a directory without them",
                dir);
        Files.delete(dir.resolve("config.json"));
        assertFails(dir + ": expected config.json, got a directory without it", dir);
    }

    private static void assertFails(String message, Path path) {
        assertEquals(
                message,
                assertThrows(IOException.class, () -> ModelDirectory.open(path)).getMessage());
    }
}
