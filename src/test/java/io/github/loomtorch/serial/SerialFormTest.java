package io.github.loomtorch.serial;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InvalidObjectException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

@Timeout(20)
class SerialFormTest {
    static List<Record> options() {
        return List.of(
                SamplingParams.creative(),
                SamplingParams.builder()
                        .maxNewTokens(7)
                        .temperature(0.3f)
                        .seed(-5)
                        .stopTokenIds(Set.of(3, 9))
                        .stopStrings(List.of("\n", "ü"))
                        .logitBias(Map.of(4, Float.NEGATIVE_INFINITY, 8, 1.5f))
                        .topLogprobs(3)
                        .promptScoring(new PromptScoring(1, 2, true, false))
                        .speculation(3, 5)
                        .build(),
                ModelOptions.defaults(),
                ModelOptions.builder()
                        .device("cuda:3")
                        .deterministic(true)
                        .cacheFolder(Path.of("a", "b"))
                        .build(),
                ScoreOptions.defaults(),
                ScoreOptions.builder()
                        .stride(17)
                        .timeout(Duration.ofMillis(1500))
                        .build());
    }

    @ParameterizedTest
    @MethodSource("options")
    void whatIsReadEqualsWhatWasWritten(Record options) throws Exception {
        assertEquals(options, read(write(options)));
    }

    @Test
    void readingValidates() throws IOException {
        byte[] written = write(ModelOptions.builder().device("cuda:3").build());
        String text = new String(written, StandardCharsets.ISO_8859_1);
        byte[] changed = text.replace("cuda:3", "cuda=3").getBytes(StandardCharsets.ISO_8859_1);
        Throwable thrown = assertThrows(InvalidObjectException.class, () -> read(changed));
        assertEquals(
                "device must be auto, cpu, cuda or cuda:n, got cuda=3",
                thrown.getCause().getCause().getMessage());
    }

    private static byte[] write(Object object) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
            out.writeObject(object);
        }
        return bytes.toByteArray();
    }

    private static Object read(byte[] bytes) throws IOException, ClassNotFoundException {
        try (ObjectInputStream in = new ObjectInputStream(new ByteArrayInputStream(bytes))) {
            return in.readObject();
        }
    }
}
