package io.github.loomtorch.torch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.SamplingParams;
import java.io.IOException;
import java.nio.file.Path;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import java.util.stream.Stream;

/** The embedded model against what Hugging Face transformers computes for it; see src/test/resources/golden. */
class GoldenIT {
    @TestFactory
    Stream<DynamicTest> greedy() throws IOException {
        JsonNode golden = new ObjectMapper().readTree(Path.of("src/test/resources/golden/tales.json").toFile());
        TextGenerator gen = TextGenerator.builder(Path.of("models/tales")).device("cpu").dtype(Dtype.FLOAT32).build();
        return StreamSupport.stream(golden.get("cases").spliterator(), false).map(c -> DynamicTest.dynamicTest(c.get("prompt").asText(), () -> {
            Completion r = gen.generate(c.get("prompt").asText(), SamplingParams.greedy(c.get("greedy_ids").size()).toBuilder().topLogprobs(5).ignoreEos(true).build());
            assertArrayEquals(new ObjectMapper().convertValue(c.get("greedy_ids"), int[].class), r.outputTokenIds());
            assertEquals(c.get("greedy_text").asText(), r.text());
        }));
    }
}
