package io.github.loomtorch.server;

import io.github.loomtorch.options.StepStats;
import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;

/** A step of the engine, in a JFR recording. */
@Name("io.github.loomtorch.Step")
@Label("Step")
@Category("Loomtorch")
@Description("A step of the engine, reported when it has ended")
@StackTrace(false)
final class StepEvent extends Event {
    @Label("Sequences")
    int sequences;

    @Label("Computed Tokens")
    int computedTokens;

    @Label("Sampled Tokens")
    int sampledTokens;

    @Label("Available Pages")
    int availablePages;

    @Label("Step Time")
    @Timespan
    long stepTime;

    @Label("Device Time")
    @Timespan
    long deviceTime;

    @Label("Failed")
    boolean failed;

    static void commit(StepStats stats) {
        StepEvent event = new StepEvent();
        if (event.shouldCommit()) {
            event.sequences = stats.sequences();
            event.computedTokens = stats.computedTokens();
            event.sampledTokens = stats.sampledTokens();
            event.availablePages = stats.availablePages();
            event.stepTime = stats.durationNanos();
            event.deviceTime = stats.deviceNanos();
            event.failed = stats.failed();
            event.commit();
        }
    }
}
