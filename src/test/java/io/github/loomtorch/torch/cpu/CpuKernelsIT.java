package io.github.loomtorch.torch.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.cli.Main;
import io.github.loomtorch.testing.CommandProcess;
import io.github.loomtorch.testing.CommandProcess.Result;
import io.github.loomtorch.torch.natives.Processor;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.bytedeco.javacpp.Loader;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** How the library is found and loaded. */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class CpuKernelsIT {
    private static final String[] GENERATE = {
        "generate",
        "--model",
        "models/tales",
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--temperature",
        "0",
        "--max-new-tokens",
        "2",
        "--prompt",
        "Once upon a time"
    };

    /** The natives of libtorch are not on the class path. */
    @Test
    void aModelOnTheCpuDoesNotNeedLibtorch() throws Exception {
        Result result = CommandProcess.without(Loader.getPlatform(), Main.class, GENERATE)
                .run();
        assertEquals("", result.err());
        assertTrue(result.out().contains(", and"), result.out());
    }

    @Test
    void aLibraryThatDoesNotLoadIsOneWarning(@TempDir Path folder) throws Exception {
        Path library = folder.resolve("io/github/loomtorch/torch/cpu/linux-x86_64/libloomtorch.so");
        Files.createDirectories(library.getParent());
        byte[] content = "not a library".getBytes(StandardCharsets.UTF_8);
        Files.write(library, content);
        Result result = new CommandProcess(Main.class, GENERATE).before(folder).run();
        Files.delete(CpuKernels.file(content));
        assertTrue(result.out().contains(", and"), result.out());
        List<String> warnings =
                result.err().lines().filter(line -> line.contains("WARN")).toList();
        assertEquals(1, warnings.size(), result.err());
        assertTrue(
                warnings.getFirst()
                        .contains(
                                "models on the CPU run as TorchScript programs, slower: libloomtorch could not be loaded: "),
                result.err());
    }

    @Test
    void aFileThatWasDamagedIsWrittenAgain() throws Exception {
        byte[] library;
        try (InputStream in = CpuKernels.class.getResourceAsStream("linux-x86_64/libloomtorch.so")) {
            library = in.readAllBytes();
        }
        Path file = CpuKernels.file(library);
        byte[] damaged = library.clone();
        damaged[library.length / 2] ^= 1;
        Files.write(file.resolveSibling("damaged"), damaged);
        Files.move(file.resolveSibling("damaged"), file, StandardCopyOption.REPLACE_EXISTING); // another may be loaded
        assertEquals("", new CommandProcess(Main.class, GENERATE).run().err());
        assertArrayEquals(library, Files.readAllBytes(file));
    }

    @Test
    void theLibraryCanUseThisMachine() {
        assertTrue(CpuKernels.isAvailable(), () -> CpuKernels.whyNot().orElseThrow());
        String instructions = CpuKernels.instructions();
        assertTrue(instructions.startsWith("AVX"), instructions);
        assertEquals(Processor.hasBfloat16(), instructions.endsWith("BF16") || instructions.endsWith("AMX"));
    }
}
