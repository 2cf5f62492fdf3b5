package io.github.loomtorch.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A model's {@code generation_config.json}: how its author suggests to generate. Its end-of-text tokens take the place
 * of those in {@code config.json}. Its sampling values are not applied, because a request says how to sample; they are
 * there to be shown. Immutable.
 *
 * @param endOfTextIds {@code eos_token_id}, one or several as in the file; empty if absent or null
 * @param samplingValues keys that influence sampling, such as {@code temperature}, with their values as JSON text, in
 *     the order of the file; nulls are left out; unmodifiable
 */
public record GenerationConfig(List<Integer> endOfTextIds, Map<String, String> samplingValues) {
    /** The configuration of a model without the file. */
    static final GenerationConfig NONE = new GenerationConfig(List.of(), Map.of());

    private static final List<String> SAMPLING_KEYS = List.of(
            "do_sample",
            "num_beams",
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "typical_p",
            "epsilon_cutoff",
            "eta_cutoff",
            "repetition_penalty",
            "no_repeat_ngram_size",
            "length_penalty",
            "max_length",
            "max_new_tokens",
            "min_length",
            "min_new_tokens",
            "bad_words_ids",
            "suppress_tokens",
            "begin_suppress_tokens",
            "forced_bos_token_id",
            "forced_eos_token_id");

    /**
     * Reads the file.
     *
     * @throws IOException if the file cannot be read, is not a JSON object, or {@code eos_token_id} has another type
     */
    static GenerationConfig read(Path file) throws IOException {
        Json json = Json.read(file);
        Map<String, String> values = new LinkedHashMap<>();
        for (Map.Entry<String, JsonNode> field : json.node().properties()) {
            if (SAMPLING_KEYS.contains(field.getKey()) && !field.getValue().isNull()) {
                values.put(field.getKey(), field.getValue().toString());
            }
        }
        return new GenerationConfig(json.ids("eos_token_id"), Collections.unmodifiableMap(values));
    }
}
