package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.Generations;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Checkpoints like those of public bug reports; the expected ids are of Transformers and of a model in numpy. */
@Timeout(60)
class CasesIT {
    private static final Path CASES = Path.of("src/test/resources/cases");

    @TempDir
    private Path temporary;

    @ParameterizedTest
    @ValueSource(strings = {"B04", "B05", "B06", "B17", "B27", "B28"})
    void generatesTheExpectedIds(String name) throws IOException {
        Path files = CASES.resolve(name);
        String expected = Files.readAllLines(files.resolve("expected")).get(0);
        int[] ids = JsonMapper.builder().build().readValue(expected, int[].class);
        assertArrayEquals(ids, generate(copy(files.resolve("model"))));
    }

    /** Loading may write beside the model. */
    private Path copy(Path model) throws IOException {
        try (Stream<Path> files = Files.list(model)) {
            for (Path file : files.toList()) {
                Files.copy(file, temporary.resolve(file.getFileName()));
            }
        }
        return temporary;
    }

    private static int[] generate(Path directory) throws IOException {
        ModelOptions options = ModelOptions.builder()
                .device("cpu")
                .dtype(Dtype.FLOAT32)
                .maxBatchSize(1)
                .build();
        GenerationRequest request = new GenerationRequest(new int[] {1, 2, 3}, SamplingParams.greedy(8));
        try (Gpt2 gpt2 = Gpt2Loader.load(ModelDirectory.open(directory), options)) {
            return Generations.alone(gpt2, EngineOptions.defaults(), List.of(request))
                    .get(0)
                    .outputTokenIds();
        }
    }
}
