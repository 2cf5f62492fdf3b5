package io.github.loomtorch.cli;

import io.github.loomtorch.bench.StepTrace;
import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.Scheduler;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Keeps what the steps of a scheduler's engines do. Thread-safe. */
final class StepRecorder implements EngineListener {
    private final List<StepTrace> steps = new ArrayList<>(); // guarded by itself
    private volatile @Nullable Scheduler scheduler; // null until it has started

    void watch(Scheduler scheduler) {
        this.scheduler = scheduler;
    }

    @Override
    public void onStep(StepStats stats) {
        Scheduler watched = scheduler;
        StepTrace step = new StepTrace(System.nanoTime(), watched == null ? 0 : watched.queuedRequests(), stats);
        synchronized (steps) {
            steps.add(step);
        }
    }

    /** The steps since the last call, in order of their ends. */
    List<StepTrace> take() {
        synchronized (steps) {
            List<StepTrace> taken = steps.stream()
                    .sorted(Comparator.comparingLong(StepTrace::endNanos))
                    .toList();
            steps.clear();
            return taken;
        }
    }
}
