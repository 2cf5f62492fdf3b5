package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.StepGate;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The server's life, its clients' lives, and its limits, on the fake model. */
@Timeout(20)
class HttpServerTest {
    private static final String LONG =
            "{\"prompt\": \"abc\", \"max_tokens\": 60, \"ignore_eos\": true, \"stream\": %b}";

    private static int status(URI uri) throws Exception {
        try (HttpClient client = HttpClient.newHttpClient()) {
            return client.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString())
                    .statusCode();
        }
    }

    @Test
    void isReadyOnlyWhenItHasAModel() throws Exception {
        try (HttpServer loading = FakeServer.loading(options -> options)) {
            assertEquals(200, status(loading.uri().resolve("/health")));
            assertEquals(503, status(loading.uri().resolve("/ready")));
            assertEquals(503, status(loading.uri().resolve("/v1/models")));
        }
        try (FakeServer fake = new FakeServer()) {
            assertEquals(200, fake.get("/ready").statusCode());
            assertEquals(200, fake.get("/health").statusCode());
            JsonNode models = FakeServer.JSON.readTree(fake.get("/v1/models").body());
            assertEquals("fake", models.at("/data/0/id").textValue());
            assertEquals(64, models.at("/data/0/max_model_len").intValue());
            assertEquals("{\"version\":\"test\"}", fake.get("/version").body());
            fake.scheduler.closeNow();
            assertEquals(503, fake.get("/ready").statusCode());
        }
    }

    @Test
    void listensOnThisMachineOnly() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            assertTrue(InetAddress.getByName(fake.server.uri().getHost()).isLoopbackAddress());
        }
    }

    @Test
    void aPortInUseIsRefusedInOneSentence() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            int port = fake.server.uri().getPort();
            IOException refused = assertThrows(
                    IOException.class,
                    () -> FakeServer.loading(options -> options.port(port)).close());
            assertTrue(
                    refused.getMessage().startsWith("listening failed: 127.0.0.1:" + port + ": Address already in use")
                            && refused.getMessage().endsWith("; choose another --host or --port"),
                    refused.getMessage());
        }
    }

    @Test
    void aHostThatDoesNotExistIsRefusedInOneSentence() {
        IOException refused = assertThrows(
                IOException.class,
                () -> FakeServer.loading(options -> options.host("[::zz]")).close());
        assertEquals("listening failed: [::zz]:0: no such host; choose another --host or --port", refused.getMessage());
    }

    @Test
    void aModelIsDescribedByItsName() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            JsonNode listed = FakeServer.JSON.readTree(fake.get("/v1/models").body());
            assertEquals(
                    listed.at("/data/0"),
                    FakeServer.JSON.readTree(fake.get("/v1/models/fake").body()));
            assertEquals(404, fake.get("/v1/models/other").statusCode());
            HttpResponse<String> slash = fake.get("/v1/models/openai%2Fgpt2");
            assertEquals(404, slash.statusCode());
            assertTrue(slash.body().contains("openai/gpt2"), slash.body());
        }
    }

    @Test
    void whatJettyRefusesIsCounted() throws Exception {
        try (FakeServer fake = new FakeServer();
                Socket socket = new Socket("127.0.0.1", fake.server.uri().getPort())) {
            socket.getOutputStream().write("GET /version HTTP/1.1\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertTrue(answer.startsWith("HTTP/1.1 400 "), answer);
            String counter = "vllm:admission_rejections_total{model_name=\"fake\",reason=\"400\"} 1";
            String metrics = fake.get("/metrics").body();
            assertTrue(metrics.contains(counter), metrics);
        }
    }

    @Test
    void aStreamHasTheTokensOfTheWholeAnswer() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            String body =
                    "{\"prompt\": \"abc\", \"max_tokens\": 30, \"seed\": 7, \"ignore_eos\": true, \"logprobs\": 0,"
                            + " \"return_token_ids\": true, \"stream\": %b, \"n\": 2%s}";
            JsonNode whole = fake.complete(body.formatted(false, ""));
            List<JsonNode> events = events(fake.post(
                            "/v1/completions", body.formatted(true, ", \"stream_options\": {\"include_usage\": true}"))
                    .body());
            for (int choice = 0; choice < 2; choice++) {
                StringBuilder text = new StringBuilder();
                StringBuilder ids = new StringBuilder();
                StringBuilder offsets = new StringBuilder();
                for (JsonNode event : events) {
                    JsonNode part = event.at("/choices/0");
                    if (part.path("index").asInt(-1) == choice) {
                        text.append(part.path("text").textValue());
                        part.path("token_ids").forEach(id -> ids.append(id).append(','));
                        part.at("/logprobs/text_offset")
                                .forEach(id -> offsets.append(id).append(','));
                    }
                }
                JsonNode expected = whole.at("/choices/" + choice);
                assertEquals(expected.path("text").textValue(), text.toString());
                assertEquals(expected.path("token_ids").toString(), "[" + ids.substring(0, ids.length() - 1) + "]");
                assertEquals(
                        expected.at("/logprobs/text_offset").toString(),
                        "[" + offsets.substring(0, offsets.length() - 1) + "]");
            }
            JsonNode usage = events.getLast();
            assertEquals("[]", usage.path("choices").toString());
            assertEquals(whole.path("usage"), usage.path("usage"));
        }
    }

    @Test
    void aStreamHasTheScoresOfThePromptInItsFirstEvent() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            String body =
                    "{\"prompt\": \"abc\", \"max_tokens\": 3, \"ignore_eos\": true, \"temperature\": 0, \"logprobs\": 2,"
                            + " \"prompt_logprobs\": 1, \"echo\": true, \"stream\": %b}";
            JsonNode whole = fake.complete(body.formatted(false)).at("/choices/0");
            List<JsonNode> events =
                    events(fake.post("/v1/completions", body.formatted(true)).body());
            JsonNode first = events.getFirst().at("/choices/0");
            assertEquals(3, whole.path("prompt_logprobs").size());
            assertEquals(whole.path("prompt_logprobs"), first.path("prompt_logprobs"));
            List<String> logprobs = new ArrayList<>();
            events.forEach(event -> event.at("/choices/0/logprobs/token_logprobs")
                    .forEach(logprob -> logprobs.add(logprob.toString())));
            assertEquals(whole.at("/logprobs/token_logprobs").toString(), "[" + String.join(",", logprobs) + "]");
            assertTrue(first.path("text").textValue().startsWith("abc"));
        }
    }

    @Test
    void aStreamOfThePromptAloneHasNoOtherToken() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            String body = "{\"prompt\": \"a\", \"max_tokens\": 0, \"logprobs\": 1, \"echo\": true,"
                    + " \"return_token_ids\": true, \"stream\": %b}";
            JsonNode whole = fake.complete(body.formatted(false));
            assertEquals("a", whole.at("/choices/0/text").textValue());
            List<JsonNode> events =
                    events(fake.post("/v1/completions", body.formatted(true)).body());
            assertEquals(1, events.size(), () -> events.toString());
            assertEquals(whole.path("choices"), events.getFirst().path("choices"));
        }
    }

    @Test
    void aStopStringAfterAnIgnoredEndOfTextIsNamed() throws Exception {
        try (FakeServer fake = new FakeServer(o -> o, q -> q, FakeCausalLm::drawing)) {
            boolean hadEndOfText = false;
            for (int seed = 0; seed < 20; seed++) {
                JsonNode choice = fake.complete("{'prompt': 'abc', 'max_tokens': 40, 'temperature': 1000, 'seed': "
                                + seed + ", 'ignore_eos': true, 'allowed_token_ids': [5, 99], 'stop': ['&'],"
                                + " 'return_token_ids': true}")
                        .at("/choices/0");
                assertEquals("&", choice.path("stop_reason").textValue());
                hadEndOfText |= choice.at("/token_ids/0").intValue() == FakeCausalLm.END_OF_TEXT;
            }
            assertTrue(hadEndOfText);
        }
    }

    @Test
    void asManyChoicesAsRunTogetherDoNotFillTheQueue() throws Exception {
        try (FakeServer fake = new FakeServer(o -> o, q -> q.maxQueuedRequests(1), model -> model)) {
            JsonNode answer = fake.complete("{'prompt': 'abc', 'n': 4, 'max_tokens': 2}");
            assertEquals(4, answer.path("choices").size(), answer::toString);
        }
    }

    @Test
    void tokensThatBecomeReadyWhileAWriteWaitsGoOutInOneEvent() throws Exception {
        int tokens = 16_000; // more than the buffers of a connection hold as single events
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> new FakeCausalLm(1, 64, 300, 64 + tokens));
                Socket socket = new Socket()) {
            socket.setReceiveBufferSize(4096);
            socket.connect(new InetSocketAddress("127.0.0.1", fake.server.uri().getPort()));
            String body = "{\"prompt\": \"abc\", \"max_tokens\": " + tokens
                    + ", \"ignore_eos\": true, \"return_token_ids\": true, \"stream\": true}";
            socket.getOutputStream()
                    .write(("POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: "
                                    + "i".repeat(128)
                                    + "\r\nContent-Length: "
                                    + body.length() + "\r\n\r\n" + body)
                            .getBytes(StandardCharsets.US_ASCII));
            while (!fake.get("/metrics").body().contains("finished_reason=\"length\"")) {
                Thread.sleep(5); // nobody reads, and all tokens are generated
            }
            int events = 0;
            int read = 0;
            BufferedReader lines =
                    new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
            for (String line; (line = lines.readLine()) != null; ) {
                if (line.startsWith("data: {")) {
                    events++;
                    read += FakeServer.JSON
                            .readTree(line.substring("data: ".length()))
                            .at("/choices/0/token_ids")
                            .size();
                }
            }
            assertEquals(tokens, read);
            assertTrue(events < tokens * 3 / 4, events + " events");
        }
    }

    @Test
    void aChatIsStreamedInDeltas() throws Exception {
        StepGate gate = new StepGate();
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> model.onAwait(chunks -> gate.pass()))) {
            String body =
                    "{\"messages\": [{\"role\": \"user\", \"content\": \"abc\"}], \"max_tokens\": 9, \"ignore_eos\": true,"
                            + " \"temperature\": 0, \"logprobs\": true, \"top_logprobs\": 1, \"stream\": %b}";
            CompletableFuture<HttpResponse<InputStream>> answer = fake.client.sendAsync(
                    fake.request("/v1/chat/completions", body.formatted(true)), BodyHandlers.ofInputStream());
            gate.awaitStep();
            gate.nextStep();
            BufferedReader lines =
                    new BufferedReader(new InputStreamReader(answer.get().body(), StandardCharsets.UTF_8));
            String first = lines.readLine(); // of the first token: what follows is in other events
            gate.open();
            List<JsonNode> events = events(first + "\n" + lines.lines().collect(Collectors.joining("\n")) + "\n");
            JsonNode whole = FakeServer.JSON.readTree(
                    fake.post("/v1/chat/completions", body.formatted(false)).body());
            StringBuilder text = new StringBuilder();
            int logprobs = 0;
            for (JsonNode event : events) {
                assertEquals("chat.completion.chunk", event.path("object").textValue());
                text.append(event.at("/choices/0/delta/content").textValue());
                logprobs += event.at("/choices/0/logprobs/content").size();
            }
            assertEquals(whole.at("/choices/0/message/content").textValue(), text.toString());
            assertEquals(9, logprobs);
            assertEquals("assistant", events.get(0).at("/choices/0/delta/role").textValue());
            assertTrue(events.get(1).at("/choices/0/delta/role").isMissingNode());
            assertEquals(
                    "length", events.getLast().at("/choices/0/finish_reason").textValue());
        }
    }

    @Test
    void aModelWithoutTemplateTakesNoChats() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            fake.server.serve(new ServedModel(
                    "base", fake.scheduler, new FakeTokenizer(), 64, FakeCausalLm.VOCAB_SIZE, "f", false));
            HttpResponse<String> refused = fake.post("/v1/chat/completions", "{\"messages\": []}");
            assertEquals(400, refused.statusCode());
            assertTrue(refused.body().contains("model base has no chat template; use /v1/completions"), refused.body());
        }
    }

    @Test
    void thePageLoadsNothingButItself() throws Exception {
        try (FakeServer fake = new FakeServer()) {
            HttpResponse<String> page = fake.get("/");
            assertEquals(200, page.statusCode());
            assertEquals(
                    "text/html; charset=utf-8",
                    page.headers().firstValue("Content-Type").orElseThrow());
            assertTrue(page.headers()
                    .firstValue("Content-Security-Policy")
                    .orElseThrow()
                    .startsWith("default-src 'none'"));
            assertFalse(page.body().contains("http"), "an address of another server");
        }
    }

    /** The JSON of each event but the last, {@code [DONE]}. */
    private static List<JsonNode> events(String stream) {
        assertTrue(stream.endsWith("data: [DONE]\n\n"), stream);
        return Stream.of(stream.split("\n\n"))
                .filter(event -> !event.equals("data: [DONE]"))
                .map(event -> {
                    try {
                        return FakeServer.JSON.readTree(event.substring("data: ".length()));
                    } catch (IOException e) {
                        throw new AssertionError(event, e);
                    }
                })
                .toList();
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void aSilentClientThatLeavesIsNoticedWithin200Milliseconds(boolean stream) throws Exception {
        long[] millis = new long[5];
        for (int i = 0; i < millis.length; i++) {
            millis[i] = millisUntilNoticed(stream);
        }
        Arrays.sort(millis);
        assertTrue(millis[2] <= 200, Arrays.toString(millis)); // the median: the machine may be busy
    }

    private static long millisUntilNoticed(boolean stream) throws Exception {
        StepGate gate = new StepGate();
        long left;
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> model.onAwait(chunks -> gate.pass()))) {
            try (Socket socket = new Socket("127.0.0.1", fake.server.uri().getPort())) {
                String body = LONG.formatted(stream);
                socket.getOutputStream()
                        .write(("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: " + body.length()
                                        + "\r\n\r\n" + body)
                                .getBytes(StandardCharsets.US_ASCII));
                gate.awaitStep();
                left = System.nanoTime();
            }
            // The step of the request is still held; the server notices while nothing is written.
            awaitIdle(fake);
            long noticed = System.nanoTime();
            gate.open();
            awaitFreePages(fake);
            return TimeUnit.NANOSECONDS.toMillis(noticed - left);
        }
    }

    @Test
    void anHttp2StreamThatIsResetFreesItsSlot() throws Exception {
        StepGate gate = new StepGate();
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> model.onAwait(chunks -> gate.pass()));
                HttpClient http2 = HttpClient.newBuilder()
                        .version(HttpClient.Version.HTTP_2)
                        .build()) {
            assertEquals(
                    HttpClient.Version.HTTP_2,
                    http2.send(HttpRequest.newBuilder(fake.uri("/health")).build(), BodyHandlers.discarding())
                            .version());
            CompletableFuture<HttpResponse<InputStream>> answer = http2.sendAsync(
                    fake.request("/v1/completions", LONG.formatted(false)), BodyHandlers.ofInputStream());
            gate.awaitStep();
            answer.cancel(true);
            awaitIdle(fake);
            gate.open();
            awaitFreePages(fake);
        }
    }

    private static void awaitIdle(FakeServer fake) throws InterruptedException {
        while (fake.server.requestsInFlight() > 0) {
            Thread.sleep(5);
        }
    }

    private static void awaitFreePages(FakeServer fake) throws InterruptedException {
        while (fake.runningTokens() > 0) {
            Thread.sleep(5);
        }
        assertEquals(fake.pages(), fake.freePages());
    }

    @Test
    void aConnectionIsKeptAfterAWaitThatLookedAtIt() throws Exception {
        StepGate gate = new StepGate();
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> model.onAwait(chunks -> gate.pass()));
                Socket socket = new Socket("127.0.0.1", fake.server.uri().getPort())) {
            String body = LONG.formatted(false);
            byte[] request = ("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: " + body.length()
                            + "\r\n\r\n" + body)
                    .getBytes(StandardCharsets.US_ASCII);
            socket.getOutputStream().write(request);
            gate.awaitStep();
            Thread.sleep(300); // lets the server look
            gate.open();
            assertTrue(readAnswer(socket).startsWith("HTTP/1.1 200"));
            socket.getOutputStream().write(request);
            assertTrue(readAnswer(socket).startsWith("HTTP/1.1 200"));
        }
    }

    private static String readAnswer(Socket socket) throws IOException {
        StringBuilder answer = new StringBuilder();
        while (!answer.toString().endsWith("}}}")) {
            int read = socket.getInputStream().read();
            if (read < 0) {
                break;
            }
            answer.append((char) read);
        }
        return answer.toString();
    }

    @Test
    void aFullQueueIsRefusedWith429() throws Exception {
        StepGate gate = new StepGate();
        try (FakeServer fake =
                new FakeServer(o -> o, q -> q.maxQueuedRequests(1), model -> model.onAwait(chunks -> gate.pass()))) {
            List<CompletableFuture<HttpResponse<String>>> running = Stream.generate(() -> fake.client.sendAsync(
                            fake.request("/v1/completions", LONG.formatted(false)), BodyHandlers.ofString()))
                    .limit(1)
                    .toList();
            gate.awaitStep();
            HttpResponse<String> refused = fake.post("/v1/completions", "{\"prompt\": \"abc\", \"n\": 8}");
            assertEquals(429, refused.statusCode(), refused.body());
            assertEquals("1", refused.headers().firstValue("Retry-After").orElseThrow());
            gate.open();
            assertEquals(200, running.getFirst().join().statusCode());
        }
    }

    @Test
    void keysAreAskedFor() throws Exception {
        try (FakeServer fake =
                new FakeServer(options -> options.apiKeys(List.of("one", "two")), q -> q, model -> model)) {
            for (String path : List.of("/v1/models", "/tokenizer_info")) {
                assertEquals(401, fake.get(path).statusCode());
            }
            HttpResponse<String> refused = fake.post("/v1/completions", "{\"prompt\": \"abc\"}");
            assertEquals(401, refused.statusCode());
            assertEquals(
                    "Bearer", refused.headers().firstValue("WWW-Authenticate").orElseThrow());
            assertFalse(refused.body().contains("one"));
            assertEquals(200, fake.get("/ready").statusCode());
            for (String header : List.of("Bearer one", "bearer two")) {
                HttpRequest request = HttpRequest.newBuilder(fake.uri("/v1/models"))
                        .header("Authorization", header)
                        .build();
                assertEquals(
                        200, fake.client.send(request, BodyHandlers.ofString()).statusCode());
            }
            for (String header : List.of("Bearer on", "Bearer ones", "Basic one", "one", "Bearer ")) {
                HttpRequest request = HttpRequest.newBuilder(fake.uri("/v1/models"))
                        .header("Authorization", header)
                        .build();
                assertEquals(
                        401, fake.client.send(request, BodyHandlers.ofString()).statusCode(), header);
            }
        }
    }

    @Test
    void aLongBodyIsRefusedWith413() throws Exception {
        try (FakeServer fake = new FakeServer(options -> options.maxBodyBytes(100), q -> q, model -> model)) {
            String body = "{\"prompt\": \"" + "a".repeat(100) + "\"}";
            assertEquals(413, fake.post("/v1/completions", body).statusCode());
            HttpRequest chunked = HttpRequest.newBuilder(fake.uri("/v1/completions"))
                    .POST(HttpRequest.BodyPublishers.ofInputStream(
                            () -> new ByteArrayInputStream(body.getBytes(StandardCharsets.UTF_8))))
                    .build();
            assertEquals(413, fake.client.send(chunked, BodyHandlers.ofString()).statusCode());
        }
    }

    /** A client must not send its next request on a connection that the server closes. */
    @Test
    void anErrorBeforeTheWholeBodyIsReadAnnouncesTheEndOfTheConnection() throws Exception {
        try (FakeServer fake = new FakeServer(options -> options.maxBodyBytes(100), q -> q, model -> model);
                Socket socket = new Socket("127.0.0.1", fake.server.uri().getPort())) {
            socket.getOutputStream()
                    .write("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegin"
                            .getBytes(StandardCharsets.US_ASCII));
            String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertTrue(answer.startsWith("HTTP/1.1 413 "), answer);
            assertTrue(answer.contains("\r\nConnection: close\r\n"), answer);
            assertTrue(answer.contains("at most 100 bytes"), answer);
        }
    }

    @Test
    void drainingRefusesNewRequestsAndFinishesTheOthers() throws Exception {
        StepGate gate = new StepGate();
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> model.onAwait(chunks -> gate.pass()))) {
            CompletableFuture<HttpResponse<String>> running = fake.client.sendAsync(
                    fake.request("/v1/completions", LONG.formatted(false)), BodyHandlers.ofString());
            gate.awaitStep();
            CompletableFuture<Void> drained = drain(fake, Duration.ofSeconds(15));
            while (fake.get("/ready").statusCode() == 200) {
                Thread.onSpinWait();
            }
            HttpResponse<String> refused = fake.post("/v1/completions", "{\"prompt\": \"abc\"}");
            assertEquals(503, refused.statusCode());
            assertFalse(drained.isDone());
            gate.open();
            assertEquals(200, running.join().statusCode());
            drained.join();
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void drainingCancelsWhatDoesNotEndInTimeAndSaysSo(boolean stream) throws Exception {
        StepGate gate = new StepGate();
        try (FakeServer fake = new FakeServer(o -> o, q -> q, model -> model.onAwait(chunks -> gate.pass()))) {
            CompletableFuture<HttpResponse<String>> running = fake.client.sendAsync(
                    fake.request("/v1/completions", LONG.formatted(stream)), BodyHandlers.ofString());
            gate.awaitStep();
            CompletableFuture<Void> drained = drain(fake, Duration.ZERO);
            while (fake.get("/ready").statusCode() == 200) {
                Thread.onSpinWait();
            }
            gate.open();
            drained.join();
            HttpResponse<String> answer = running.join();
            assertEquals(stream ? 200 : 503, answer.statusCode());
            assertTrue(answer.body().contains("the server is shutting down"), answer.body());
            assertEquals(stream, answer.body().endsWith("data: [DONE]\n\n"));
        }
    }

    private static CompletableFuture<Void> drain(FakeServer fake, Duration patience) {
        return CompletableFuture.runAsync(() -> {
            try {
                fake.server.drain(patience);
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        });
    }
}
