package io.github.loomtorch.cli;

import java.io.PrintStream;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Help;

/** A bar on standard error, if that is a terminal. Thread-safe. */
final class Progress implements AutoCloseable {
    /** For steps that nobody has counted. */
    static final long UNKNOWN = -1;

    private static final int WIDTH = 80;

    private final @Nullable ProgressBar bar; // null without a terminal

    Progress(String task, long steps, PrintStream err) {
        this(new ProgressBarBuilder().setTaskName(task).setInitialMax(steps), err);
    }

    private Progress(ProgressBarBuilder builder, PrintStream err) {
        bar = Help.Ansi.AUTO.enabled()
                ? builder.setStyle(ProgressBarStyle.ASCII)
                        .setConsumer(new ConsoleProgressBarConsumer(err, WIDTH))
                        .clearDisplayOnFinish()
                        .build()
                : null;
    }

    /** Counts bytes, and shows their rate. */
    static Progress ofBytes(String task, long bytes, PrintStream err) {
        return new Progress(
                new ProgressBarBuilder()
                        .setTaskName(task)
                        .setInitialMax(bytes)
                        .setUnit(" MB", 1_000_000)
                        .showSpeed(),
                err);
    }

    void step() {
        if (bar != null) {
            bar.step();
        }
    }

    void stepTo(long step) {
        if (bar != null) {
            bar.stepTo(step);
        }
    }

    @Override
    public void close() {
        if (bar != null) {
            bar.close();
        }
    }
}
