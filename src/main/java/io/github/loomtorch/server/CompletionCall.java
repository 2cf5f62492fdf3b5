package io.github.loomtorch.server;

import com.fasterxml.jackson.core.JsonGenerator;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.UnusableLogitsException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.stream.IntStream;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.http.HttpHeaderValue;
import org.eclipse.jetty.io.EofException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One call of {@code POST /v1/completions} or {@code /v1/chat/completions}: submits its prompts, and writes the answer
 * when all have ended, or events as tokens come. If the client leaves, everything is cancelled. Confined to the thread
 * of the request, but for {@link #abort}.
 */
final class CompletionCall {
    private static final Logger LOG = LoggerFactory.getLogger(HttpServer.class);

    /** Wakes the thread of the request when the client has left. */
    private static final News LEFT = new News(-1, null, null, null);

    private final Exchange exchange;
    private final ServedModel model;
    private final CompletionRequest request;
    private final ServerMetrics metrics;
    private final String id;
    private final long createdSeconds;
    private final List<Choice> choices = new ArrayList<>();
    private final List<Generation> generations = new ArrayList<>();
    private final BlockingQueue<News> news = new LinkedBlockingQueue<>();
    private volatile boolean aborted;

    /** Something of one generation: a token, its end or its failure. */
    private record News(
            int choice,
            @Nullable TokenEvent token,
            @Nullable Completion end,
            @Nullable Throwable failure) {}

    CompletionCall(Exchange exchange, ServedModel model, CompletionRequest request, ServerMetrics metrics) {
        this.exchange = exchange;
        this.model = model;
        this.request = request;
        this.metrics = metrics;
        id = request.answer().form().idPrefix() + exchange.id();
        createdSeconds = System.currentTimeMillis() / 1000;
    }

    /** Ends the call, as the server shuts down: a stream gets a last event that says so. Called on any thread. */
    void abort() {
        aborted = true;
        List<Generation> running;
        synchronized (generations) {
            running = List.copyOf(generations);
        }
        running.forEach(Generation::cancel);
    }

    /** Runs the call and answers. */
    void run() throws IOException {
        for (GenerationRequest prompt : request.requests()) {
            for (int i = 0; i < request.n(); i++) {
                choices.add(Choice.of(choices.size(), prompt, request.answer(), model.tokenizer()));
            }
        }
        try (ClientWatch client = new ClientWatch(exchange.request(), () -> news.add(LEFT))) {
            submit();
            if (request.answer().stream()) {
                stream(client);
            } else {
                awaitAll(client);
                if (client.stop()) {
                    exchange.response().getHeaders().put(HttpHeader.CONNECTION, HttpHeaderValue.CLOSE.asString());
                }
                exchange.sendJson(JsonAnswers.write(this::writeAnswer));
            }
        } catch (IOException | RuntimeException e) {
            generations.forEach(Generation::cancel);
            throw e;
        }
    }

    private void submit() {
        if (request.answer().isPlainEcho()) {
            return;
        }
        try {
            for (GenerationRequest prompt : request.requests()) {
                List<Generation> copies = model.scheduler().submitCopies(prompt, request.n());
                synchronized (generations) {
                    generations.addAll(copies);
                }
                copies.forEach(this::count);
            }
        } catch (IllegalArgumentException e) {
            throw SamplingFields.refusal(e);
        } catch (RejectedExecutionException e) {
            throw ApiException.queueFull(String.valueOf(e.getMessage()));
        } catch (IllegalStateException e) {
            throw ApiException.unavailable(String.valueOf(e.getMessage()));
        }
        for (int i = 0; i < generations.size(); i++) {
            int choice = i;
            if (request.answer().stream()) {
                generations.get(i).publisher().subscribe(new Subscriber(choice));
            } else {
                var unused = generations
                        .get(i)
                        .completion()
                        .whenComplete((end, failure) -> news.add(new News(choice, null, end, failure)));
            }
        }
        if (aborted) {
            abort();
        }
    }

    private void count(Generation generation) {
        metrics.submitted();
        var unused = generation.completion().whenComplete((end, failure) -> {
            if (failure == null) {
                metrics.completed(end);
            } else {
                metrics.failed();
            }
        });
    }

    /** Puts the tokens of a generation in the queue. At most the model's context of them wait there. */
    private final class Subscriber implements Flow.Subscriber<TokenEvent> {
        private final int choice;
        private long lastNanos; // when the last token came; 0 before the first

        Subscriber(int choice) {
            this.choice = choice;
        }

        @Override
        public void onSubscribe(Flow.Subscription subscription) {
            subscription.request(Long.MAX_VALUE);
        }

        @Override
        public void onNext(TokenEvent token) {
            long now = System.nanoTime();
            if (lastNanos != 0) {
                metrics.betweenTokens(now - lastNanos);
            }
            lastNanos = now;
            news.add(new News(choice, token, null, null));
        }

        @Override
        public void onError(Throwable failure) {
            news.add(new News(choice, null, null, failure));
        }

        @Override
        public void onComplete() {
            var unused = generations
                    .get(choice)
                    .completion()
                    .whenComplete((end, failure) -> news.add(new News(choice, null, end, failure)));
        }
    }

    private void awaitAll(ClientWatch client) throws IOException {
        int left = generations.size();
        while (left > 0) {
            for (News end : next(client)) {
                choices.get(end.choice).endWithAll(completed(end));
                left--;
            }
        }
    }

    private void stream(ClientWatch client) throws IOException {
        EventStream events = new EventStream(exchange);
        try {
            int left = generations.size();
            if (left == 0) {
                choices.forEach(choice -> events.add(json -> writeEvent(json, choice, true)));
            }
            while (left > 0) {
                List<News> batch = next(client); // what came while the last event was written goes out together
                for (News item : batch) {
                    Choice choice = choices.get(item.choice);
                    if (item.token != null) {
                        if (choice.promptScores().isEmpty()) {
                            choice.promptScored(generations.get(item.choice).promptScores());
                        }
                        choice.add(item.token);
                    } else {
                        choice.end(completed(item));
                        left--;
                    }
                }
                boolean isLast = left == 0;
                batch.stream()
                        .mapToInt(News::choice)
                        .distinct()
                        .mapToObj(choices::get)
                        .forEach(choice -> {
                            if (choice.hasNews()) {
                                events.add(json -> writeEvent(json, choice, isLast));
                            }
                        });
                events.send();
            }
            if (request.answer().usageAtEnd()) {
                events.add(this::writeUsageEvent);
            }
        } catch (ApiException e) {
            generations.forEach(Generation::cancel);
            events.add(json -> JsonAnswers.error(json, e));
        }
        events.end(client.stop());
    }

    /** Waits for news and takes what there is; at least one. */
    private List<News> next(ClientWatch client) throws IOException {
        List<News> batch = new ArrayList<>();
        try {
            batch.add(news.take());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw ApiException.unavailable("the server is shutting down");
        }
        news.drainTo(batch);
        if (client.hasLeft()) {
            throw new EofException("the client has left");
        }
        return batch;
    }

    private Completion completed(News item) {
        if (aborted) {
            throw ApiException.unavailable("the server is shutting down; the request was not finished");
        }
        if (item.end != null) {
            return item.end;
        }
        Throwable cause =
                item.failure instanceof CompletionException e && e.getCause() != null ? e.getCause() : item.failure;
        String message = cause == null ? "unknown" : String.valueOf(cause.getMessage());
        if (cause instanceof UnusableLogitsException && message.contains("logitBias")) {
            throw SamplingFields.refusal(new IllegalArgumentException(message));
        }
        if (cause instanceof IllegalStateException) {
            throw ApiException.unavailable(message);
        }
        LOG.error("request {} failed: {}", exchange.id(), message);
        throw ApiException.internal("the generation failed: " + message);
    }

    private void writeHead(JsonGenerator json, boolean withFingerprint) throws IOException {
        json.writeStringField("id", id);
        json.writeStringField("object", request.answer().form().object(request.answer().stream()));
        json.writeNumberField("created", createdSeconds);
        json.writeStringField("model", model.name());
        if (withFingerprint) {
            json.writeStringField("system_fingerprint", model.fingerprint());
        }
    }

    private void writeAnswer(JsonGenerator json) throws IOException {
        json.writeStartObject();
        writeHead(json, true);
        json.writeArrayFieldStart("choices");
        for (Choice choice : choices) {
            choice.write(json);
        }
        json.writeEndArray();
        writeUsage(json, firstOfPrompts(), choices);
        json.writeEndObject();
    }

    private void writeEvent(JsonGenerator json, Choice choice, boolean isLast) throws IOException {
        json.writeStartObject();
        writeHead(json, isLast);
        json.writeArrayFieldStart("choices");
        choice.write(json);
        json.writeEndArray();
        if (request.answer().usageAlways()) {
            writeUsage(json, List.of(choice), List.of(choice));
        }
        json.writeEndObject();
    }

    private void writeUsageEvent(JsonGenerator json) throws IOException {
        json.writeStartObject();
        writeHead(json, true);
        json.writeArrayFieldStart("choices");
        json.writeEndArray();
        writeUsage(json, firstOfPrompts(), choices);
        json.writeEndObject();
    }

    private List<Choice> firstOfPrompts() {
        return IntStream.range(0, request.requests().size())
                .mapToObj(prompt -> choices.get(prompt * request.n()))
                .toList();
    }

    /** A prompt counts once, however many continuations it has. */
    private static void writeUsage(JsonGenerator json, List<Choice> ofPrompts, List<Choice> counted)
            throws IOException {
        long prompt = ofPrompts.stream()
                .mapToLong(choice -> choice.request().promptTokenIds().length)
                .sum();
        long completion = counted.stream().mapToLong(Choice::completionTokens).sum();
        json.writeObjectFieldStart("usage");
        json.writeNumberField("prompt_tokens", prompt);
        json.writeNumberField("completion_tokens", completion);
        json.writeNumberField("total_tokens", prompt + completion);
        if (ofPrompts.stream().allMatch(choice -> choice.completion().isPresent())) {
            json.writeObjectFieldStart("prompt_tokens_details");
            json.writeNumberField(
                    "cached_tokens",
                    ofPrompts.stream()
                            .mapToLong(
                                    choice -> choice.completion().orElseThrow().cachedPromptTokens())
                            .sum());
            json.writeEndObject();
        }
        json.writeEndObject();
    }
}
