package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(30)
class ResultFileTest {
    static final ResultFile FILE = new ResultFile(
            "serve",
            Instant.parse("2026-01-02T03:04:05Z"),
            "bench serve --runs 2",
            OptionalLong.of(7),
            Map.of("os", "Linux"),
            Map.of("java", "25"),
            Map.of("requests", "100"),
            Map.of("dtype", "float16"),
            List.of(new ResultFile.Result(
                    Map.of("scheduler", "continuous"),
                    Map.of("mean_ttft_ms", 2.5),
                    List.of(Map.of("mean_ttft_ms", 2.0), Map.of("mean_ttft_ms", 3.0)))));

    @TempDir
    private Path directory;

    private Path file() {
        return directory.resolve("r.json");
    }

    @Test
    void isReadAsItWasWritten() throws IOException {
        FILE.write(file());
        assertEquals(FILE, ResultFile.read(file()));
    }

    @Test
    void isNamedByItsParameters() {
        assertEquals("continuous", FILE.results().getFirst().name());
        assertEquals("batch-size=8", new ResultFile.Result(Map.of("batch-size", "8"), Map.of(), List.of()).name());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{} | `: schema must be 1, got none; measure again with this version of the program`",
                "{\"schema\": 2} | `: schema must be 1, got 2; measure again with this version of the program`",
                "{\"schema\": 1} | `: expected every field of a benchmark's result, got: `",
                "[1 | ` line 1 column 3: expected JSON of a benchmark, got: `",
            })
    void anotherFileIsRefused(String content, String message) throws IOException {
        Files.writeString(file(), content);
        String got =
                assertThrows(IOException.class, () -> ResultFile.read(file())).getMessage();
        assertTrue(got.startsWith(file() + message), got);
    }
}
