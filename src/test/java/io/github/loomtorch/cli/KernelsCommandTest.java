package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(20)
class KernelsCommandTest {
    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    private int run(String... args) {
        PrintWriter output = new PrintWriter(out);
        int status = Main.run(output, new PrintWriter(err, true), args);
        output.flush();
        return status;
    }

    @Test
    void dumpsFilesAndOptionsWithoutAGpu(@TempDir Path folder) throws IOException {
        Path dump = folder.resolve("dump");

        assertEquals(0, run("kernels", "--shape", "gpt2", "--arch", "sm_90", "--dump", dump.toString()), err::toString);
        List<String> options = Files.readAllLines(dump.resolve("kv_cache.options"));
        assertEquals(List.of("-arch=sm_90", "-DLT_ELEMENT_BITS=16", "-DLT_BFLOAT16=0", "-DLT_HIDDEN=768"), options);
        assertTrue(out.toString().contains("kv_cache.cu " + String.join(" ", options) + System.lineSeparator()));
        assertTrue(out.toString().contains("'-DLT_KERNELS=SKINNY_GEMM("), out::toString);
        assertTrue(Files.readString(dump.resolve("kv_cache.cu")).contains("write_kv_cache"));
        assertTrue(Files.exists(dump.resolve("softmax.cuh")));
    }

    @Test
    void wrongArgumentsGiveOneSentence() {
        assertEquals(2, run("kernels", "--shape", "gpt2", "--arch", "hopper", "--dump", "x"));
        assertEquals(
                "error: --arch must be sm_ and a compute capability, such as sm_90, got hopper; see loomtorch kernels --help",
                err.toString().strip());
    }

    @Test
    void theNumberOfSmsIsChecked() {
        assertEquals(2, run("kernels", "--shape", "gpt2", "--arch", "sm_90", "--sm-count", "0", "--dump", "x"));
        assertEquals(
                "error: --sm-count must be in [1, 1024], got 0; see loomtorch kernels --help",
                err.toString().strip());
    }

    @Test
    void anArchitectureIsRequired() {
        assertEquals(2, run("kernels", "--shape", "gpt2"));
        assertTrue(err.toString().startsWith("error: Missing required option: '--arch=ARCH'"), err::toString);
    }

    @Test
    void aFolderThatCannotBeWrittenIsAFailure(@TempDir Path folder) throws IOException {
        Path file = Files.createFile(folder.resolve("file"));

        assertEquals(1, run("kernels", "--shape", "gpt2", "--arch", "sm_90", "--dump", file.toString()));
        assertTrue(err.toString().startsWith("error: " + file), err::toString);
    }
}
