package io.github.loomtorch.server;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * The body of {@code POST /v1/completions}: OpenAI's fields, and those of vLLM's that this engine honours. Immutable.
 *
 * @param requests one for each prompt
 * @param n continuations of each prompt, &gt;= 1
 * @param onlyEcho whether nothing is generated, as {@code max_tokens} is 0
 * @param answer what the answer holds
 */
record CompletionRequest(List<GenerationRequest> requests, int n, boolean onlyEcho, Answer answer) {
    private static final int DEFAULT_MAX_TOKENS = 16;

    /**
     * What the answer holds, and how.
     *
     * @param stream whether tokens are sent as they come, as events
     * @param usageAtEnd whether the stream's last event has the number of tokens
     * @param usageAlways whether each event has
     * @param echo whether the text begins with the prompt
     * @param logprobs how many of the most probable tokens to report beside each, empty for no log-probabilities
     * @param tokenIds whether token ids are part of it
     * @param tokensAsIds whether a token is written as {@code token_id:N} instead of its text
     */
    record Answer(
            boolean stream,
            boolean usageAtEnd,
            boolean usageAlways,
            boolean echo,
            OptionalInt logprobs,
            boolean tokenIds,
            boolean tokensAsIds) {}

    /**
     * Reads a body.
     *
     * @throws ApiException if a field is wrong: 400 and its name, or 404 for another model
     */
    static CompletionRequest read(JsonFields fields, ServedModel model, int maxChoices) {
        Optional<String> name = fields.text("model");
        if (name.isPresent() && !name.get().equals(model.name())) {
            throw ApiException.noSuchModel(name.get(), model.name());
        }
        SamplingFields.refuseNotHonoured(fields);
        Answer answer = answer(fields);
        List<int[]> prompts = prompts(fields, model.tokenizer());
        int n = fields.integer("n", 1);
        if (n < 1) {
            throw fields.bad("n", "be >= 1");
        }
        if ((long) n * prompts.size() > maxChoices) {
            throw ApiException.badParameter(
                    "n", "prompts times n must be <= " + maxChoices + ", got " + (long) n * prompts.size());
        }
        int maxTokens = fields.integer("max_tokens", DEFAULT_MAX_TOKENS);
        boolean onlyEcho = answer.echo && maxTokens == 0;
        if (onlyEcho && answer.logprobs.isPresent()) {
            throw fields.bad("max_tokens", "be >= 1 with logprobs");
        }
        try {
            SamplingParams.Builder sampling = SamplingFields.read(fields).maxNewTokens(onlyEcho ? 1 : maxTokens);
            answer.logprobs.ifPresent(sampling::topLogprobs);
            SamplingParams params = sampling.build();
            int priority = priority(fields);
            Optional<Duration> timeout = timeout(fields);
            List<GenerationRequest> requests = prompts.stream()
                    .map(prompt -> new GenerationRequest(prompt, params, priority, timeout))
                    .toList();
            return new CompletionRequest(requests, n, onlyEcho, answer);
        } catch (IllegalArgumentException e) {
            throw SamplingFields.refusal(e);
        }
    }

    private static Answer answer(JsonFields fields) {
        boolean stream = fields.flag("stream", false);
        if (fields.has("stream_options") && !stream) {
            throw fields.bad("stream_options", "be absent without stream");
        }
        JsonFields streamOptions = fields.object("stream_options");
        OptionalInt logprobs = fields.integer("logprobs");
        if (logprobs.isPresent()
                && (logprobs.getAsInt() < 0 || logprobs.getAsInt() > SamplingParams.MAX_TOP_LOGPROBS)) {
            throw fields.bad("logprobs", "be in [0, " + SamplingParams.MAX_TOP_LOGPROBS + "]");
        }
        boolean echo = fields.flag("echo", false);
        if (echo && logprobs.isPresent()) {
            throw fields.bad("echo", "be false with logprobs, as this server does not score prompts");
        }
        if (fields.has("prompt_logprobs")) {
            throw fields.bad("prompt_logprobs", "be absent, as this server does not score prompts");
        }
        return new Answer(
                stream,
                streamOptions.flag("include_usage", false),
                streamOptions.flag("continuous_usage_stats", false),
                echo,
                logprobs,
                fields.flag("return_token_ids", false),
                fields.flag("return_tokens_as_token_ids", false));
    }

    /** Text, texts, ids or lists of ids. */
    private static List<int[]> prompts(JsonFields fields, Tokenizer tokenizer) {
        JsonNode prompt = fields.get("prompt");
        List<int[]> prompts = new ArrayList<>();
        if (!fields.has("prompt") || prompt.isTextual()) {
            prompts.add(encode(fields, prompt.asText(""), tokenizer));
        } else if (!prompt.isArray() || prompt.isEmpty()) {
            throw fields.bad("prompt", "be a string, a list of strings, a list of token ids or a list of such lists");
        } else if (prompt.get(0).isNumber()) {
            prompts.add(fields.ids("prompt", prompt));
        } else {
            for (JsonNode one : prompt) {
                prompts.add(one.isTextual() ? encode(fields, one.asText(), tokenizer) : fields.ids("prompt", one));
            }
        }
        if (!fields.has("truncate_prompt_tokens")) {
            return prompts;
        }
        return prompts.stream().map(ids -> truncate(fields, ids)).toList();
    }

    /** Special tokens in the text are tokens; an empty text is the beginning of a document, as the model saw it. */
    static int[] encode(JsonFields fields, String text, Tokenizer tokenizer) {
        boolean addsTokens = tokenizer.encode("").length > 0;
        if (addsTokens && !fields.flag("add_special_tokens", true)) {
            throw fields.bad("add_special_tokens", "be true, as this tokenizer always adds tokens");
        }
        try {
            int[] ids = tokenizer.encodeWithSpecialTokens(text);
            if (ids.length > 0) {
                return ids;
            }
        } catch (IllegalArgumentException e) {
            throw ApiException.badParameter("prompt", "prompt cannot be tokenized: " + e.getMessage());
        }
        if (tokenizer.endOfTextId() < 0) {
            throw fields.bad("prompt", "not be empty");
        }
        return new int[] {tokenizer.endOfTextId()};
    }

    private static int[] truncate(JsonFields fields, int[] ids) {
        int most = fields.integer("truncate_prompt_tokens", 0);
        if (most < 1) {
            throw fields.bad("truncate_prompt_tokens", "be >= 1");
        }
        boolean keepEnd = switch (fields.text("truncation_side").orElse("left")) {
            case "left" -> true;
            case "right" -> false;
            default -> throw fields.bad("truncation_side", "be \"left\" or \"right\"");
        };
        return ids.length <= most
                ? ids
                : keepEnd ? Arrays.copyOfRange(ids, ids.length - most, ids.length) : Arrays.copyOf(ids, most);
    }

    /** vLLM's direction: the lower runs first. */
    private static int priority(JsonFields fields) {
        int priority = fields.integer("priority", 0);
        return priority == Integer.MIN_VALUE ? Integer.MAX_VALUE : -priority;
    }

    private static Optional<Duration> timeout(JsonFields fields) {
        if (!fields.has("timeout_seconds")) {
            return Optional.empty();
        }
        double seconds = fields.number("timeout_seconds", 0);
        if (!(seconds > 0 && seconds <= 1e6)) {
            throw fields.bad("timeout_seconds", "be in (0, 1e6]");
        }
        return Optional.of(Duration.ofNanos(Math.max(1, (long) (seconds * 1e9))));
    }
}
