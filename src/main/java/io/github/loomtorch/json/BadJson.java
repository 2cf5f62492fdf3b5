package io.github.loomtorch.json;

import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonProcessingException;

/**
 * What is wrong with a JSON text, without names of Jackson's settings and classes, which no user has. Immutable.
 *
 * @param place " line 2 column 5", or empty if it is not known
 * @param reason one line
 */
public record BadJson(String place, String reason) {
    /**
     * Takes it from the failure of a parser.
     *
     * @param e the failure
     * @return where and what
     */
    public static BadJson of(JsonProcessingException e) {
        JsonLocation location = e.getLocation();
        String place = location == null ? "" : " line " + location.getLineNr() + " column " + location.getColumnNr();
        return new BadJson(place, reason(String.valueOf(e.getOriginalMessage())));
    }

    private static String reason(String message) {
        if (message.startsWith("Trailing token")) {
            return "more after the first value";
        }
        return message.replaceFirst(" \\((start marker|for \\w+ starting) at .*", "")
                .replaceAll("(, from|: enable) `[^`]*`( to allow)?", "")
                .lines()
                .findFirst()
                .orElse("");
    }
}
