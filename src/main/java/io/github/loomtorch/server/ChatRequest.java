package io.github.loomtorch.server;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.IntStream;

/** Reads a body of {@code POST /v1/chat/completions}. */
final class ChatRequest {
    private static final Set<String> ROLES = Set.of("system", "developer", "user", "assistant");

    /** What a field of chats that is known but not honoured may hold. */
    static final Map<String, List<String>> NOT_HONOURED = Map.ofEntries(
            Map.entry("tools", List.of("[]")),
            Map.entry("functions", List.of("[]")),
            Map.entry("modalities", List.of("[\"text\"]")),
            Map.entry("audio", List.of()),
            Map.entry("prediction", List.of()),
            Map.entry("chat_template", List.of()),
            Map.entry("documents", List.of("[]")),
            Map.entry("continue_final_message", List.of("false")),
            Map.entry("echo", List.of("false")),
            Map.entry("prompt_logprobs", List.of()));

    private ChatRequest() {}

    /**
     * Reads a body.
     *
     * @throws ApiException if a field is wrong or the model has no chat template: 400; 404 for another model
     */
    static CompletionRequest read(JsonFields fields, ServedModel model, int maxChoices) {
        CompletionRequest.checkModel(fields, model);
        if (!model.joinsTurns()) {
            throw ApiException.badRequest("model " + model.name() + " has no chat template; use /v1/completions");
        }
        SamplingFields.refuseNotHonoured(fields);
        SamplingFields.refuseNotHonoured(fields, NOT_HONOURED);
        int[] prompt = prompt(fields, model.tokenizer());
        int room = model.contextLength() - prompt.length;
        int maxTokens = fields.integer("max_completion_tokens", fields.integer("max_tokens", room));
        if (room < 1) {
            throw ApiException.badParameter(
                    "messages", "have fewer than max_model_len (" + model.contextLength() + ") tokens", prompt.length);
        }
        JsonFields streamOptions = CompletionRequest.streamOptions(fields);
        CompletionRequest.Answer answer = new CompletionRequest.Answer(
                AnswerForm.CHAT,
                fields.flag("stream", false),
                streamOptions.flag("include_usage", false),
                streamOptions.flag("continuous_usage_stats", false),
                false,
                logprobs(fields),
                OptionalInt.empty(),
                true,
                fields.flag("return_token_ids", false),
                fields.flag("return_tokens_as_token_ids", false));
        return CompletionRequest.of(fields, model, List.of(prompt), maxTokens, answer, maxChoices);
    }

    private static OptionalInt logprobs(JsonFields fields) {
        OptionalInt top = CompletionRequest.top(fields, "top_logprobs");
        boolean wanted = fields.flag("logprobs", false);
        if (top.isPresent() && !wanted) {
            throw fields.bad("top_logprobs", "be absent without logprobs");
        }
        return wanted ? OptionalInt.of(top.orElse(0)) : OptionalInt.empty();
    }

    /** The messages, each followed by end-of-text, which no text of a message can forge. */
    private static int[] prompt(JsonFields fields, Tokenizer tokenizer) {
        JsonNode messages = fields.get("messages");
        if (!messages.isArray() || messages.isEmpty()) {
            throw fields.bad("messages", "be a list of at least one message");
        }
        IntStream ids = IntStream.empty();
        for (int i = 0; i < messages.size(); i++) {
            JsonFields message = new JsonFields(messages.get(i), "messages[" + i + "].");
            if (!message.object().isObject()) {
                throw fields.bad("messages", "hold objects only");
            }
            String role = message.text("role").orElse("");
            if (!ROLES.contains(role)) {
                throw message.bad("role", "be system, developer, user or assistant");
            }
            int[] turn = tokenizer.encode(content(message));
            ids = IntStream.concat(ids, IntStream.concat(IntStream.of(turn), IntStream.of(tokenizer.endOfTextId())));
        }
        return ids.toArray();
    }

    /** A text, or a list of texts. */
    private static String content(JsonFields message) {
        JsonNode content = message.get("content");
        if (content.isTextual()) {
            return content.textValue();
        }
        StringBuilder text = new StringBuilder();
        for (JsonNode one : content) {
            if (!"text".equals(one.path("type").textValue())
                    || !one.path("text").isTextual()) {
                throw message.bad("content", "be a string or a list of texts");
            }
            text.append(one.path("text").textValue());
        }
        if (!content.isArray()) {
            throw message.bad("content", "be a string or a list of texts");
        }
        return text.toString();
    }
}
