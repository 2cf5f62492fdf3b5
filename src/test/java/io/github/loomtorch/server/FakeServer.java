package io.github.loomtorch.server;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeTokenizer;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.function.UnaryOperator;

/** A server on a free port of this machine, with a {@link FakeCausalLm} named {@code fake}, and a client for it. */
final class FakeServer implements AutoCloseable {
    static final JsonMapper JSON = JsonMapper.builder().build();

    final ServerMetrics metrics = new ServerMetrics(MetricNames.VLLM, "fake", 4);
    final HttpServer server;
    final ContinuousScheduler scheduler;
    final HttpClient client =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private Engine engine;
    private FakeCausalLm lm;

    /** Ready. */
    FakeServer(
            UnaryOperator<ServerOptions.Builder> options,
            UnaryOperator<QueueOptions.Builder> queue,
            UnaryOperator<FakeCausalLm> hooks)
            throws IOException {
        server = HttpServer.start(options.apply(ServerOptions.builder().port(0)).build(), "test", metrics);
        scheduler = new ContinuousScheduler(
                () -> {
                    lm = hooks.apply(FakeCausalLm.ofBatch(4));
                    engine = new Engine(
                            lm,
                            new FakeTokenizer(),
                            EngineOptions.builder()
                                    .listener(metrics.engineListener())
                                    .build());
                    return engine;
                },
                queue.apply(QueueOptions.builder()).build());
        server.serve(
                new ServedModel("fake", scheduler, new FakeTokenizer(), 64, FakeCausalLm.VOCAB_SIZE, "fake-0", true));
    }

    FakeServer() throws IOException {
        this(options -> options, queue -> queue, model -> model);
    }

    /** One that listens and has no model yet. */
    static HttpServer loading(UnaryOperator<ServerOptions.Builder> options) throws IOException {
        return HttpServer.start(
                options.apply(ServerOptions.builder().port(0)).build(),
                "test",
                new ServerMetrics(MetricNames.LOOMTORCH, "fake", 4));
    }

    URI uri(String path) {
        return server.uri().resolve(path);
    }

    HttpResponse<String> get(String path) throws IOException, InterruptedException {
        return client.send(HttpRequest.newBuilder(uri(path)).build(), BodyHandlers.ofString());
    }

    HttpRequest request(String path, String body) {
        return HttpRequest.newBuilder(uri(path))
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
    }

    HttpResponse<String> post(String path, String body) throws IOException, InterruptedException {
        return client.send(request(path, body), BodyHandlers.ofString());
    }

    /** The answer to a completion request, single quotes for double ones. */
    JsonNode complete(String body) throws IOException, InterruptedException {
        return JSON.readTree(post("/v1/completions", body.replace('\'', '"')).body());
    }

    int freePages() {
        return engine.availablePages();
    }

    int pages() {
        return lm.pageCount();
    }

    long runningTokens() {
        return engine.runningTokens();
    }

    @Override
    public void close() {
        server.close();
        scheduler.closeNow();
        client.close();
    }
}
