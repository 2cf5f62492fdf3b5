package io.github.loomtorch.cli;

import io.github.loomtorch.request.Speculation;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** A command that measures and writes what it found. */
abstract class Benchmark implements Callable<Integer> {
    /** What is written, does not change a result, is secret, or stands in results under another name. */
    private static final Set<String> NO_SETTINGS = Set.of(
            "--help",
            "--version",
            "--verbose",
            "--json",
            "--csv",
            "--report",
            "--output",
            "--cache",
            "--api-key",
            "--seed",
            "--url", // the setting server
            "--served-model", // model
            "--shape",
            "--batch-size", // batch
            "--max-batch-size",
            "--max-prefill-tokens-beside-decode", // prefill
            "--device", // of the machine
            "--scheduler", // parameter of each result
            "--requests", // the workload
            "--request-rate",
            "--burstiness",
            "--ramp-up",
            "--ramp-up-start-rate",
            "--ramp-up-end-rate",
            "--trace",
            "--max-concurrency",
            "--shared-prefix",
            "--input-len",
            "--output-len");

    @Spec
    private CommandSpec spec;

    @Option(names = "--json", paramLabel = "FILE", description = "Write settings and results as JSON.")
    private @Nullable Path json;

    @Option(names = "--csv", paramLabel = "FILE", description = "Write the results as CSV, a line for each column.")
    private @Nullable Path csv;

    /** Measures and prints the results. */
    abstract Report measure(PrintWriter out) throws IOException;

    @Override
    public final Integer call() throws IOException {
        checkFiles();
        Report report = measure(commandLine().getOut());
        write(report);
        return report.allCompleted() ? 0 : 1;
    }

    /** Refuses files that cannot be written, before anything is measured. */
    void checkFiles() throws IOException {
        checkFile(json);
        checkFile(csv);
    }

    static void checkFile(@Nullable Path file) throws IOException {
        if (file == null) {
            return;
        }
        if (Files.isDirectory(file)) {
            throw new IOException(file + ": expected a file, got a directory");
        }
        Path folder = Objects.requireNonNull(file.toAbsolutePath().getParent());
        if (!Files.isDirectory(folder)) {
            throw new IOException(folder + ": expected a directory, got nothing");
        }
        if (!Files.isWritable(Files.exists(file) ? file : folder)) {
            throw new AccessDeniedException(file.toString());
        }
    }

    /** Writes the files that were asked for. */
    void write(Report report) throws IOException {
        if (json != null) {
            report.file().write(json);
        }
        if (csv != null) {
            report.writeCsv(csv);
        }
    }

    final CommandLine commandLine() {
        return spec.commandLine();
    }

    /** The settings that options say, by name: of those that were given, or of the others. */
    Map<String, String> settings(boolean given) {
        Map<String, String> settings = new LinkedHashMap<>();
        for (OptionSpec option : spec.options()) {
            String name = option.longestName();
            Object value = option.getValue();
            if (value != null && !NO_SETTINGS.contains(name) && isGiven(name) == given) {
                settings.put(name.substring("--".length()), text(value));
            }
        }
        return settings;
    }

    private static String text(Object value) {
        return switch (value) {
            case Enum<?> constant -> NamedConverter.nameOf(constant);
            case Speculation speculation -> speculation.ngram() + ":" + speculation.candidates();
            default -> value.equals(Integer.MAX_VALUE) ? "no bound" : value.toString();
        };
    }

    /** Whether an option was given. */
    final boolean isGiven(String option) {
        return commandLine().getParseResult().hasMatchedOption(option);
    }
}
