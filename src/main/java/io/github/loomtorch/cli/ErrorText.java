package io.github.loomtorch.cli;

import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.request.UnusableLogitsException;
import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import picocli.CommandLine;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.UnmatchedArgumentException;

/**
 * What went wrong, in one sentence and in the words of the command line: the library's {@code topK must be >= 0}
 * becomes {@code --top-k must be >= 0}.
 */
final class ErrorText {
    /** Most characters of an argument, or of a file's text, that a sentence repeats. */
    static final int MAX_QUOTED = 200;

    private static final Pattern RULE_NAME = Pattern.compile("^[a-z]+(?=[ \\[])|\\b[a-z]+\\d*[A-Z]\\w*");
    private static final Pattern SETTING = Pattern.compile("\\b([a-z]\\w*)=([\\w.]+)");

    /** Options that set a parameter of another name; the one that was given counts, else the first. */
    private static final Map<String, List<String>> OTHER_NAMES = Map.of(
            "stopStrings", List.of("--stop"),
            "promptTokenIds", List.of("--prompt-ids", "--prompt"),
            "cudaGraphs", List.of("--no-cuda-graphs"),
            "text", List.of("--text", "--file"),
            "prompt", List.of("--prompt", "--prompt-file"),
            "stopTokenIds", List.of("--stop-ids"),
            "inputLen", List.of("--input-len", "--prompt-file"),
            "endOfTextInFront", List.of("--bos"),
            "batchSize", List.of("--batch-size", "--max-batch-size", "--prompts"),
            "maxBatchSize", List.of("--max-batch-size", "--batch-size", "--prompts"));

    private ErrorText() {}

    /** Whether an option or its value caused it. */
    static boolean isUsage(Throwable cause) {
        return cause instanceof ParameterException || cause instanceof IllegalArgumentException;
    }

    static String of(Throwable cause, CommandLine command, String... args) {
        String sentence = isUsage(cause) ? usage(cause, command) : failure(cause, command);
        return cut(sentence, args);
    }

    private static String usage(Throwable cause, CommandLine command) {
        String sentence = switch (cause) {
            case UnmatchedArgumentException e -> unmatched(e, command);
            case ParameterException e -> String.valueOf(e.getMessage()).replaceFirst("^Error: ", "");
            default -> withOptions(String.valueOf(cause.getMessage()), command);
        };
        return sentence + "; see " + command.getCommandSpec().qualifiedName() + " --help";
    }

    private static String unmatched(UnmatchedArgumentException e, CommandLine command) {
        String argument = e.getUnmatched().get(0);
        boolean isOption = e.isUnknownOption();
        boolean takesText = !command.getCommandSpec().positionalParameters().isEmpty();
        Set<String> names = isOption
                ? command.getCommandSpec().optionsMap().keySet()
                : command.getSubcommands().keySet();
        String kind = isOption ? "unknown option" : names.isEmpty() ? "unexpected argument" : "unknown command";
        String advice = Suggestion.nearest(argument.split("=", 2)[0], names)
                .map(name -> "; did you mean " + name + "?")
                .orElse(isOption && takesText ? "; text that begins with - must come after --" : "");
        return kind + " '" + argument + "'" + advice;
    }

    private static String failure(Throwable cause, CommandLine command) {
        return switch (cause) {
            case NoSuchFileException e -> e.getFile() + ": no such file or directory" + workingDirectory();
            case AccessDeniedException e -> e.getFile() + ": access denied";
            case FileSystemException e -> e.getFile() + ": " + e.getReason();
            case IOException e -> e.getMessage() + workingDirectory();
            case TorchException e -> withSettings(withOptions(String.valueOf(e.getMessage()), command), command);
            case UnusableLogitsException e -> String.valueOf(e.getMessage());
            default -> "unexpected failure: " + cause + "; --verbose shows where";
        };
    }

    /** Java cannot find a relative path if it cannot decode the working directory's name. */
    private static String workingDirectory() {
        return Files.isDirectory(Path.of("").toAbsolutePath())
                ? ""
                : "; the working directory has a name that cannot be read in this locale, or is gone: set LC_ALL=C.UTF-8";
    }

    /** Puts the command's options in place of the library's parameters, but not into the value that was given. */
    static String withOptions(String message, CommandLine command) {
        int got = message.indexOf(", got ");
        String rule = got < 0 ? message : message.substring(0, got);
        String named = RULE_NAME.matcher(rule).replaceAll(match -> option(match.group(), command));
        return got < 0 ? named : named + message.substring(got);
    }

    /** The same for {@code name=value}. */
    private static String withSettings(String message, CommandLine command) {
        return SETTING.matcher(message).replaceAll(match -> {
            String option = option(match.group(1), command);
            return option.equals(match.group(1))
                    ? match.group()
                    : option.startsWith("--no-") ? option : option + " " + match.group(2);
        });
    }

    /** The option that sets a parameter; the parameter itself if the command has none. */
    private static String option(String parameter, CommandLine command) {
        Predicate<String> isGiven = option ->
                command.getParseResult() != null && command.getParseResult().hasMatchedOption(option);
        List<String> options = OTHER_NAMES.getOrDefault(parameter, List.of("--" + kebabCase(parameter))).stream()
                .filter(command.getCommandSpec().optionsMap()::containsKey)
                .toList();
        return options.stream().filter(isGiven).findFirst().orElse(options.isEmpty() ? parameter : options.get(0));
    }

    private static String kebabCase(String camelCase) {
        return camelCase.replaceAll("(?=[A-Z])", "-").toLowerCase(Locale.ROOT);
    }

    /** Shortens what a sentence repeats of the inputs to {@link #MAX_QUOTED} characters. */
    static String cut(String sentence, String... inputs) {
        StringBuilder cut = new StringBuilder();
        for (int i = 0; i < sentence.length(); ) {
            int quoted = quotedAt(i, sentence, inputs);
            if (quoted > MAX_QUOTED) {
                int end = i + MAX_QUOTED;
                cut.append(sentence, i, Character.isHighSurrogate(sentence.charAt(end - 1)) ? end - 1 : end);
                cut.append("...");
                i += quoted;
            } else {
                cut.append(sentence.charAt(i++));
            }
        }
        return cut.toString();
    }

    /** How many characters from here on are a part of an input, if they are more than may be repeated. */
    private static int quotedAt(int start, String sentence, String... inputs) {
        int end = start + MAX_QUOTED + 1;
        if (end > sentence.length()) {
            return 0;
        }
        String beginning = sentence.substring(start, end);
        for (String input : inputs) {
            int at = input.indexOf(beginning);
            if (at >= 0) {
                int length = beginning.length();
                while (start + length < sentence.length()
                        && at + length < input.length()
                        && sentence.charAt(start + length) == input.charAt(at + length)) {
                    length++;
                }
                return length;
            }
        }
        return 0;
    }
}
