package io.github.loomtorch.scheduler;

import io.github.loomtorch.options.RequestLimits;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/** Several continuations of one prompt. */
final class Copies {
    private Copies() {}

    /** As {@link Scheduler#submitCopies}. */
    static List<Generation> submit(Scheduler scheduler, GenerationRequest request, int n, RequestLimits limits) {
        if (n < 1 || n > limits.maxCopies()) {
            throw new IllegalArgumentException("n must be in [1, " + limits.maxCopies() + "], got " + n);
        }
        SamplingParams sampling = request.sampling();
        OptionalLong seed = sampling.seed();
        List<Generation> generations = new ArrayList<>();
        try {
            for (int i = 0; i < n; i++) {
                SamplingParams own = seed.isPresent()
                        ? sampling.toBuilder().seed(seed.getAsLong() + i).build()
                        : sampling;
                generations.add(scheduler.submit(request.withSampling(own)));
            }
        } catch (RuntimeException e) {
            generations.forEach(Generation::cancel);
            throw e;
        }
        return generations;
    }
}
