package io.github.loomtorch.cli;

import io.github.loomtorch.request.TorchException;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.util.concurrent.CompletionException;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.ScopeType;

/** The command line's entry. */
@Command(
        name = "loomtorch",
        header = "GPT-2 in the JVM, on libtorch.",
        description = "Text out of a GPT-2 model, one prompt at a time or in batches.",
        subcommands = {
            GenerateCommand.class,
            TokenizeCommand.class,
            ExportCommand.class,
            BenchCommand.class,
            KernelsCommand.class,
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
        PrintWriter err = new PrintWriter(
                new OutputStreamWriter(new FileOutputStream(FileDescriptor.err), StandardCharsets.UTF_8), true);
        int status = run(out, err, args);
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
        return new CommandLine(main)
                .setOut(out)
                .setErr(err)
                .setExecutionStrategy(main::execute)
                .setParameterExceptionHandler((e, arguments) -> report(e, e.getCommandLine(), main.verbose))
                .setExecutionExceptionHandler((e, command, parsed) -> report(e, command, main.verbose))
                .execute(args);
    }

    private int execute(ParseResult parsed) {
        // Loggers read these when the first is made, which no class does that is loaded before a command runs.
        System.setProperty(LOG_PROPERTIES + "defaultLogLevel", verbose ? "debug" : "warn");
        System.setProperty(LOG_PROPERTIES + "showThreadName", "" + verbose);
        System.setProperty(LOG_PROPERTIES + "showLogName", "" + verbose);
        return new CommandLine.RunLast().execute(parsed);
    }

    private static int report(Exception thrown, CommandLine command, boolean verbose) {
        Throwable cause = thrown;
        while (cause instanceof CompletionException && cause.getCause() != null) {
            cause = cause.getCause();
        }
        boolean usage = cause instanceof ParameterException || cause instanceof IllegalArgumentException;
        String message = usage
                ? OptionNames.inMessage(cause.getMessage(), command.getCommandSpec())
                                .replaceFirst("^Error: ", "") + "; see "
                        + command.getCommandSpec().qualifiedName() + " --help"
                : describe(cause);
        command.getOut().flush();
        PrintWriter err = command.getErr();
        err.println(command.getColorScheme().errorText("error: " + message));
        if (verbose) {
            cause.printStackTrace(err);
        }
        return usage ? CommandLine.ExitCode.USAGE : CommandLine.ExitCode.SOFTWARE;
    }

    private static String describe(Throwable cause) {
        return switch (cause) {
            case NoSuchFileException e -> e.getFile() + ": no such file or directory";
            case AccessDeniedException e -> e.getFile() + ": access denied";
            case FileSystemException e -> e.getFile() + ": " + e.getReason();
            case IOException e -> e.getMessage();
            case TorchException e -> e.getMessage();
            case ArithmeticException e -> e.getMessage(); // of unusable logits
            default -> "unexpected failure: " + cause + "; --verbose shows where";
        };
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
