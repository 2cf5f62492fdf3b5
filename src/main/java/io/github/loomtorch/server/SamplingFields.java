package io.github.loomtorch.server;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Reads the fields that say how tokens are chosen. */
final class SamplingFields {
    /** What a field that is known but not honoured may hold. */
    static final Map<String, List<String>> NOT_HONOURED = Map.ofEntries(
            Map.entry("suffix", List.of("\"\"")),
            Map.entry("use_beam_search", List.of("false")),
            Map.entry("length_penalty", List.of("1", "1.0")),
            Map.entry("watermarking", List.of("false")),
            Map.entry("skip_special_tokens", List.of("true")),
            Map.entry("spaces_between_special_tokens", List.of("true")),
            Map.entry("logprob_token_ids", List.of("[]")),
            Map.entry("prompt_embeds", List.of()),
            Map.entry("response_format", List.of("{\"type\":\"text\"}")),
            Map.entry("structured_outputs", List.of()),
            Map.entry("guided_json", List.of()),
            Map.entry("guided_regex", List.of()),
            Map.entry("guided_choice", List.of()),
            Map.entry("guided_grammar", List.of()),
            Map.entry("return_token_offsets", List.of("false")),
            Map.entry("cache_salt", List.of("\"\"")),
            Map.entry("kv_transfer_params", List.of()),
            Map.entry("vllm_xargs", List.of()),
            Map.entry("repetition_detection", List.of()),
            Map.entry("stream_interval", List.of("1")));

    /** Names of the library's parameters that are not the JSON name in camel case. */
    private static final Map<String, String> JSON_NAMES = Map.of(
            "maxNewTokens", "max_tokens",
            "stopStrings", "stop",
            "promptTokenIds", "prompt",
            "minNewTokens", "min_tokens",
            "badWordIds", "bad_words",
            "topLogprobs", "logprobs",
            "contextLength", "max_model_len");

    private static final Pattern NAME = Pattern.compile("^[a-z]+(?=[ \\[])|\\b[a-z]+\\d*[A-Z]\\w*");

    private SamplingFields() {}

    /** Refuses a field that is known, not honoured, and not at its default. */
    static void refuseNotHonoured(JsonFields fields) {
        refuseNotHonoured(fields, NOT_HONOURED);
    }

    /** Refuses a field that is not at one of the defaults given for its name. */
    static void refuseNotHonoured(JsonFields fields, Map<String, List<String>> notHonoured) {
        notHonoured.forEach((name, defaults) -> {
            if (fields.has(name) && !defaults.contains(fields.get(name).toString())) {
                throw fields.bad(
                        name,
                        "be absent" + (defaults.isEmpty() ? "" : " or " + defaults.get(0))
                                + ", as this server does not honour it");
            }
        });
    }

    /** Reads all but the number of tokens. */
    static SamplingParams.Builder read(JsonFields fields, Tokenizer tokenizer) {
        SamplingParams.Builder sampling = SamplingParams.builder()
                .temperature(fields.number("temperature", 1))
                .topP(fields.number("top_p", 1))
                .topK(topK(fields))
                .minP(fields.number("min_p", 0))
                .repetitionPenalty(fields.number("repetition_penalty", 1))
                .presencePenalty(fields.number("presence_penalty", 0))
                .frequencyPenalty(fields.number("frequency_penalty", 0))
                .logitBias(logitBias(fields))
                .allowedTokenIds(Set.copyOf(fields.integers("allowed_token_ids")))
                .badWordIds(badWords(fields, tokenizer))
                .stopStrings(fields.texts("stop"))
                .stopTokenIds(Set.copyOf(fields.integers("stop_token_ids")))
                .includeStop(fields.flag("include_stop_str_in_output", false))
                .ignoreEos(fields.flag("ignore_eos", false))
                .minNewTokens(fields.integer("min_tokens", 0));
        fields.integer64("seed").ifPresent(sampling::seed);
        return sampling;
    }

    /** vLLM's clients send -1 for all. */
    private static int topK(JsonFields fields) {
        int topK = fields.integer("top_k", 0);
        if (topK < -1) {
            throw fields.bad("top_k", "be >= -1");
        }
        return Math.max(topK, 0);
    }

    private static Map<Integer, Float> logitBias(JsonFields fields) {
        Map<Integer, Float> bias = new HashMap<>();
        JsonFields entries = fields.object("logit_bias");
        for (Map.Entry<String, JsonNode> entry : entries.object().properties()) {
            float value = entries.number(entry.getKey(), entry.getValue());
            if (value < -100 || value > 100) {
                throw entries.bad(entry.getKey(), "be in [-100, 100]");
            }
            try {
                bias.put(Integer.valueOf(entry.getKey()), value);
            } catch (NumberFormatException e) {
                throw ApiException.badParameter("logit_bias", "have token ids as names", "\"" + entry.getKey() + "\"");
            }
        }
        return bias;
    }

    /** The ids of each word as it begins a text, and as it follows a space if that is one other token in its place. */
    private static List<List<Integer>> badWords(JsonFields fields, Tokenizer tokenizer) {
        List<List<Integer>> words = new ArrayList<>();
        for (String word : fields.texts("bad_words")) {
            int[] first = tokenizer.encode(word.stripLeading());
            if (first.length == 0) {
                throw fields.bad("bad_words", "hold words of at least one token");
            }
            words.add(Arrays.stream(first).boxed().toList());
            int[] later = tokenizer.encode(" " + word.stripLeading());
            if (later.length == first.length && later[0] != first[0]) {
                words.add(Arrays.stream(later).boxed().toList());
            }
        }
        return words;
    }

    /** Says in the names of the JSON fields what the library says in those of its parameters. */
    static ApiException refusal(IllegalArgumentException refused) {
        String message = String.valueOf(refused.getMessage());
        int got = message.indexOf(", got ");
        String rule = got < 0 ? message : message.substring(0, got);
        if (rule.startsWith("logits ")) { // of several fields together
            return ApiException.badRequest(NAME.matcher(message).replaceAll(name -> jsonName(name.group())));
        }
        Matcher names = NAME.matcher(rule);
        Set<String> found = new HashSet<>();
        String first = "prompt";
        if (names.find()) {
            first = jsonName(names.group());
            found.add(first);
        }
        String renamed = NAME.matcher(rule).replaceAll(name -> jsonName(name.group()));
        return ApiException.badParameter(
                found.isEmpty() ? "prompt" : first, got < 0 ? renamed : renamed + message.substring(got));
    }

    private static String jsonName(String parameter) {
        String snakeCase = parameter.replaceAll("(?=[A-Z])", "_").toLowerCase(Locale.ROOT);
        return JSON_NAMES.getOrDefault(parameter, snakeCase);
    }
}
