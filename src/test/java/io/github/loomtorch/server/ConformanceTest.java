package io.github.loomtorch.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.Socket;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;

/** Requests and their answers, field by field, and requests that nobody would send. */
@Timeout(60)
class ConformanceTest {
    private static final Path CASES = Path.of("src/test/resources/server/cases.json");
    private static FakeServer fake;

    @BeforeAll
    static void start() throws IOException {
        fake = new FakeServer();
    }

    @AfterAll
    static void close() {
        fake.close();
    }

    @TestFactory
    Stream<DynamicTest> cases() throws IOException {
        List<JsonNode> cases = new ArrayList<>();
        FakeServer.JSON.readTree(CASES.toFile()).forEach(cases::add);
        return cases.stream()
                .map(one -> DynamicTest.dynamicTest(one.path("name").textValue(), () -> check(one)));
    }

    private static void check(JsonNode one) throws Exception {
        String body = one.has("text")
                ? one.path("text").textValue()
                : one.path("request").toString();
        HttpResponse<String> answer = fake.post(one.path("path").asText("/v1/completions"), body);
        assertEquals(one.path("status").asInt(200), answer.statusCode(), answer.body());
        JsonNode json = FakeServer.JSON.readTree(answer.body());
        for (Map.Entry<String, JsonNode> expected : one.path("expect").properties()) {
            assertEquals(expected.getValue(), json.at(expected.getKey()), expected.getKey() + " of " + json);
        }
        if (answer.statusCode() >= 400) {
            assertFalse(json.at("/error/message").textValue().isEmpty());
            assertEquals(answer.statusCode(), json.at("/error/code").intValue());
        }
    }

    /** A field that is not honoured is refused by its name, unless it has one of its defaults. */
    @Test
    void noFieldIsIgnoredInSilence() throws Exception {
        for (String path : List.of("/v1/completions", "/v1/chat/completions")) {
            Map<String, List<String>> fields = new HashMap<>(SamplingFields.NOT_HONOURED);
            if (path.contains("chat")) {
                fields.putAll(ChatRequest.NOT_HONOURED);
            }
            String body = "{\"prompt\": \"a\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}],"
                    + " \"max_tokens\": 1, \"%s\": %s}";
            for (Map.Entry<String, List<String>> field : fields.entrySet()) {
                HttpResponse<String> refused = fake.post(path, body.formatted(field.getKey(), "[7]"));
                assertEquals(400, refused.statusCode(), field + " " + refused.body());
                assertEquals(
                        field.getKey(),
                        FakeServer.JSON
                                .readTree(refused.body())
                                .at("/error/param")
                                .textValue());
                for (String value : field.getValue()) {
                    assertEquals(
                            200,
                            fake.post(path, body.formatted(field.getKey(), value))
                                    .statusCode(),
                            field.toString());
                }
            }
        }
    }

    @Test
    void aStopStringEndsTheTextAndIsNamed() throws Exception {
        JsonNode whole = fake.complete("{'prompt': 'abc', 'max_tokens': 20, 'temperature': 0, 'ignore_eos': true}");
        String text = whole.at("/choices/0/text").textValue();
        String stop = text.substring(3, 5);
        JsonNode stopped = FakeServer.JSON.readTree(fake.post(
                        "/v1/completions",
                        FakeServer.JSON.writeValueAsString(Map.of(
                                "prompt",
                                "abc",
                                "max_tokens",
                                20,
                                "temperature",
                                0,
                                "ignore_eos",
                                true,
                                "stop",
                                List.of("no such text", stop))))
                .body());
        assertEquals(
                text.substring(0, text.indexOf(stop)),
                stopped.at("/choices/0/text").textValue());
        assertEquals("stop", stopped.at("/choices/0/finish_reason").textValue());
        assertEquals(stop, stopped.at("/choices/0/stop_reason").textValue());
    }

    @Test
    void aStopStringIsKeptIfAskedFor() throws Exception {
        String request = "{'prompt': 'abc', 'max_tokens': 20, 'temperature': 0, 'ignore_eos': true%s}";
        String text = fake.complete(request.formatted("")).at("/choices/0/text").textValue();
        String stop = text.substring(1, 3);
        String stopped = ", 'stop': " + FakeServer.JSON.writeValueAsString(stop).replace('"', '\'');
        JsonNode kept = fake.complete(request.formatted(stopped + ", 'include_stop_str_in_output': true"));
        assertEquals(
                text.substring(0, text.indexOf(stop) + 2),
                kept.at("/choices/0/text").textValue());
        assertEquals(stop, kept.at("/choices/0/stop_reason").textValue());
        JsonNode later = fake.complete(request.formatted(stopped + ", 'min_tokens': 20"));
        assertEquals(text, later.at("/choices/0/text").textValue());
        assertEquals("length", later.at("/choices/0/finish_reason").textValue());
    }

    @Test
    void tokensFromThePrefixCacheAreCounted() throws Exception {
        String request = "{'prompt': [20, 21, 22, 23, 24, 25, 26, 27, 28, 29], 'n': 2, 'max_tokens': 1}";
        fake.complete(request);
        JsonNode again = fake.complete(request);
        assertEquals(10, again.at("/usage/prompt_tokens").intValue());
        assertEquals(8, again.at("/usage/prompt_tokens_details/cached_tokens").intValue()); // whole pages of 4
    }

    @Test
    void aStopTokenIsNamedByItsId() throws Exception {
        String request = "{'prompt': 'abc', 'max_tokens': 9, 'temperature': 0, 'ignore_eos': true,"
                + " 'return_token_ids': true, 'stop_token_ids': [%s]}";
        int third = fake.complete(request.formatted(""))
                .at("/choices/0/token_ids/2")
                .intValue();
        JsonNode stopped = fake.complete(request.formatted(third));
        assertEquals("stop", stopped.at("/choices/0/finish_reason").textValue());
        assertEquals(third, stopped.at("/choices/0/stop_reason").intValue());
    }

    /** Whatever the body is, the answer is one that names what is wrong, or a completion. */
    @Test
    void randomBodiesNeverFailTheServer() throws Exception {
        List<String> names = List.of(
                "prompt",
                "model",
                "max_tokens",
                "n",
                "stream",
                "stream_options",
                "logprobs",
                "echo",
                "stop",
                "seed",
                "temperature",
                "top_p",
                "top_k",
                "min_p",
                "logit_bias",
                "presence_penalty",
                "repetition_penalty",
                "prompt_logprobs",
                "stop_token_ids",
                "bad_words",
                "min_tokens",
                "allowed_token_ids",
                "include_stop_str_in_output",
                "messages",
                "max_completion_tokens",
                "top_logprobs",
                "tools",
                "timeout_seconds",
                "priority",
                "return_token_ids",
                "truncate_prompt_tokens",
                "truncation_side",
                "add_special_tokens",
                "best_of",
                "\ud83d",
                "");
        List<String> values = List.of(
                "null",
                "true",
                "false",
                "0",
                "1",
                "-1",
                "2",
                "1e400",
                "-0.0",
                "0.5",
                "2147483648",
                "9223372036854775808",
                "1e-320",
                "\"\"",
                "\"abc\"",
                "\"\\ud83d\"",
                "\"\\u0000\"",
                "\" \"",
                "[]",
                "[[]]",
                "[1]",
                "[\"a\",1]",
                "[null]",
                "{}",
                "{\"1\":1}",
                "{\"include_usage\":true}",
                "\"fake\"",
                "[[1],[2]]",
                "{\"1\":null}",
                "[{}]",
                "[{\"role\":\"user\",\"content\":\"ab\"}]",
                "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u0000\"}]}]",
                "[{\"role\":1,\"content\":{}}]",
                "{\"-1\":1}",
                "NaN",
                "\"left\"",
                "[99,98]");
        Random random = new Random(11);
        int completed = 0;
        for (int i = 0; i < 900; i++) {
            StringBuilder body = new StringBuilder("{\"prompt\":\"abc\"");
            for (int field = random.nextInt(5); field >= 0; field--) {
                body.append(",\"")
                        .append(names.get(random.nextInt(names.size())))
                        .append("\":")
                        .append(values.get(random.nextInt(values.size())));
            }
            body.append('}');
            if (random.nextInt(10) == 0) {
                body.setCharAt(random.nextInt(body.length()), (char) random.nextInt(256));
            }
            String path = List.of(
                            "/v1/completions",
                            "/v1/completions",
                            "/v1/completions",
                            "/v1/chat/completions",
                            "/tokenize",
                            "/detokenize")
                    .get(random.nextInt(6));
            HttpResponse<String> answer = fake.post(path, body.toString());
            assertTrue(answer.statusCode() < 500, () -> body + " got " + answer.body());
            completed += answer.statusCode() == 200 ? 1 : 0;
        }
        assertTrue(completed > 30, "completed " + completed);
    }

    @Test
    void randomHeadersNeverFailTheServer() throws Exception {
        Random random = new Random(12);
        List<String> lines = List.of(
                "Host: x",
                "Host: y",
                "Content-Length: 2",
                "Content-Length: -1",
                "Content-Length: x",
                "Transfer-Encoding: chunked",
                "Transfer-Encoding: gzip",
                "Expect: 100-continue",
                "Connection: close",
                "Authorization: Bearer \u00e9",
                "X-Request-Id: a b",
                "X-Request-Id: \u0001",
                ": x",
                "Content-Type: \u0000",
                "Upgrade: h2c",
                "HTTP2-Settings: x",
                "Content-Encoding: gzip",
                " folded: yes");
        List<String> starts = List.of(
                "POST /v1/completions HTTP/1.1",
                "POST /v1/completions HTTP/1.0",
                "GET /v1/models HTTP/1.1",
                "POST /v1/%63ompletions HTTP/1.1",
                "GET /../../etc/passwd HTTP/1.1",
                "BREW / HTTP/1.1",
                "GET http://x:99999/ HTTP/1.1",
                "POST /v1/completions;a=b HTTP/1.1",
                "GET /\u0000 HTTP/1.1",
                "x");
        for (int i = 0; i < 200; i++) {
            StringBuilder request = new StringBuilder(starts.get(random.nextInt(starts.size()))).append("\r\n");
            for (int line = random.nextInt(4); line > 0; line--) {
                request.append(lines.get(random.nextInt(lines.size()))).append("\r\n");
            }
            request.append("\r\n{}");
            try (Socket socket = new Socket("127.0.0.1", fake.server.uri().getPort())) {
                socket.getOutputStream().write(request.toString().getBytes(StandardCharsets.ISO_8859_1));
                socket.shutdownOutput();
                String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1);
                assertFalse(answer.matches("(?s)HTTP/1.1 5(?!01|05).*"), () -> request + " got " + answer);
            }
        }
        assertEquals(200, fake.get("/ready").statusCode());
    }
}
