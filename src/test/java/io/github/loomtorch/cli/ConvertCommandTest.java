package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.Checkpoints;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(20)
class ConvertCommandTest {
    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    @TempDir
    Path dir;

    private int run(String... args) {
        return Main.run(new PrintWriter(out), new PrintWriter(err), args);
    }

    @Test
    void saysWhatItWrote() throws IOException {
        Files.copy(Checkpoints.ROOT.resolve("nanogpt/ckpt.pt"), dir.resolve("ckpt.pt"));
        Path file = dir.resolve("model.safetensors");
        assertEquals(0, run("convert", dir.toString()), err.toString());
        assertEquals(0, run("convert", dir.toString()), err.toString());
        assertEquals(
                file + ": 0.0 MB" + System.lineSeparator() + file + " is up to date" + System.lineSeparator(),
                out.toString());
        assertTrue(Files.exists(file));
    }

    @Test
    void aFailureIsOneSentence() throws IOException {
        Files.createFile(dir.resolve("ckpt.pt"));
        assertEquals(1, run("convert", dir.toString()));
        assertEquals(
                "error: " + dir.resolve("ckpt.pt") + ": expected a file of torch.save, got 0 bytes"
                        + System.lineSeparator(),
                err.toString());
    }

    @Test
    void explainsItself() {
        assertEquals(0, run("convert", "--help"));
        assertTrue(out.toString().contains("Usage: loomtorch convert"), out.toString());
        assertTrue(out.toString().contains("Examples:\n  loomtorch convert"), out.toString());
    }
}
