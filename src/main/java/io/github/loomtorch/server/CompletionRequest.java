package io.github.loomtorch.server;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.loomtorch.options.RequestLimits;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * What a body asks for. {@link #read} takes one of {@code POST /v1/completions}: OpenAI's fields, and those of vLLM's
 * that this engine honours. Immutable.
 *
 * @param requests one for each prompt
 * @param n continuations of each prompt, &gt;= 1
 * @param answer what the answer holds
 */
record CompletionRequest(List<GenerationRequest> requests, int n, Answer answer) {
    private static final int DEFAULT_MAX_TOKENS = 16;
    private static final int MAX_CHARACTERS_PER_TOKEN = RequestLimits.defaults().maxPromptCharactersPerToken();

    /**
     * What the answer holds, and how.
     *
     * @param form of which endpoint
     * @param stream whether tokens are sent as they come, as events
     * @param usageAtEnd whether the stream's last event has the number of tokens
     * @param usageAlways whether each event has
     * @param echo whether the text begins with the prompt
     * @param logprobs how many of the most probable tokens to report beside each, empty for no log-probabilities; with
     *     echo, beside those of the prompt too
     * @param promptLogprobs the same for each token of the prompt, in vLLM's form
     * @param output whether the text has what was generated; not if {@code max_tokens} is 0
     * @param tokenIds whether token ids are part of it
     * @param tokensAsIds whether a token is written as {@code token_id:N} instead of its text
     */
    record Answer(
            AnswerForm form,
            boolean stream,
            boolean usageAtEnd,
            boolean usageAlways,
            boolean echo,
            OptionalInt logprobs,
            OptionalInt promptLogprobs,
            boolean output,
            boolean tokenIds,
            boolean tokensAsIds) {

        /** How the prompt's tokens are scored, if they are. */
        Optional<PromptScoring> promptScoring() {
            boolean echoed = echo && logprobs.isPresent();
            return echoed || promptLogprobs.isPresent()
                    ? Optional.of(new PromptScoring(
                            1,
                            Math.max(echoed ? logprobs.getAsInt() : 0, promptLogprobs.orElse(0)),
                            promptLogprobs.isPresent(),
                            false))
                    : Optional.empty();
        }

        /** Whether the answer is the prompt as it came. */
        boolean isPlainEcho() {
            return !output && promptScoring().isEmpty();
        }
    }

    /**
     * Reads a body.
     *
     * @throws ApiException if a field is wrong: 400 and its name, or 404 for another model
     */
    static CompletionRequest read(JsonFields fields, ServedModel model, int maxChoices) {
        checkModel(fields, model);
        SamplingFields.refuseNotHonoured(fields);
        int maxTokens = fields.integer("max_tokens", DEFAULT_MAX_TOKENS);
        return of(fields, model, prompts(fields, model), maxTokens, answer(fields, maxTokens), maxChoices);
    }

    static void checkModel(JsonFields fields, ServedModel model) {
        Optional<String> name = fields.text("model");
        if (name.isPresent() && !name.get().equals(model.name())) {
            throw ApiException.noSuchModel(name.get(), model.name());
        }
    }

    /** Reads the fields that all bodies have. */
    static CompletionRequest of(
            JsonFields fields, ServedModel model, List<int[]> prompts, int maxTokens, Answer answer, int maxChoices) {
        int n = fields.integer("n", 1);
        if (n < 1) {
            throw fields.bad("n", "be >= 1");
        }
        int bestOf = fields.integer("best_of", n);
        if (bestOf != n && bestOf != 1) { // 1 is the default of some clients
            throw fields.bad("best_of", "be 1 or n (" + n + "), as this server does not select");
        }
        if ((long) n * prompts.size() > maxChoices) {
            throw ApiException.badParameter(
                    "n", "prompts times n must be <= " + maxChoices + ", got " + (long) n * prompts.size());
        }
        try {
            SamplingParams.Builder sampling =
                    SamplingFields.read(fields, model.tokenizer()).maxNewTokens(answer.output ? maxTokens : 1);
            answer.logprobs.ifPresent(sampling::topLogprobs);
            SamplingParams unscored = sampling.build();
            answer.promptScoring().ifPresent(sampling::promptScoring);
            SamplingParams scored = answer.promptScoring().isPresent()
                    ? sampling.maxNewTokens(maxTokens).build()
                    : unscored;
            int priority = priority(fields);
            Optional<Duration> timeout = timeout(fields);
            List<GenerationRequest> requests = prompts.stream()
                    .map(
                            prompt -> // nothing comes before a prompt's first token that could predict it
                            new GenerationRequest(prompt, prompt.length > 1 ? scored : unscored, priority, timeout))
                    .toList();
            return new CompletionRequest(requests, n, answer);
        } catch (IllegalArgumentException e) {
            throw SamplingFields.refusal(e);
        }
    }

    private static Answer answer(JsonFields fields, int maxTokens) {
        boolean echo = fields.flag("echo", false);
        JsonFields streamOptions = streamOptions(fields);
        return new Answer(
                AnswerForm.TEXT,
                fields.flag("stream", false),
                streamOptions.flag("include_usage", false),
                streamOptions.flag("continuous_usage_stats", false),
                echo,
                top(fields, "logprobs"),
                top(fields, "prompt_logprobs"),
                !(echo && maxTokens == 0),
                fields.flag("return_token_ids", false),
                fields.flag("return_tokens_as_token_ids", false));
    }

    static JsonFields streamOptions(JsonFields fields) {
        if (fields.has("stream_options") && !fields.flag("stream", false)) {
            throw fields.bad("stream_options", "be absent without stream");
        }
        return fields.object("stream_options");
    }

    static OptionalInt top(JsonFields fields, String name) {
        OptionalInt top = fields.integer(name);
        if (top.isPresent() && (top.getAsInt() < 0 || top.getAsInt() > SamplingParams.MAX_TOP_LOGPROBS)) {
            throw fields.bad(name, "be in [0, " + SamplingParams.MAX_TOP_LOGPROBS + "]");
        }
        return top;
    }

    /** Text, texts, ids or lists of ids. */
    private static List<int[]> prompts(JsonFields fields, ServedModel model) {
        JsonNode prompt = fields.get("prompt");
        List<int[]> prompts = new ArrayList<>();
        if (!fields.has("prompt") || prompt.isTextual()) {
            prompts.add(encode(fields, prompt.asText(""), model));
        } else if (!prompt.isArray() || prompt.isEmpty()) {
            throw fields.bad("prompt", "be a string, a list of strings, a list of token ids or a list of such lists");
        } else if (prompt.get(0).isNumber()) {
            prompts.add(ids(fields, prompt, model));
        } else {
            for (JsonNode one : prompt) {
                prompts.add(one.isTextual() ? encode(fields, one.asText(), model) : ids(fields, one, model));
            }
        }
        if (!fields.has("truncate_prompt_tokens")) {
            return prompts;
        }
        return prompts.stream().map(ids -> truncate(fields, ids)).toList();
    }

    /** Special tokens in the text are tokens; an empty text is the beginning of a document, as the model saw it. */
    static int[] encode(JsonFields fields, String text, ServedModel model) {
        Tokenizer tokenizer = model.tokenizer();
        long maxCharacters = (long) MAX_CHARACTERS_PER_TOKEN * model.contextLength();
        if (text.length() > maxCharacters) {
            throw ApiException.badParameter(
                    "prompt", "prompt must have at most " + maxCharacters + " characters, got " + text.length());
        }
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

    private static int[] ids(JsonFields fields, JsonNode list, ServedModel model) {
        int[] ids = fields.ids("prompt", list);
        for (int id : ids) {
            if (id < 0 || id >= model.vocabSize()) {
                throw ApiException.badParameter("prompt", "hold token ids in [0, " + model.vocabSize() + ")", id);
            }
        }
        return ids;
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
