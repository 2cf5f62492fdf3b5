package io.github.loomtorch.testing;

import io.github.loomtorch.engine.CausalLm;
import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.scheduler.NaiveScheduler;
import java.util.List;

/** Runs requests on the caller's thread. */
public final class Generations {
    private Generations() {}

    /** In one batch, as far as the model's batch size goes; leaves the model open. */
    public static List<Completion> together(CausalLm lm, EngineOptions config, List<GenerationRequest> requests) {
        return batches(lm, config, requests, Math.min(requests.size(), lm.maxBatchSize()));
    }

    /** One after another; leaves the model open. */
    public static List<Completion> alone(CausalLm lm, EngineOptions config, List<GenerationRequest> requests) {
        return batches(lm, config, requests, 1);
    }

    private static List<Completion> batches(
            CausalLm lm, EngineOptions config, List<GenerationRequest> requests, int batchSize) {
        return ended(lm, config, requests, batchSize).stream()
                .map(Generation::join)
                .toList();
    }

    /** In batches of that size, whether they succeed or fail; leaves the model open. */
    public static List<Generation> ended(
            CausalLm lm, EngineOptions config, List<GenerationRequest> requests, int batchSize) {
        CausalLm borrowed = new ForwardingLm(lm) {
            @Override
            public void close() {}
        };
        try (NaiveScheduler scheduler =
                new NaiveScheduler(new Engine(borrowed, config, Clock.system(), Runnable::run), batchSize)) {
            List<Generation> generations =
                    requests.stream().map(scheduler::submit).toList();
            scheduler.flush();
            return generations;
        }
    }
}
