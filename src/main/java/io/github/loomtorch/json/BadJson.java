package io.github.loomtorch.json;

import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonProcessingException;

/**
 * What is wrong with a JSON text, without names of Jackson's settings and classes, which no user has. Immutable.
 *
 * @param line from 1; 0 if it is not known
 * @param column from 1; 0 if it is not known
 * @param reason one line
 */
public record BadJson(int line, int column, String reason) {
    /**
     * Takes it from the failure of a parser.
     *
     * @param e the failure
     * @return where and what
     */
    public static BadJson of(JsonProcessingException e) {
        JsonLocation location = e.getLocation() == null ? JsonLocation.NA : e.getLocation();
        return new BadJson(
                Math.max(0, location.getLineNr()),
                Math.max(0, location.getColumnNr()),
                reason(String.valueOf(e.getOriginalMessage())));
    }

    /** {@return " line 2 column 5", or nothing if that is not known} */
    public String place() {
        return line == 0 ? "" : " line " + line + placeInLine();
    }

    /** {@return " column 5", or nothing if that is not known} */
    public String placeInLine() {
        return column == 0 ? "" : " column " + column;
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
