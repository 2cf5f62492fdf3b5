package io.github.loomtorch.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.text.Normalizer.Form;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/** Changes text before it is split: the {@code normalizer} of {@code tokenizer.json}. Immutable. */
interface Normalizer {

    /** Leaves text as it is. */
    Normalizer NONE = text -> text;

    /**
     * The normalized text.
     *
     * @throws IllegalArgumentException if it is more than {@link #MAX_GROWTH} times as long as the text, or if the text
     *     has more than {@link #MAX_MARKS} combining marks in a row
     */
    String apply(String text);

    /** How many times longer a text may become; a file cannot make text fill the heap. */
    int MAX_GROWTH = 64;

    /** How many combining marks may follow each other; text of any language has a few. */
    int MAX_MARKS = 1000;

    /** How many normalizers a file may have; published ones have a few. */
    int MAX_COUNT = 32;

    /** Reads {@code null}, an absent value, or an object with a {@code type}. */
    static Normalizer read(JsonFile file, JsonNode node, String place) throws IOException {
        if (node.isNull() || node.isMissingNode()) {
            return NONE;
        }
        String type = node.path("type").asText();
        return switch (type) {
            case "NFC", "NFD", "NFKC", "NFKD" -> {
                Form form = Form.valueOf(type);
                yield text -> compose(text, form);
            }
            case "Lowercase" -> Normalizer::lowercase;
            case "Strip" -> {
                boolean left = flag(file, node, place, "strip_left");
                boolean right = flag(file, node, place, "strip_right");
                yield text -> strip(text, left, right);
            }
            case "Prepend" -> {
                String prefix = text(file, node.path("prepend"), place + ".prepend");
                yield text -> text.isEmpty() ? text : prefix + text;
            }
            case "Replace" -> {
                Pattern pattern = pattern(file, node.path("pattern"), place + ".pattern");
                String content = text(file, node.path("content"), place + ".content");
                yield text -> replace(text, pattern, Matcher.quoteReplacement(content));
            }
            case "Sequence" -> {
                List<Normalizer> steps = new ArrayList<>();
                JsonNode nodes = node.path("normalizers");
                file.require(nodes, place + ".normalizers", "an array", JsonNode::isArray);
                for (int i = 0; i < nodes.size(); i++) {
                    steps.add(read(file, nodes.get(i), place + ".normalizers[" + i + "]"));
                }
                yield steps.stream().allMatch(step -> step == NONE) ? NONE : text -> applyAll(text, steps);
            }
            default ->
                throw file.error(
                        place + ".type",
                        "\"NFC\", \"NFD\", \"NFKC\", \"NFKD\", \"Lowercase\", \"Strip\", \"Prepend\", \"Replace\" or"
                                + " \"Sequence\"",
                        node.path("type"));
        };
    }

    private static boolean flag(JsonFile file, JsonNode node, String place, String name) throws IOException {
        file.require(node.path(name), place + "." + name, "true or false", JsonNode::isBoolean);
        return node.path(name).booleanValue();
    }

    private static String text(JsonFile file, JsonNode node, String place) throws IOException {
        file.require(node, place, "some text", JsonNode::isTextual);
        file.require(node, place, "at most " + AddedToken.MAX_LENGTH + " characters", AddedToken::isShort);
        return node.textValue();
    }

    /** Reads {@code {"String": ...}}, or {@code {"Regex": ...}} if Java and Oniguruma read it alike. */
    private static Pattern pattern(JsonFile file, JsonNode node, String place) throws IOException {
        if (node.has("String")) {
            String literal = text(file, node.get("String"), place + ".String");
            if (!literal.isEmpty()) {
                return Pattern.compile(literal, Pattern.LITERAL);
            }
        } else if (node.has("Regex")) {
            String regex = text(file, node.get("Regex"), place + ".Regex");
            String atom = "(?:[^\\\\\\[\\](){}.*+?^$|]|\\\\[sntr.*+?()\\[\\]{}|^$\\\\/-])";
            if (regex.matches("(?s)" + atom + "(?:\\+|\\{\\d{1,3}(?:,\\d{0,3})?})|" + atom + "+")) {
                try {
                    return Pattern.compile(regex, Pattern.UNICODE_CHARACTER_CLASS);
                } catch (PatternSyntaxException e) { // such as {2,1}
                    throw file.error(place, "a simple pattern", node);
                }
            }
        }
        throw file.error(
                place, "a \"String\" that is not empty, or a \"Regex\" of literals or one repeated literal", node);
    }

    private static String applyAll(String text, List<Normalizer> steps) {
        String normalized = text;
        for (Normalizer step : steps) {
            normalized = step.apply(normalized);
            requireGrowth(normalized.length(), text);
        }
        return normalized;
    }

    private static void requireGrowth(int length, String text) {
        if (length > (long) MAX_GROWTH * (text.length() + 16)) {
            throw new IllegalArgumentException("normalized text must be at most " + MAX_GROWTH
                    + " times as long as the text, got more for " + text.length() + " characters");
        }
    }

    /** Java's normalizer takes quadratic time for combining marks in a row. */
    private static String compose(String text, Form form) {
        int marks = 0;
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (Character.isLowSurrogate(c)) {
                continue; // with the high surrogate before it
            }
            marks = c >= 0x300 && isMark(text.codePointAt(i)) ? marks + 1 : 0;
            if (marks > MAX_MARKS) {
                throw new IllegalArgumentException(
                        "text must have at most " + MAX_MARKS + " combining marks in a row, got more");
            }
        }
        return java.text.Normalizer.normalize(text, form);
    }

    private static boolean isMark(int codePoint) {
        int type = Character.getType(codePoint);
        return type == Character.NON_SPACING_MARK
                || type == Character.COMBINING_SPACING_MARK
                || type == Character.ENCLOSING_MARK;
    }

    private static String replace(String text, Pattern pattern, String replacement) {
        Matcher matcher = pattern.matcher(text);
        if (!matcher.find()) {
            return text;
        }
        StringBuilder replaced = new StringBuilder(text.length());
        do {
            matcher.appendReplacement(replaced, replacement);
            requireGrowth(replaced.length(), text);
        } while (matcher.find());
        return matcher.appendTail(replaced).toString();
    }

    /** Each character by itself: unlike {@link String#toLowerCase}, a final sigma is no exception. */
    private static String lowercase(String text) {
        StringBuilder lower = new StringBuilder(text.length());
        text.codePoints().forEach(c -> {
            if (c < 0x80) {
                lower.append((char) Character.toLowerCase(c));
            } else {
                lower.append(Character.toString(c).toLowerCase(Locale.ROOT));
            }
        });
        return lower.toString();
    }

    private static String strip(String text, boolean left, boolean right) {
        int from = 0;
        int to = text.length();
        while (left && from < to && Gpt2Pattern.isWhiteSpace(text.charAt(from))) {
            from++;
        }
        while (right && to > from && Gpt2Pattern.isWhiteSpace(text.charAt(to - 1))) {
            to--;
        }
        return text.substring(from, to);
    }
}
