package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.SchedulerOptions;
import io.github.loomtorch.request.Scheduler;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** Starts the scheduler that options describe. */
public final class Schedulers {
    private Schedulers() {}

    /**
     * Starts a scheduler and waits until its engines are made.
     *
     * @param options which scheduler
     * @param engines makes an engine for each device, at least one; the scheduler then owns them
     * @return a scheduler, owned by the caller
     * @throws IllegalArgumentException if there are no engines, several engines and no continuous scheduler, or the
     *     batch size exceeds the engine's
     * @throws IOException if a factory throws it; their unchecked exceptions pass too
     */
    public static Scheduler start(SchedulerOptions options, List<EngineFactory> engines) throws IOException {
        if (engines.isEmpty()) {
            throw new IllegalArgumentException("engines must hold at least one factory, got none");
        }
        return switch (options) {
            case SchedulerOptions.Naive naive -> {
                Engine engine = NaiveScheduler.checked(onlyOne(engines), naive.batchSize())
                        .create();
                yield new NaiveScheduler(engine, naive.batchSize());
            }
            case SchedulerOptions.AsyncNaive naive ->
                new AsyncNaiveScheduler(onlyOne(engines), naive.batchSize(), naive.timeout());
            case SchedulerOptions.Continuous continuous -> startContinuous(continuous, engines);
        };
    }

    private static EngineFactory onlyOne(List<EngineFactory> engines) {
        if (engines.size() > 1) {
            throw new IllegalArgumentException(
                    "scheduler must be continuous to run on several devices, got " + engines.size() + " devices");
        }
        return engines.getFirst();
    }

    private static Scheduler startContinuous(SchedulerOptions.Continuous options, List<EngineFactory> engines)
            throws IOException {
        List<ContinuousScheduler> replicas = new ArrayList<>();
        try {
            for (EngineFactory each : engines) {
                replicas.add(new ContinuousScheduler(each, options.queue()));
            }
            return replicas.size() == 1 ? replicas.getFirst() : new ReplicaPool(replicas);
        } catch (IOException | RuntimeException | Error e) {
            for (ContinuousScheduler replica : replicas) {
                try {
                    replica.close();
                } catch (RuntimeException closing) {
                    e.addSuppressed(closing);
                }
            }
            throw e;
        }
    }
}
