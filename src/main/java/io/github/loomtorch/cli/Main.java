package io.github.loomtorch.cli;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.OutputStreamWriter;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Objects;
import java.util.concurrent.CompletionException;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.ScopeType;

/** The command line's entry. */
@Command(
        name = "loomtorch",
        header = "GPT-2 in the JVM, on libtorch.",
        description = "Text out of a GPT-2 model, and how probable it finds texts.",
        subcommands = {
            GenerateCommand.class,
            ScoreCommand.class,
            ServeCommand.class,
            TokenizeCommand.class,
            ExportCommand.class,
            ConvertCommand.class,
            BenchCommand.class,
            KernelsCommand.class,
            DoctorCommand.class,
            DemoCommand.class
        },
        mixinStandardHelpOptions = true,
        scope = ScopeType.INHERIT,
        versionProvider = Main.Version.class,
        synopsisSubcommandLabel = "COMMAND",
        sortOptions = false,
        sortSynopsis = false,
        footer = {
            "  loomtorch generate --prompt \"Once upon a time\"",
            "  loomtorch generate --help",
            "%n'loomtorch' stands for: java -jar target/loomtorch.jar"
        },
        usageHelpAutoWidth = true,
        descriptionHeading = "%n",
        optionListHeading = "%nOptions:%n",
        commandListHeading = "%nCommands:%n",
        footerHeading = "%nExamples:%n",
        exitCodeListHeading = "%nExit status:%n",
        exitCodeList = {
            "0:success",
            "1:failure: a file, the model or the machine",
            "2:wrong usage: an option or its value"
        })
public final class Main {
    private static final String LOG_PROPERTIES = "org.slf4j.simpleLogger.";

    @Option(
            names = "--verbose",
            scope = ScopeType.INHERIT,
            description = "Log what happens, and add the stack trace to an error.")
    private boolean verbose;

    Main() {}

    /**
     * Runs a command and ends the process with its exit status: 0 success, 1 failure, 2 wrong usage.
     *
     * @param args a command and its options
     */
    public static void main(String[] args) {
        StandardOutput stdout = new StandardOutput(new FileOutputStream(FileDescriptor.out));
        PrintWriter out = new PrintWriter(new OutputStreamWriter(stdout, StandardCharsets.UTF_8));
        // The log goes there too.
        System.setErr(new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8));
        PrintWriter err = new PrintWriter(System.err, true, StandardCharsets.UTF_8);
        int status;
        try {
            status = run(out, err, Arguments.exact(args));
        } catch (IllegalArgumentException e) { // of Arguments; run reports its own
            err.println("error: " + e.getMessage());
            status = CommandLine.ExitCode.USAGE;
        }
        if (out.checkError()) {
            status = CommandLine.ExitCode.SOFTWARE;
            if (!stdout.isClosedByReader()) {
                err.println("error: standard output could not be written: " + stdout.failure());
            }
        }
        System.exit(status);
    }

    /** Runs a command; its output is not flushed at the end. */
    static int run(PrintWriter out, PrintWriter err, String... args) {
        Main main = new Main();
        return commandLine(main)
                .setOut(out)
                .setErr(err)
                .setExecutionStrategy(main::execute)
                .setParameterExceptionHandler((e, arguments) -> main.report(e, e.getCommandLine(), args))
                .setExecutionExceptionHandler((e, command, parsed) -> main.report(e, command, args))
                .execute(args);
    }

    /** Takes arguments as data: none names a file of arguments, and an option's value may look like an option. */
    static CommandLine commandLine(Main main) {
        CommandLine commandLine = new CommandLine(main)
                .setExpandAtFiles(false)
                .setAllowOptionsAsOptionParameters(true)
                .registerConverter(Path.class, new PathConverter());
        // What follows the benchmark's name are its options.
        CommandLine bench = Objects.requireNonNull(commandLine.getSubcommands().get("bench"));
        Objects.requireNonNull(bench.getSubcommands().get("sweep")).setStopAtPositional(true);
        return commandLine;
    }

    private int execute(ParseResult parsed) {
        // Loggers read these when the first is made, which no class does that is loaded before a command runs.
        System.setProperty(LOG_PROPERTIES + "defaultLogLevel", verbose ? "debug" : "warn");
        System.setProperty(LOG_PROPERTIES + "showThreadName", "" + verbose);
        System.setProperty(LOG_PROPERTIES + "showLogName", "" + verbose);
        return new CommandLine.RunLast().execute(parsed);
    }

    private int report(Exception thrown, CommandLine command, String... args) {
        Throwable cause = thrown;
        while ((cause instanceof CompletionException || cause instanceof UncheckedIOException)
                && cause.getCause() != null) {
            cause = cause.getCause();
        }
        command.getOut().flush();
        PrintWriter err = command.getErr();
        err.println(command.getColorScheme().errorText("error: " + ErrorText.of(cause, command, args)));
        if (verbose) {
            cause.printStackTrace(err);
        }
        return ErrorText.isUsage(cause) ? CommandLine.ExitCode.USAGE : CommandLine.ExitCode.SOFTWARE;
    }

    /** Version of this program and of what it runs on. */
    static final class Version implements CommandLine.IVersionProvider {
        @Override
        public String[] getVersion() {
            return new String[] {
                "loomtorch " + Versions.loomtorch(), "libtorch " + Versions.libtorch(), "Java " + Versions.java()
            };
        }
    }
}
