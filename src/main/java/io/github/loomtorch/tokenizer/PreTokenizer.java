package io.github.loomtorch.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * Splits text into pieces that are merged on their own: the {@code pre_tokenizer} of {@code tokenizer.json}. Immutable.
 *
 * @param splitsFirst whether text is split by GPT-2's pattern before spaces are added
 * @param addsPrefixSpace whether a space is put before text, or after a first split before each piece, that starts
 *     without one
 * @param splits whether text is split by GPT-2's pattern after that
 */
record PreTokenizer(boolean splitsFirst, boolean addsPrefixSpace, boolean splits) {

    /** GPT-2's own: its pattern, and no space added. */
    static final PreTokenizer GPT2 = new PreTokenizer(false, false, true);

    /** How GPT-2's pattern is written; all of these split alike. */
    private static final Set<String> PATTERNS = Set.of(
            "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
            "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
            "'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$|\\s+(?!\\S)|\\s");

    /** Reads a {@code ByteLevel}, with any number of {@code Split}s by GPT-2's pattern before it. */
    static PreTokenizer read(JsonFile file, JsonNode node, String place) throws IOException {
        List<JsonNode> steps = new ArrayList<>();
        List<String> places = new ArrayList<>();
        collect(file, node, place, steps, places);
        boolean splitsFirst = false;
        for (int i = 0; i < steps.size(); i++) {
            JsonNode step = steps.get(i);
            String type = step.path("type").asText();
            if (type.equals("ByteLevel") && i == steps.size() - 1) {
                boolean prefix = flag(file, step, places.get(i), "add_prefix_space");
                boolean splits = !step.has("use_regex") || flag(file, step, places.get(i), "use_regex");
                // a piece of GPT-2's pattern is one piece if it is split again
                return prefix
                        ? new PreTokenizer(splitsFirst, true, splits)
                        : new PreTokenizer(false, false, splits || splitsFirst);
            }
            if (!type.equals("Split")) {
                String expected = type.equals("ByteLevel") ? "\"ByteLevel\" last" : "\"ByteLevel\" or \"Split\"";
                throw file.error(places.get(i) + ".type", expected, step.path("type"));
            }
            requireGpt2Split(file, step, places.get(i));
            splitsFirst = true;
        }
        throw file.error(place, "a \"ByteLevel\" at its end", node);
    }

    private static void collect(JsonFile file, JsonNode node, String place, List<JsonNode> steps, List<String> places)
            throws IOException {
        if (!node.path("type").asText().equals("Sequence")) {
            steps.add(node);
            places.add(place);
            return;
        }
        JsonNode nodes = node.path("pretokenizers");
        file.require(nodes, place + ".pretokenizers", "an array", JsonNode::isArray);
        for (int i = 0; i < nodes.size(); i++) {
            collect(file, nodes.get(i), place + ".pretokenizers[" + i + "]", steps, places);
        }
    }

    private static boolean flag(JsonFile file, JsonNode node, String place, String name) throws IOException {
        file.require(node.path(name), place + "." + name, "true or false", JsonNode::isBoolean);
        return node.path(name).booleanValue();
    }

    private static void requireGpt2Split(JsonFile file, JsonNode split, String place) throws IOException {
        file.require(
                split.path("pattern"),
                place + ".pattern",
                "GPT-2's pattern as a \"Regex\"",
                pattern -> PATTERNS.contains(pattern.path("Regex").asText()));
        boolean inverted = flag(file, split, place, "invert");
        file.require(
                split.path("behavior"),
                place + ".behavior",
                inverted ? "\"Isolated\" or \"Removed\"" : "\"Isolated\"",
                behavior -> behavior.asText().equals("Isolated")
                        || inverted && behavior.asText().equals("Removed"));
    }

    /** GPT-2's pattern, with a space before the text or not. */
    static PreTokenizer gpt2(boolean prefixSpace) {
        return new PreTokenizer(false, prefixSpace, true);
    }

    /** Encodes well-formed UTF-8, not empty. */
    void encode(byte[] utf8, BpeEncoder encoder) {
        if (!splitsFirst) {
            encodePart(utf8, encoder);
            return;
        }
        for (int start = 0; start < utf8.length; ) {
            int end = Gpt2Pattern.pieceEnd(utf8, start);
            byte[] piece = new byte[end - start];
            System.arraycopy(utf8, start, piece, 0, piece.length);
            encodePart(piece, encoder);
            start = end;
        }
    }

    private void encodePart(byte[] part, BpeEncoder encoder) {
        byte[] utf8 = part;
        if (addsPrefixSpace && part[0] != ' ') {
            utf8 = new byte[part.length + 1];
            utf8[0] = ' ';
            System.arraycopy(part, 0, utf8, 1, part.length);
        }
        if (splits) {
            encoder.encode(utf8);
        } else {
            encoder.encodePiece(utf8, 0, utf8.length);
        }
    }
}
