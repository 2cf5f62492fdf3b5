package io.github.loomtorch.cli;

import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.SchedulerOptions;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.scheduler.Schedulers;
import java.io.IOException;
import java.time.Duration;
import java.util.List;

/** The schedulers that can be measured side by side. */
enum SchedulerKind {
    NAIVE,
    ASYNC_NAIVE,
    CONTINUOUS;

    /**
     * A scheduler of one engine or more; the timeout is the asynchronous naive one's, the queue the continuous one's.
     */
    Scheduler create(List<EngineFactory> engines, int batchSize, Duration timeout, QueueOptions queue)
            throws IOException {
        SchedulerOptions options = switch (this) {
            case NAIVE -> SchedulerOptions.naive(batchSize);
            case ASYNC_NAIVE -> SchedulerOptions.asyncNaive(batchSize, timeout);
            case CONTINUOUS -> SchedulerOptions.continuous(queue);
        };
        return Schedulers.start(options, engines);
    }
}
