package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import com.openai.errors.UnauthorizedException;
import com.openai.models.completions.Completion;
import com.openai.models.completions.CompletionChoice;
import com.openai.models.completions.CompletionCreateParams;
import java.util.Iterator;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** OpenAI's own Java client against the server. */
@Timeout(30)
class OpenAiClientTest {
    private FakeServer fake;
    private OpenAIClient client;

    @BeforeEach
    void start() throws Exception {
        fake = new FakeServer(options -> options.apiKeys(List.of("key")), queue -> queue, model -> model);
        client = client("key");
    }

    private OpenAIClient client(String key) {
        return OpenAIOkHttpClient.builder()
                .baseUrl(fake.uri("/v1").toString())
                .apiKey(key)
                .maxRetries(0)
                .build();
    }

    @AfterEach
    void close() {
        client.close();
        fake.close();
    }

    private static CompletionCreateParams.Builder params() {
        return CompletionCreateParams.builder().model("fake").prompt("abc").maxTokens(8);
    }

    @Test
    void completes() {
        assertEquals("fake", client.models().list().data().get(0).id());
        assertEquals("fake", client.models().retrieve("fake").id());
        Completion answer =
                client.completions().create(params().logprobs(0).seed(3).n(2).build());
        assertEquals(2, answer.choices().size());
        CompletionChoice choice = answer.choices().get(0);
        assertTrue(List.of("stop", "length").contains(choice.finishReason().asString()));
        assertEquals(
                choice.logprobs().orElseThrow().tokens().orElseThrow().size(),
                choice.logprobs().orElseThrow().tokenLogprobs().orElseThrow().size());
        assertEquals(3, answer.usage().orElseThrow().promptTokens());
    }

    @Test
    void streams() {
        String whole = client.completions()
                .create(params().seed(3).build())
                .choices()
                .get(0)
                .text();
        try (var stream = client.completions().createStreaming(params().seed(3).build())) {
            assertEquals(
                    whole,
                    stream.stream()
                            .flatMap(event -> event.choices().stream())
                            .map(CompletionChoice::text)
                            .collect(Collectors.joining()));
        }
    }

    @Test
    void aStreamThatIsLeftFreesItsSlot() throws Exception {
        try (var stream =
                client.completions().createStreaming(params().maxTokens(60).n(4).build())) {
            Iterator<Completion> events = stream.stream().iterator();
            events.next();
        }
        while (fake.server.requestsInFlight() > 0 || fake.runningTokens() > 0) {
            Thread.sleep(5);
        }
        assertEquals(fake.pages(), fake.freePages());
    }

    @Test
    void errorsAreTyped() {
        BadRequestException bad = assertThrows(
                BadRequestException.class,
                () -> client.completions().create(params().temperature(-1).build()));
        assertTrue(bad.getMessage().contains("temperature must be >= 0 and finite, got -1.0"), bad.getMessage());
        assertEquals("temperature", bad.param().orElseThrow());
        assertThrows(
                NotFoundException.class,
                () -> client.completions().create(params().model("other").build()));
        OpenAIClient wrong = client("wrong");
        try {
            assertThrows(UnauthorizedException.class, () -> wrong.completions().create(params().build()));
        } finally {
            wrong.close();
        }
    }
}
