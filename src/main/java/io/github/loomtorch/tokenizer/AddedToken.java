package io.github.loomtorch.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;

/**
 * A token that is found in text by its content before anything is merged.
 *
 * @param id in {@code [0, BpeModelBuilder.MAX_ID)}, or {@link #NO_ID} until one is assigned
 * @param content not empty
 * @param special whether it is a control token: found only where special tokens are honoured
 * @param lstrip whether it takes the white space before it
 * @param rstrip whether it takes the white space after it
 * @param singleWord whether it is found only where no word character is next to it
 * @param normalized whether its normalized content is looked for in the normalized text
 */
record AddedToken(
        int id,
        String content,
        boolean special,
        boolean lstrip,
        boolean rstrip,
        boolean singleWord,
        boolean normalized) {

    static final int NO_ID = -1;

    /** Longest content, in {@code char}s. */
    static final int MAX_LENGTH = 512;

    /** A token with no flag but {@code special}, as Hugging Face makes one of a string. */
    static AddedToken of(int id, String content, boolean special) {
        return new AddedToken(id, content, special, false, false, false, !special);
    }

    /**
     * Reads an object with {@code content} and flags.
     *
     * @param special the value of {@code special} if it is absent
     */
    static AddedToken read(JsonFile file, JsonNode node, String place, int id, boolean special) throws IOException {
        JsonNode content = node.path("content");
        file.require(content, place + ".content", "some text", JsonNode::isTextual);
        file.require(content, place + ".content", "at most " + MAX_LENGTH + " characters", AddedToken::isShort);
        boolean isSpecial = flag(file, node, place, "special", special);
        return new AddedToken(
                id,
                content.textValue(),
                isSpecial,
                flag(file, node, place, "lstrip", false),
                flag(file, node, place, "rstrip", false),
                flag(file, node, place, "single_word", false),
                flag(file, node, place, "normalized", !isSpecial));
    }

    static boolean isShort(JsonNode content) {
        return content.textValue().length() <= MAX_LENGTH;
    }

    private static boolean flag(JsonFile file, JsonNode node, String place, String name, boolean absent)
            throws IOException {
        JsonNode flag = node.path(name);
        file.require(flag, place + "." + name, "true or false", value -> value.isMissingNode() || value.isBoolean());
        return flag.asBoolean(absent);
    }

    AddedToken withId(int newId) {
        return new AddedToken(newId, content, special, lstrip, rstrip, singleWord, normalized);
    }

    AddedToken asSpecial() {
        return new AddedToken(id, content, true, lstrip, rstrip, singleWord, normalized);
    }
}
