package io.github.loomtorch.tokenizer;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.IntFunction;

/** Reads {@code tokenizer.json}, the format of Hugging Face {@code tokenizers}. */
final class TokenizerJson {
    /*
     * The vocabulary and the merges are read from the stream, everything else as small trees. Merges that come before the
     * vocabulary are read in a second pass. Not read: `truncation` and `padding`, which prepare batches for training, and
     * `decoder`, because the tokens of a ByteLevel pre-tokenizer have one way back to text.
     */

    private final JsonFile file;
    private final List<AddedToken> addedTokens = new ArrayList<>();
    private JsonNode normalizer = MissingNode.getInstance();
    private JsonNode preTokenizer = MissingNode.getInstance();
    private JsonNode postProcessor = MissingNode.getInstance();
    private BpeModelBuilder model;
    private boolean hasModel;
    private boolean hasVocabulary;
    private boolean hasMerges;
    private boolean mergesComeFirst;
    private JsonNode unknownToken = MissingNode.getInstance();
    private boolean fusesUnknown;

    private TokenizerJson(JsonFile file) {
        this.file = file;
        model = new BpeModelBuilder(file);
    }

    /** Reads a file and the tokens that {@code config} adds to it. */
    static BpeTokenizer read(JsonFile file, TokenizerConfig config) throws IOException {
        TokenizerJson tokenizer = new TokenizerJson(file);
        file.parse(tokenizer::readRoot);
        return tokenizer.build(config);
    }

    private BpeTokenizer build(TokenizerConfig config) throws IOException {
        if (!hasModel) {
            throw file.error("model", "an object", "none");
        }
        if (!hasVocabulary || !hasMerges) {
            throw hasVocabulary
                    ? file.error("model.merges", "an array of merges", "none")
                    : file.error("model.vocab", "an object of tokens and ids", "none");
        }
        if (mergesComeFirst) {
            file.parse(this::readMergesOfRoot);
        }
        model.unknownToken(unknownToken.asText(""), fusesUnknown);
        config.warnOfIgnored();
        PreTokenizer splitter = PreTokenizer.read(file, preTokenizer, "pre_tokenizer");
        if (config.overridesPrefixSpace()) {
            splitter = PreTokenizer.gpt2(config.addsPrefixSpace());
        }
        file.require(
                normalizer,
                "normalizer",
                "at most " + Normalizer.MAX_COUNT + " normalizers",
                node -> node.findValues("type").size() <= Normalizer.MAX_COUNT);
        Normalizer normal = Normalizer.read(file, normalizer, "normalizer");
        PostProcessor template = PostProcessor.read(file, postProcessor, "post_processor");
        Map<String, AddedToken> added = config.resolve(file, addedTokens, model.vocabulary(), false);
        BpeModel built = model.build(added.values(), normal, file + " model.merges");
        for (int[] ids : List.of(template.before(), template.after())) {
            for (int id : ids) {
                if (id >= built.tokens().length) {
                    throw file.error("post_processor", "ids in [0, " + built.tokens().length + ")", "" + id);
                }
            }
        }
        return new BpeTokenizer(built, added.values(), normal, splitter, template, config.endOfTextId(added));
    }

    private void readRoot(JsonParser json) throws IOException {
        file.expect(json, JsonToken.START_OBJECT, "", "an object");
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            String field = json.currentName();
            json.nextToken();
            switch (field) {
                case "added_tokens" -> readAddedTokens(json);
                case "normalizer" -> normalizer = file.tree(json);
                case "pre_tokenizer" -> preTokenizer = file.tree(json);
                case "post_processor" -> postProcessor = file.tree(json);
                case "decoder" -> requireByteLevel(file.tree(json));
                case "model" -> readModel(json);
                default -> json.skipChildren();
            }
        }
    }

    /** Without a decoder text is decoded as by the one that belongs to the pre-tokenizer. */
    private void requireByteLevel(JsonNode decoder) throws IOException {
        JsonNode only = decoder;
        while (only.path("type").asText().equals("Sequence")
                && only.path("decoders").size() == 1) {
            only = only.path("decoders").get(0);
        }
        if (!decoder.isNull()) {
            file.require(
                    only.path("type"),
                    "decoder.type",
                    "\"ByteLevel\"",
                    type -> type.asText().equals("ByteLevel"));
        }
    }

    private void readAddedTokens(JsonParser json) throws IOException {
        addedTokens.clear();
        if (json.currentToken() == JsonToken.VALUE_NULL) {
            return;
        }
        file.expect(json, JsonToken.START_ARRAY, "added_tokens", "an array");
        for (int i = 0; json.nextToken() != JsonToken.END_ARRAY; i++) {
            String place = "added_tokens[" + i + "]";
            if (i == BpeModelBuilder.MAX_TOKENS) {
                throw file.error("added_tokens", "at most " + i + " tokens", "more");
            }
            JsonNode token = file.tree(json);
            file.require(token.path("id"), place + ".id", "an integer id", JsonNode::isInt);
            addedTokens.add(AddedToken.read(file, token, place, token.get("id").intValue(), false));
        }
    }

    private void readModel(JsonParser json) throws IOException {
        file.expect(json, JsonToken.START_OBJECT, "model", "an object");
        model = new BpeModelBuilder(file);
        hasModel = true;
        hasVocabulary = false;
        hasMerges = false;
        mergesComeFirst = false;
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            String field = json.currentName();
            String place = "model." + field;
            json.nextToken();
            switch (field) {
                case "vocab" -> {
                    mergesComeFirst = hasMerges;
                    model.readVocabulary(json, place);
                    hasVocabulary = true;
                }
                case "merges" -> {
                    if (hasVocabulary) {
                        readMerges(json, place);
                    } else {
                        json.skipChildren();
                        mergesComeFirst = true;
                    }
                    hasMerges = true;
                }
                default -> readSetting(file.tree(json), field, place);
            }
        }
    }

    private void readSetting(JsonNode value, String field, String place) throws IOException {
        switch (field) {
            case "type" ->
                file.require(value, place, "\"BPE\"", type -> type.asText().equals("BPE"));
            case "dropout" ->
                file.require(value, place, "null", rate -> rate.isNull() || rate.isNumber() && rate.asDouble() == 0);
            case "continuing_subword_prefix", "end_of_word_suffix" ->
                file.require(
                        value,
                        place,
                        "null",
                        text -> text.isNull()
                                || text.isTextual() && text.asText().isEmpty());
            case "unk_token" -> {
                file.require(value, place, "some text or null", text -> text.isTextual() || text.isNull());
                unknownToken = value.isNull() ? MissingNode.getInstance() : value;
            }
            case "fuse_unk" -> fusesUnknown = flag(value, place);
            case "byte_fallback" -> model.fallsBackToBytes(flag(value, place));
            case "ignore_merges" -> model.ignoresMerges(flag(value, place));
            default -> {
                // as Hugging Face does, which knows no other setting of BPE
            }
        }
    }

    private boolean flag(JsonNode value, String place) throws IOException {
        file.require(value, place, "true, false or null", node -> node.isBoolean() || node.isNull());
        return value.asBoolean();
    }

    /** The second pass: reads nothing but the merges. */
    private void readMergesOfRoot(JsonParser json) throws IOException {
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            boolean isModel = json.currentName().equals("model");
            json.nextToken();
            if (!isModel) {
                json.skipChildren();
                continue;
            }
            while (json.nextToken() == JsonToken.FIELD_NAME) {
                boolean isMerges = json.currentName().equals("merges");
                json.nextToken();
                if (isMerges) {
                    readMerges(json, "model.merges");
                } else {
                    json.skipChildren();
                }
            }
        }
    }

    /** Reads an array whose elements are {@code "a b"} or {@code ["a", "b"]}. */
    private void readMerges(JsonParser json, String place) throws IOException {
        file.expect(json, JsonToken.START_ARRAY, place, "an array of merges");
        model.clearMerges();
        IntFunction<String> places = i -> file + " " + place + "[" + i + "]";
        for (int i = 0; json.nextToken() != JsonToken.END_ARRAY; i++) {
            if (json.currentToken() == JsonToken.START_ARRAY) {
                String left = symbol(json, places, i);
                String right = symbol(json, places, i);
                if (json.nextToken() != JsonToken.END_ARRAY) {
                    throw new IOException(places.apply(i) + ": expected two symbols, got more");
                }
                model.addMerge(left, right, places, i);
            } else {
                file.expect(json, JsonToken.VALUE_STRING, place + "[" + i + "]", "two symbols");
                String line = json.getText();
                if (!line.startsWith("#version")) {
                    model.addMerge(line, places, i);
                }
            }
        }
    }

    private static String symbol(JsonParser json, IntFunction<String> places, int i) throws IOException {
        if (json.nextToken() != JsonToken.VALUE_STRING) {
            throw new IOException(places.apply(i) + ": expected two symbols, got " + JsonFile.got(json));
        }
        return json.getText();
    }
}
