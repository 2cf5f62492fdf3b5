package io.github.loomtorch.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.github.loomtorch.bench.RequestTrace.Status;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Stream;

/**
 * A server with OpenAI's completions: this one, vLLM's or llama.cpp's. Each request has a virtual thread, and its
 * answer is read as a stream of server-sent events. Thread-safe.
 */
public final class HttpTarget implements Target, AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(10);
    private static final Duration PROBE_TIMEOUT = Duration.ofSeconds(30);
    private static final Set<Integer> OVERLOADED = Set.of(429, 503);
    private static final int MAX_QUOTED = 200;

    private final HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(CONNECT_TIMEOUT)
            .build();
    private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
    private final URI base;
    private final Optional<String> apiKey;
    private final String model;
    private final OptionalInt contextLength;

    /**
     * Asks the server for its models.
     *
     * @param base such as {@code http://127.0.0.1:8000}
     * @param model name to request; empty for the server's first
     * @param apiKey to send as a bearer token, if the server wants one
     * @throws IOException if the server cannot be reached, or lists no such model
     */
    public HttpTarget(URI base, Optional<String> model, Optional<String> apiKey) throws IOException {
        String scheme = String.valueOf(base.getScheme());
        if (!Set.of("http", "https").contains(scheme) || base.getHost() == null) {
            throw new IllegalArgumentException("url must be http://HOST:PORT or https://HOST:PORT, got " + base);
        }
        this.base = base;
        this.apiKey = apiKey;
        JsonNode models = models().path("data");
        Optional<JsonNode> found = Optional.empty();
        List<String> ids = new ArrayList<>();
        for (JsonNode each : models) {
            String id = each.path("id").asText();
            ids.add(id);
            if (found.isEmpty() && model.orElse(id).equals(id)) {
                found = Optional.of(each);
            }
        }
        JsonNode chosen = found.orElseThrow(() -> new IOException(
                base + ": expected " + model.map(name -> "model " + name).orElse("a model") + " in /v1/models, got "
                        + shortened(ids.toString())));
        this.model = chosen.path("id").asText();
        contextLength = chosen.path("max_model_len").isInt()
                ? OptionalInt.of(chosen.path("max_model_len").intValue())
                : OptionalInt.empty();
    }

    private JsonNode models() throws IOException {
        HttpRequest request = request("/v1/models").timeout(PROBE_TIMEOUT).build();
        HttpResponse<String> response;
        try {
            response = client.send(request, BodyHandlers.ofString());
        } catch (IOException e) {
            throw new IOException(base + ": the server could not be reached: " + reason(e), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException(base + ": interrupted", e);
        }
        if (response.statusCode() != 200) {
            throw new IOException(base + ": expected status 200 of /v1/models, got " + response.statusCode() + ": "
                    + shortened(response.body()));
        }
        try {
            return JSON.readTree(response.body());
        } catch (JsonProcessingException e) {
            throw new IOException(base + ": expected JSON of /v1/models, got " + shortened(response.body()), e);
        }
    }

    private HttpRequest.Builder request(String path) {
        String root = base.toString().replaceFirst("/+$", "").replaceFirst("/v1$", "");
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(root + path));
        apiKey.ifPresent(key -> request.header("Authorization", "Bearer " + key));
        return request;
    }

    /**
     * The model that is requested.
     *
     * @return its name
     */
    public String model() {
        return model;
    }

    /**
     * Most tokens of a prompt and its output.
     *
     * @return empty if the server does not tell
     */
    public OptionalInt contextLength() {
        return contextLength;
    }

    @Override
    public void send(GenerationRequest request, Receiver receiver) {
        threads.execute(() -> call(request, receiver));
    }

    private void call(GenerationRequest request, Receiver receiver) {
        int inputTokens = request.promptTokenIds().length;
        Answer answer = new Answer(inputTokens, receiver);
        try {
            HttpRequest post = request("/v1/completions")
                    .header("Content-Type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString(body(request).toString()))
                    .build();
            HttpResponse<Stream<String>> response = client.send(post, BodyHandlers.ofLines());
            try (Stream<String> lines = response.body()) {
                if (response.statusCode() != 200) {
                    String text = lines.reduce("", String::concat);
                    Status status = OVERLOADED.contains(response.statusCode()) ? Status.REJECTED : Status.FAILED;
                    answer.end(status, "status " + response.statusCode() + ": " + shortened(text));
                    return;
                }
                for (Iterator<String> line = lines.iterator(); line.hasNext() && !answer.ended; ) {
                    answer.read(line.next());
                }
            }
            if (!answer.ended) {
                answer.end(Status.FAILED, "the stream ended without [DONE]");
            }
        } catch (IOException | UncheckedIOException e) {
            answer.end(Status.FAILED, reason(e));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            answer.end(Status.CANCELLED, "interrupted");
        } catch (RuntimeException e) {
            answer.end(Status.FAILED, e.toString());
        }
    }

    private ObjectNode body(GenerationRequest request) {
        SamplingParams sampling = request.sampling();
        ObjectNode body = JSON.createObjectNode();
        body.put("model", model);
        body.set("prompt", JSON.valueToTree(request.promptTokenIds()));
        body.put("max_tokens", sampling.maxNewTokens());
        body.put("temperature", sampling.temperature());
        body.put("top_p", sampling.topP());
        body.put("top_k", sampling.topK());
        body.put("min_p", sampling.minP());
        body.put("ignore_eos", sampling.ignoreEos());
        // Signed 64-bit seeds are not understood by all.
        sampling.seed().ifPresent(seed -> body.put("seed", seed & Integer.MAX_VALUE));
        body.put("stream", true);
        body.putObject("stream_options").put("include_usage", true);
        // So that a token without text has an event, too.
        body.put("return_token_ids", true);
        return body;
    }

    private static String reason(Exception e) {
        if (e instanceof ConnectException && e.getMessage() == null) {
            return "connection refused";
        }
        return e.getMessage() == null ? e.toString() : e.getMessage();
    }

    private static String shortened(String text) {
        String line = text.strip().replaceAll("\\s+", " ");
        return line.length() <= MAX_QUOTED ? line : line.substring(0, MAX_QUOTED) + "...";
    }

    /** Waits for the requests in flight. */
    @Override
    public void close() {
        threads.close();
        client.close();
    }

    @Override
    public void flush() {}

    /** What has come of one request. Confined to its thread. */
    private static final class Answer {
        private final Receiver receiver;
        private int inputTokens;
        private int events;
        private OptionalInt outputTokens = OptionalInt.empty();
        private boolean isAborted;
        private boolean ended;

        Answer(int inputTokens, Receiver receiver) {
            this.inputTokens = inputTokens;
            this.receiver = receiver;
        }

        void read(String line) throws IOException {
            if (!line.startsWith("data:")) { // a comment, or the empty line after an event
                return;
            }
            String data = line.substring("data:".length()).strip();
            if (data.equals("[DONE]")) {
                end(isAborted ? Status.CANCELLED : Status.COMPLETED, isAborted ? "the server aborted the request" : "");
                return;
            }
            JsonNode event = JSON.readTree(data);
            if (event.has("error")) {
                end(Status.FAILED, shortened(event.path("error").path("message").asText(event.toString())));
                return;
            }
            JsonNode choice = event.path("choices").path(0);
            if (hasTokens(choice)) {
                receiver.onTokens();
                events++;
            }
            isAborted |= choice.path("finish_reason").asText().equals("abort");
            JsonNode usage = event.path("usage");
            if (usage.path("completion_tokens").isInt()) {
                outputTokens = OptionalInt.of(usage.path("completion_tokens").intValue());
                inputTokens = usage.path("prompt_tokens").asInt(inputTokens);
            }
        }

        /** Servers also send events without tokens: the first, or the last with the finish reason. */
        private static boolean hasTokens(JsonNode choice) {
            return choice.path("token_ids").isArray()
                    ? !choice.path("token_ids").isEmpty()
                    : !choice.path("text").asText().isEmpty();
        }

        void end(Status status, String failure) {
            if (!ended) {
                ended = true;
                receiver.onEnd(status, failure, Optional.empty(), inputTokens, outputTokens.orElse(events));
            }
        }
    }
}
