package io.github.loomtorch.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.stream.IntStream;

/**
 * The tokens that every encoded text gets: the {@code post_processor} of {@code tokenizer.json}. Immutable.
 *
 * @param before ids before the text's, shared
 * @param after ids after the text's, shared
 */
record PostProcessor(int[] before, int[] after) {

    static final PostProcessor NONE = new PostProcessor(new int[0], new int[0]);

    /** Whether it adds a token. */
    boolean adds() {
        return before.length + after.length > 0;
    }

    /** Reads {@code null}, an absent value, or an object with a {@code type}. */
    static PostProcessor read(JsonFile file, JsonNode node, String place) throws IOException {
        if (node.isNull() || node.isMissingNode()) {
            return NONE;
        }
        return switch (node.path("type").asText()) {
            case "ByteLevel" -> NONE; // moves offsets only
            case "TemplateProcessing" -> readTemplate(file, node, place);
            case "RobertaProcessing", "BertProcessing" ->
                new PostProcessor(pairId(file, node, place, "cls"), pairId(file, node, place, "sep"));
            case "Sequence" -> {
                JsonNode nodes = node.path("processors");
                file.require(nodes, place + ".processors", "an array", JsonNode::isArray);
                PostProcessor only = NONE;
                for (int i = 0; i < nodes.size(); i++) {
                    String stepPlace = place + ".processors[" + i + "]";
                    PostProcessor step = read(file, nodes.get(i), stepPlace);
                    if (step.adds() && only.adds()) {
                        throw file.error(stepPlace, "one processor that adds tokens", "a second one");
                    }
                    only = step.adds() ? step : only;
                }
                yield only;
            }
            default ->
                throw file.error(
                        place + ".type",
                        "\"ByteLevel\", \"TemplateProcessing\", \"RobertaProcessing\", \"BertProcessing\" or"
                                + " \"Sequence\"",
                        node.path("type"));
        };
    }

    /** Reads {@code ["<s>", 0]}. */
    private static int[] pairId(JsonFile file, JsonNode node, String place, String name) throws IOException {
        JsonNode id = node.path(name).path(1);
        file.require(id, place + "." + name + "[1]", "an id", PostProcessor::isId);
        return new int[] {id.intValue()};
    }

    private static boolean isId(JsonNode node) {
        return node.isInt() && node.intValue() >= 0 && node.intValue() < BpeModelBuilder.MAX_ID;
    }

    private static PostProcessor readTemplate(JsonFile file, JsonNode node, String place) throws IOException {
        JsonNode single = node.path("single");
        file.require(single, place + ".single", "an array", JsonNode::isArray);
        IntStream.Builder before = IntStream.builder();
        IntStream.Builder after = IntStream.builder();
        boolean text = false;
        for (int i = 0; i < single.size(); i++) {
            String piecePlace = place + ".single[" + i + "]";
            JsonNode piece = single.get(i);
            if (piece.has("SpecialToken")) {
                JsonNode name = piece.get("SpecialToken").path("id");
                JsonNode ids = node.path("special_tokens").path(name.asText()).path("ids");
                file.require(ids, place + ".special_tokens." + JsonFile.quote(name.asText()) + ".ids", "ids", value -> {
                    boolean areIds = value.isArray();
                    for (JsonNode id : value) {
                        areIds &= isId(id);
                    }
                    return areIds;
                });
                for (JsonNode id : ids) {
                    (text ? after : before).add(id.intValue());
                }
            } else if (piece.path("Sequence").path("id").asText().equals("A") && !text) {
                text = true;
            } else {
                throw file.error(piecePlace, "special tokens and one Sequence \"A\"", piece);
            }
        }
        if (!text) {
            throw file.error(place + ".single", "a Sequence \"A\"", single);
        }
        return new PostProcessor(before.build().toArray(), after.build().toArray());
    }
}
