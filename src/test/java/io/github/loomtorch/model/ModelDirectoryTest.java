package io.github.loomtorch.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.RandomCheckpoint;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

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
        assertEquals(64, model.fingerprint().length());
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

    @Test
    void fingerprintStaysWhileNothingChanges() throws IOException {
        String fingerprint = ModelDirectory.open(dir).fingerprint();
        assertTrue(fingerprint.matches("[0-9a-f]{64}"), fingerprint);
        Files.createFile(dir.resolve("model.ts"));
        assertEquals(fingerprint, ModelDirectory.open(dir).fingerprint());
    }

    @Test
    void fingerprintChangesWithTheConfiguration() throws IOException {
        String fingerprint = ModelDirectory.open(dir).fingerprint();
        Path config = dir.resolve("config.json");
        Files.writeString(config, Files.readString(config) + "\n");
        assertNotEquals(fingerprint, ModelDirectory.open(dir).fingerprint());
    }

    @Test
    void fingerprintChangesWithTheTimeOrTheHeaderOfTheWeights() throws IOException {
        Path weights = dir.resolve("model.safetensors");
        FileTime time = Files.getLastModifiedTime(weights);
        String fingerprint = ModelDirectory.open(dir).fingerprint();
        Files.setLastModifiedTime(weights, FileTime.fromMillis(time.toMillis() + 5000));
        assertNotEquals(fingerprint, ModelDirectory.open(dir).fingerprint());

        byte[] bytes = Files.readAllBytes(weights);
        String changed =
                new String(bytes, StandardCharsets.ISO_8859_1).replace("\"dtype\":\"F16\"", "\"dtype\":\"I16\"");
        Files.write(weights, changed.getBytes(StandardCharsets.ISO_8859_1));
        Files.setLastModifiedTime(weights, time);
        assertNotEquals(fingerprint, ModelDirectory.open(dir).fingerprint());

        Files.write(weights, bytes);
        Files.setLastModifiedTime(weights, time);
        assertEquals(fingerprint, ModelDirectory.open(dir).fingerprint());
    }

    @Test
    void fingerprintCoversTheIndexAndTheShards() throws IOException {
        Path shard = Files.move(dir.resolve("model.safetensors"), dir.resolve("1.safetensors"));
        Path index = dir.resolve("model.safetensors.index.json");
        Files.writeString(index, "{\"weight_map\": {\"wte.weight\": \"1.safetensors\"}}");
        String fingerprint = ModelDirectory.open(dir).fingerprint();
        Files.writeString(index, "{\"weight_map\": {\"wpe.weight\": \"1.safetensors\"}}");
        String other = ModelDirectory.open(dir).fingerprint();
        assertNotEquals(fingerprint, other);
        Files.setLastModifiedTime(shard, FileTime.fromMillis(1000));
        assertNotEquals(other, ModelDirectory.open(dir).fingerprint());
    }

    private static void assertFails(String message, Path path) {
        assertEquals(
                message,
                assertThrows(IOException.class, () -> ModelDirectory.open(path)).getMessage());
    }
}
