package io.github.loomtorch.cli;

import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import picocli.CommandLine.Model.CommandSpec;

/**
 * Says the library's messages in the words of the command line: {@code topK must be >= 0} becomes {@code --top-k must
 * be >= 0}.
 */
final class OptionNames {
    private static final Pattern NAME = Pattern.compile("^[a-z]+(?=[ \\[])|\\b[a-z]+[A-Z]\\w*");
    private static final Map<String, String> OTHER_NAMES =
            Map.of("stopStrings", "--stop", "promptTokenIds", "--prompt-ids");

    private OptionNames() {}

    /** Puts the command's options in place of the parameters that they set. */
    static String inMessage(String message, CommandSpec command) {
        return NAME.matcher(message).replaceAll(match -> {
            String name = match.group();
            String option = OTHER_NAMES.getOrDefault(name, "--" + kebabCase(name));
            return command.optionsMap().containsKey(option) ? option : name;
        });
    }

    private static String kebabCase(String camelCase) {
        return camelCase.replaceAll("(?=[A-Z])", "-").toLowerCase(Locale.ROOT);
    }
}
