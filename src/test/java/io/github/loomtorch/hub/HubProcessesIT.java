package io.github.loomtorch.hub;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.cli.Main;
import io.github.loomtorch.testing.CommandProcess;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Two processes that need the same model at the same time: one downloads it, the other waits and uses it. */
@Timeout(300)
@DisabledOnOs(OS.WINDOWS)
class HubProcessesIT {
    private static final Path TALES = Path.of("models", "tales");
    private static final String WEIGHTS = "model.safetensors";

    @TempDir
    private Path cache;

    @Test
    void twoProcessesDownloadAModelOnce() throws Exception {
        try (FakeHub fake = new FakeHub("org/tales")) {
            for (String name : List.of("config.json", WEIGHTS)) {
                fake.files.put(name, Files.readAllBytes(TALES.resolve(name)));
            }
            List<CompletableFuture<CommandProcess.Result>> processes =
                    Stream.generate(() -> start(fake)).limit(2).toList();
            for (CompletableFuture<CommandProcess.Result> process : processes) {
                CommandProcess.Result result = process.join();
                assertEquals(0, result.status(), result.err());
                assertFalse(result.out().isBlank());
            }
            assertEquals(
                    1,
                    fake.log.stream()
                            .filter(line -> line.startsWith("cdn GET /" + WEIGHTS))
                            .count(),
                    fake.log.toString());
            Path weights = cache.resolve("hub/models--org--tales/snapshots")
                    .resolve(FakeHub.COMMIT)
                    .resolve(WEIGHTS);
            assertEquals(-1, Files.mismatch(TALES.resolve(WEIGHTS), weights));
        }
    }

    /** Somebody may have mistyped a folder. */
    @Test
    void whatIsNeitherOnTheHubNorAFolderIsSaidToBeNeither() throws Exception {
        try (FakeHub fake = new FakeHub("org/tales")) {
            CommandProcess.Result result = CommandProcess.inShell(
                            Main.class,
                            "HF_ENDPOINT=" + fake.endpoint() + " HF_HOME=" + cache,
                            "generate --model models/tails --device cpu --prompt-ids 1")
                    .run();
            assertEquals(1, result.status());
            assertTrue(result.err().startsWith("error: download of models/tails from "), result.err());
            assertTrue(result.err().endsWith("; there is no folder models/tails either\n"), result.err());
        }
    }

    private CompletableFuture<CommandProcess.Result> start(FakeHub fake) {
        return CompletableFuture.supplyAsync(() -> {
            try {
                return CommandProcess.inShell(
                                Main.class,
                                "HF_ENDPOINT=" + fake.endpoint() + " HF_HOME=" + cache,
                                "generate --model org/tales --device cpu --temperature 0 --prompt-ids 1 --max-new-tokens 2")
                        .run();
            } catch (Exception e) {
                throw new AssertionError(e);
            }
        });
    }
}
