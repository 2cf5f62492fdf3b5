package io.github.loomtorch.server;

import com.fasterxml.jackson.core.JsonGenerator;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.eclipse.jetty.http.HttpException;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.http.HttpStatus;
import org.eclipse.jetty.server.Handler;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.util.Callback;
import org.eclipse.jetty.util.URIUtil;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Maps paths to endpoints, checks the key, and answers every failure in OpenAI's form. Thread-safe. */
final class Routes extends Handler.Abstract {
    private static final Logger LOG = LoggerFactory.getLogger(HttpServer.class);

    private static final byte[] PAGE = page();

    private final ServerOptions options;
    private final List<byte[]> keyDigests;
    private final String version;
    private final ServerMetrics metrics;
    private final long startedSeconds = System.currentTimeMillis() / 1000;
    private final Set<CompletionCall> running = ConcurrentHashMap.newKeySet();
    private volatile Optional<ServedModel> model = Optional.empty();
    private volatile boolean draining;

    Routes(ServerOptions options, String version, ServerMetrics metrics) {
        this.options = options;
        this.version = version;
        this.metrics = metrics;
        keyDigests = options.apiKeys().stream().map(Routes::digest).toList();
    }

    private static byte[] page() {
        try (InputStream in = Objects.requireNonNull(Routes.class.getResourceAsStream("page.html"))) {
            return in.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    void serve(ServedModel served) {
        metrics.watch(served.scheduler());
        model = Optional.of(served);
    }

    /** Refuses new work from now on. */
    void drain() {
        draining = true;
    }

    int requestsInFlight() {
        return running.size();
    }

    /** Ends the calls that still run. */
    void abort() {
        running.forEach(CompletionCall::abort);
    }

    @Override
    public boolean handle(Request request, Response response, Callback callback) {
        Exchange exchange = new Exchange(request, response, callback);
        long start = System.nanoTime();
        try {
            route(exchange);
        } catch (ApiException e) {
            metrics.rejected(e.status());
            exchange.sendError(e);
        } catch (HttpException.RuntimeException e) {
            metrics.rejected(e.getCode());
            exchange.sendError(ApiException.ofStatus(e.getCode(), String.valueOf(e.getReason())));
        } catch (IOException e) { // the client has left, or sends no more
            metrics.disconnected();
            LOG.debug("request {} was abandoned: {}", exchange.id(), e.toString());
            exchange.abandon(e);
        } catch (RuntimeException e) {
            metrics.rejected(HttpStatus.INTERNAL_SERVER_ERROR_500);
            LOG.error("request {} failed", exchange.id(), e);
            exchange.sendError(ApiException.internal("request " + exchange.id() + " failed; the log says why"));
        } finally {
            LOG.debug(
                    "request {} {} {} from {}: status {} after {} ms",
                    exchange.id(),
                    request.getMethod(),
                    request.getHttpURI().getPath(),
                    Request.getRemoteAddr(request),
                    response.getStatus(),
                    TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - start));
        }
        return true;
    }

    private void route(Exchange exchange) throws IOException {
        String path = exchange.path();
        switch (path) {
            case "/health", "/ping" -> {
                allow(exchange, "GET");
                exchange.sendStatus(isLost() ? HttpStatus.SERVICE_UNAVAILABLE_503 : HttpStatus.OK_200);
            }
            case "/ready" -> {
                allow(exchange, "GET");
                exchange.sendStatus(isReady() ? HttpStatus.OK_200 : HttpStatus.SERVICE_UNAVAILABLE_503);
            }
            case "/version" -> {
                allow(exchange, "GET");
                exchange.sendJson(JsonAnswers.write(json -> {
                    json.writeStartObject();
                    json.writeStringField("version", version);
                    json.writeEndObject();
                }));
            }
            case "/metrics" -> {
                allow(exchange, "GET");
                exchange.send(
                        HttpStatus.OK_200,
                        "text/plain; version=0.0.4; charset=utf-8",
                        metrics.scrape().getBytes(StandardCharsets.UTF_8));
            }
            case "/v1/models" -> {
                allow(exchange, "GET");
                authorize(exchange);
                ServedModel served = served();
                exchange.sendJson(JsonAnswers.write(json -> writeModels(json, served)));
            }
            case "/" -> {
                allow(exchange, "GET");
                exchange.sendPage(PAGE);
            }
            case "/v1/completions" -> {
                allow(exchange, "POST");
                authorize(exchange);
                complete(exchange, CompletionRequest::read);
            }
            case "/v1/chat/completions" -> {
                allow(exchange, "POST");
                authorize(exchange);
                complete(exchange, ChatRequest::read);
            }
            case "/tokenize" -> {
                allow(exchange, "POST");
                authorize(exchange);
                tokenize(exchange, served());
            }
            case "/detokenize" -> {
                allow(exchange, "POST");
                authorize(exchange);
                detokenize(exchange, served());
            }
            case "/tokenizer_info" -> {
                allow(exchange, "GET");
                authorize(exchange);
                sendTokenizerInfo(exchange, served());
            }
            default -> routeModel(exchange, path);
        }
    }

    private void routeModel(Exchange exchange, String path) {
        String models = "/v1/models/";
        if (!path.startsWith(models)) {
            throw ApiException.noSuchPath(path);
        }
        allow(exchange, "GET");
        authorize(exchange);
        ServedModel served = served();
        String name = URIUtil.decodePath(path.substring(models.length()));
        if (!name.equals(served.name())) {
            throw ApiException.noSuchModel(name, served.name());
        }
        exchange.sendJson(JsonAnswers.write(json -> writeModel(json, served)));
    }

    private static void allow(Exchange exchange, String method) {
        String got = exchange.request().getMethod();
        if (!got.equals(method) && !(got.equals("HEAD") && method.equals("GET"))) {
            exchange.response().getHeaders().put(HttpHeader.ALLOW, method);
            throw ApiException.wrongMethod(got, method);
        }
    }

    /** Compares with every key, in a time that does not tell how much of one was right. */
    private void authorize(Exchange exchange) {
        if (keyDigests.isEmpty()) {
            return;
        }
        String header = exchange.request().getHeaders().get(HttpHeader.AUTHORIZATION);
        String bearer = "Bearer ";
        boolean isKey = false;
        if (header != null && header.regionMatches(true, 0, bearer, 0, bearer.length())) {
            byte[] given = digest(header.substring(bearer.length()).strip());
            for (byte[] key : keyDigests) {
                isKey |= MessageDigest.isEqual(given, key);
            }
        }
        if (!isKey) {
            throw ApiException.unauthorized();
        }
    }

    private static byte[] digest(String key) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every Java has it
        }
    }

    private boolean isLost() {
        return model.isPresent() && model.get().scheduler().state() instanceof SchedulerState.Lost;
    }

    private boolean isReady() {
        return !draining && model.isPresent() && model.get().scheduler().state() instanceof SchedulerState.Running;
    }

    private ServedModel served() {
        return model.orElseThrow(() -> ApiException.unavailable("the model is loading"));
    }

    /** Reads a body. */
    private interface Reader {
        CompletionRequest read(JsonFields fields, ServedModel model, int maxChoices);
    }

    private void complete(Exchange exchange, Reader reader) throws IOException {
        ServedModel served = served();
        if (draining) {
            throw ApiException.unavailable("the server is shutting down");
        }
        JsonFields fields = JsonFields.parse(exchange.body(options.maxBodyBytes()));
        if (options.logPrompts()) { // as JSON, so that no text of a prompt looks like a line of the log
            LOG.info(
                    "request {} prompt {}",
                    exchange.id(),
                    fields.has("messages") ? fields.get("messages") : fields.get("prompt"));
        }
        CompletionRequest request = reader.read(fields, served, options.maxChoices());
        CompletionCall call = new CompletionCall(exchange, served, request, metrics);
        running.add(call);
        try {
            call.run();
        } finally {
            running.remove(call);
        }
    }

    private void writeModels(JsonGenerator json, ServedModel served) throws IOException {
        json.writeStartObject();
        json.writeStringField("object", "list");
        json.writeArrayFieldStart("data");
        writeModel(json, served);
        json.writeEndArray();
        json.writeEndObject();
    }

    private void writeModel(JsonGenerator json, ServedModel served) throws IOException {
        json.writeStartObject();
        json.writeStringField("id", served.name());
        json.writeStringField("object", "model");
        json.writeNumberField("created", startedSeconds);
        json.writeStringField("owned_by", "loomtorch");
        json.writeNumberField("max_model_len", served.contextLength());
        json.writeEndObject();
    }

    private void tokenize(Exchange exchange, ServedModel served) throws IOException {
        JsonFields fields = JsonFields.parse(exchange.body(options.maxBodyBytes()));
        String prompt = fields.text("prompt").orElseThrow(() -> fields.bad("prompt", "be a string"));
        boolean names = fields.flag("return_token_strs", false);
        Tokenizer tokenizer = served.tokenizer();
        int[] ids = CompletionRequest.encode(fields, prompt, served);
        exchange.sendJson(JsonAnswers.write(json -> {
            json.writeStartObject();
            json.writeNumberField("count", ids.length);
            json.writeNumberField("max_model_len", served.contextLength());
            json.writeFieldName("tokens");
            json.writeArray(ids, 0, ids.length);
            json.writeFieldName("token_strs");
            if (names) {
                json.writeStartArray();
                for (int id : ids) {
                    json.writeString(TokenNames.of(tokenizer, id));
                }
                json.writeEndArray();
            } else {
                json.writeNull();
            }
            json.writeEndObject();
        }));
    }

    private void detokenize(Exchange exchange, ServedModel served) throws IOException {
        JsonFields fields = JsonFields.parse(exchange.body(options.maxBodyBytes()));
        int[] ids = fields.ids("tokens", fields.get("tokens"));
        int vocabSize = served.tokenizer().vocabSize();
        for (int id : ids) {
            if (id < 0 || id >= vocabSize) {
                throw ApiException.badParameter("tokens", "hold token ids in [0, " + vocabSize + ")", id);
            }
        }
        String text = served.tokenizer().decode(ids);
        exchange.sendJson(JsonAnswers.write(json -> {
            json.writeStartObject();
            json.writeStringField("prompt", text);
            json.writeEndObject();
        }));
    }

    /** What clients that tokenize for themselves ask for; GPT-2 begins a text with its end-of-text token. */
    private void sendTokenizerInfo(Exchange exchange, ServedModel served) {
        Tokenizer tokenizer = served.tokenizer();
        String endOfText = tokenizer.endOfTextId() < 0 ? null : TokenNames.of(tokenizer, tokenizer.endOfTextId());
        exchange.sendJson(JsonAnswers.write(json -> {
            json.writeStartObject();
            json.writeStringField("tokenizer_class", "GPT2Tokenizer");
            json.writeStringField("bos_token", endOfText);
            json.writeStringField("eos_token", endOfText);
            json.writeNumberField("model_max_length", served.contextLength());
            json.writeNumberField("vocab_size", tokenizer.vocabSize());
            json.writeEndObject();
        }));
    }
}
