package io.github.loomtorch.server;

import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.RequestTimings;
import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;

/** A request that completed, in a JFR recording. */
@Name("io.github.loomtorch.Request")
@Label("Request")
@Category("Loomtorch")
@Description("A request that completed")
@StackTrace(false)
final class RequestEvent extends Event {
    @Label("Prompt Tokens")
    int promptTokens;

    @Label("Output Tokens")
    int outputTokens;

    @Label("Finish Reason")
    String finishReason = "";

    @Label("Queue Time")
    @Timespan
    long queueTime;

    @Label("Time to First Token")
    @Timespan
    long timeToFirstToken;

    @Label("End-to-End Latency")
    @Timespan
    long latency;

    static void commit(Completion completion) {
        RequestEvent event = new RequestEvent();
        if (event.shouldCommit()) {
            RequestTimings timings = completion.timings();
            event.promptTokens = completion.promptTokenIds().length;
            event.outputTokens = completion.outputTokenIds().length;
            event.finishReason = completion.finishReason().name();
            event.queueTime = timings.startedNanos() - timings.submittedNanos();
            event.timeToFirstToken = timings.ttftNanos();
            event.latency = timings.e2elNanos();
            event.commit();
        }
    }
}
