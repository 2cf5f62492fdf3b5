package io.github.loomtorch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.testing.CommandProcess;
import io.github.loomtorch.testing.CommandProcess.Result;
import java.io.File;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.bytedeco.javacpp.Loader;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** {@code loomtorch doctor} as a process, on the machine that runs this test. */
@Timeout(300)
class DoctorIT {
    private static Map<String, JsonNode> checks(JsonNode report) {
        Map<String, JsonNode> checks = new HashMap<>();
        report.get("checks").forEach(check -> checks.put(check.get("name").textValue(), check));
        return checks;
    }

    @Test
    void examinesThisMachine() throws Exception {
        Result result = new CommandProcess(Main.class, "doctor", "--model", "models/tales", "--json").run();
        assertEquals("", result.err());
        JsonNode report = new ObjectMapper().readTree(result.out());
        Map<String, JsonNode> checks = checks(report);
        for (String name : new String[] {
            "system",
            "java",
            "processor",
            "memory",
            "cache_folder",
            "libtorch",
            "matrix_product_cpu",
            "self_test",
            "capacity"
        }) {
            assertEquals(
                    "ok",
                    checks.get(name).get("status").textValue(),
                    () -> checks.get(name).toString());
        }
        assertTrue(checks.get("capacity").get("value").textValue().startsWith("tales in "), result.out());
        assertEquals(report.get("status").textValue().equals("problem") ? 1 : 0, result.status(), result.out());
    }

    @Test
    void kernelsNeedTheGpuNatives(@TempDir Path cache) throws Exception {
        assumeFalse(System.getProperty("java.class.path")
                .matches(".*\\bcuda-[^" + File.pathSeparator + "]*-" + Loader.getPlatform() + "\\.jar.*"));
        Result result = new CommandProcess(
                        Main.class, "kernels", "--shape", "gpt2", "--arch", "sm_90", "--cache", cache.toString())
                .run();
        assertEquals(
                "error: NVRTC could not be loaded: no org/bytedeco/cuda/" + Loader.getPlatform() + "/"
                        + System.mapLibraryName("jninvrtc") + " on the class path; put its GPU natives,"
                        + " org.bytedeco:cuda with this platform's classifier, on the class path (Maven profile gpu) and"
                        + " CUDA's libnvrtc on the library path\n",
                result.err());
        assertEquals(1, result.status());
    }

    /** Without any native library on the class path. */
    @Test
    void explainsWhyLibtorchDoesNotLoad() throws Exception {
        Result result = CommandProcess.without(Loader.getPlatform(), Main.class, "doctor")
                .run();
        assertEquals(1, result.status(), result.out() + result.err());
        assertEquals("", result.err());
        assertTrue(
                result.out().lines().anyMatch(line -> line.matches("problem +libtorch +.* could not be loaded .*")),
                result.out());
        assertTrue(result.out().contains(" -> put the natives org.bytedeco:pytorch"), result.out());
    }
}
