package io.github.loomtorch.cli;

import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.scheduler.NaiveScheduler;
import io.github.loomtorch.scheduler.Scheduler;
import java.io.IOException;
import java.time.Duration;

/** The schedulers that can be measured side by side. */
enum SchedulerKind {
    NAIVE,
    ASYNC_NAIVE,
    CONTINUOUS;

    /** A scheduler whose queue is never full; the timeout is the asynchronous naive one's. */
    Scheduler create(EngineFactory engines, int batchSize, Duration timeout) throws IOException {
        return switch (this) {
            case NAIVE -> new NaiveScheduler(engines.create(), batchSize);
            case ASYNC_NAIVE -> new AsyncNaiveScheduler(engines, batchSize, timeout);
            case CONTINUOUS ->
                new ContinuousScheduler(
                        engines,
                        QueueOptions.unbounded(),
                        Thread.ofPlatform().name("engine").factory());
        };
    }
}
