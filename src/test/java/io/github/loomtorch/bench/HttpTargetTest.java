package io.github.loomtorch.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.github.loomtorch.bench.RequestTrace.Status;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Against a server that answers as others do. {@code BenchClientTest} is against ours. */
@Timeout(60)
class HttpTargetTest {
    private static final ObjectMapper JSON = new ObjectMapper();
    // As vLLM's, whose models have permissions with ids of their own.
    private static final String MODELS =
            "{'data': [{'id': 'a', 'max_model_len': 64, 'permission': [{'id': 'p'}]}, {'id': 'b'}]}";
    // As vLLM's, which says which tokens each event has; the second event has two, the third none.
    private static final String VLLM = """
            data: {'choices': [{'text': 'x', 'token_ids': [1]}]}

            data: {'choices': [{'text': '', 'token_ids': [2, 3]}]}

            data: {'choices': [{'text': '', 'token_ids': [], 'finish_reason': 'length'}]}

            data: {'choices': [], 'usage': {'prompt_tokens': 2, 'completion_tokens': 3}}

            data: [DONE]

            """;
    // As llama.cpp's, without ids.
    private static final String LLAMA_CPP = """
            : a comment

            data: {'choices': [{'text': 'x', 'finish_reason': null}]}

            data: {'choices': [{'text': 'y', 'finish_reason': null}]}

            data: {'choices': [{'text': '', 'finish_reason': 'length'}]}

            data: [DONE]

            """;

    private final BlockingQueue<JsonNode> bodies = new LinkedBlockingQueue<>();
    private final BlockingQueue<String> keys = new LinkedBlockingQueue<>();
    private HttpServer server;
    private String models = MODELS;
    private int status = 200;
    private String answer = VLLM;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/v1/models", exchange -> answer(exchange, 200, models));
        server.createContext("/v1/completions", exchange -> {
            bodies.add(JSON.readTree(exchange.getRequestBody()));
            keys.add(String.valueOf(exchange.getRequestHeaders().getFirst("Authorization")));
            answer(exchange, status, answer);
        });
        server.start();
    }

    @AfterEach
    void stop() {
        server.stop(0);
    }

    private static void answer(HttpExchange exchange, int status, String text) throws IOException {
        byte[] body = text.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    private URI uri() {
        return URI.create("http://127.0.0.1:" + server.getAddress().getPort());
    }

    private HttpTarget target() throws IOException {
        return new HttpTarget(uri(), Optional.empty(), Optional.of("secret"));
    }

    /** The one request of a workload. */
    private RequestTrace send() throws IOException {
        SamplingParams sampling = SamplingParams.builder()
                .maxNewTokens(3)
                .temperature(0.5f)
                .topK(7)
                .ignoreEos(true)
                .seed(-1)
                .build();
        Workload one = new Workload(List.of(new GenerationRequest(new int[] {4, 5}, sampling)), new long[] {0}, 1);
        try (HttpTarget target = target()) {
            return one.run(target, Clock.system(), () -> {}).requests().getFirst();
        }
    }

    @Test
    void sendsWhatOtherServersUnderstand() throws Exception {
        send();
        assertEquals("Bearer secret", keys.take());
        JsonNode body = bodies.take();
        assertEquals("a", body.get("model").asText());
        assertEquals("[4,5]", body.get("prompt").toString());
        assertEquals(3, body.get("max_tokens").asInt());
        assertEquals(0.5, body.get("temperature").asDouble());
        assertEquals(7, body.get("top_k").asInt());
        assertTrue(body.get("ignore_eos").asBoolean());
        assertTrue(body.get("seed").asLong() >= 0);
        assertTrue(body.get("stream").asBoolean());
        assertTrue(body.get("stream_options").get("include_usage").asBoolean());
    }

    @Test
    void countsTokensByUsageAndTimesByEvent() throws IOException {
        RequestTrace trace = send();
        assertEquals(Status.COMPLETED, trace.status());
        assertEquals(3, trace.outputTokens());
        assertEquals(2, trace.tokenNanos().length);
        assertEquals(2, trace.inputTokens());
    }

    @Test
    void countsEventsWithTextWhereThereIsNoUsage() throws IOException {
        answer = LLAMA_CPP;
        RequestTrace trace = send();
        assertEquals(Status.COMPLETED, trace.status());
        assertEquals(2, trace.outputTokens());
        assertEquals(2, trace.tokenNanos().length);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "429 | {'error': 'full'} | REJECTED | status 429: {\"error\": \"full\"}",
                "503 | draining | REJECTED | status 503: draining",
                "400 | bad | FAILED | status 400: bad",
                "200 | data: {'error': {'message': 'lost'}} | FAILED | lost",
                "200 | data: {'choices': [{'text': 'x'}]} | FAILED | the stream ended without [DONE]",
                "200 | data: [DONE] | FAILED | no output token came",
            })
    void otherEndsAreTold(int status, String answer, Status end, String failure) throws IOException {
        this.status = status;
        this.answer = answer + "\n\n";
        RequestTrace trace = send();
        assertEquals(end, trace.status());
        assertEquals(failure, trace.failure());
    }

    @Test
    void anAbortedRequestIsCancelled() throws IOException {
        answer = VLLM.replace("'length'", "'abort'");
        assertEquals(Status.CANCELLED, send().status());
    }

    @Test
    void theModelIsTheFirstOrTheOneThatIsNamed() throws IOException {
        try (HttpTarget first = target()) {
            assertEquals("a", first.model());
            assertEquals(OptionalInt.of(64), first.contextLength());
        }
        try (HttpTarget named = new HttpTarget(URI.create(uri() + "/v1/"), Optional.of("b"), Optional.empty())) {
            assertEquals("b", named.model());
            assertEquals(OptionalInt.empty(), named.contextLength());
        }
        assertEquals(
                uri() + ": expected model c in /v1/models, got [a, b]",
                assertThrows(IOException.class, () -> new HttpTarget(uri(), Optional.of("c"), Optional.empty()))
                        .getMessage());
        models = "<html>";
        assertEquals(
                uri() + ": expected JSON of /v1/models, got <html>",
                assertThrows(IOException.class, this::target).getMessage());
    }

    @Test
    void aServerThatIsNotThereIsSaidSo() throws IOException {
        int free;
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            free = socket.getLocalPort();
        }
        URI nobody = URI.create("http://127.0.0.1:" + free);
        assertEquals(
                nobody + ": the server could not be reached: connection refused",
                assertThrows(IOException.class, () -> new HttpTarget(nobody, Optional.empty(), Optional.empty()))
                        .getMessage());
        assertEquals(
                "url must be http://HOST:PORT or https://HOST:PORT, got localhost:8000",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> new HttpTarget(URI.create("localhost:8000"), Optional.empty(), Optional.empty()))
                        .getMessage());
    }
}
