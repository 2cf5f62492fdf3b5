package io.github.loomtorch;

import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.Scheduler;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.RejectedExecutionException;

/**
 * The requests of one call, which may be more than the queue has room for: then a request waits for those of the same
 * call before it. Confined to the thread of the call.
 */
final class RequestGroup {
    private final Scheduler scheduler;
    private final List<Generation> generations = new ArrayList<>();
    private int ended; // the first ones

    RequestGroup(Scheduler scheduler) {
        this.scheduler = scheduler;
    }

    /**
     * Submits a request. If it is refused, or one before it fails, all are cancelled.
     *
     * @throws RejectedExecutionException if the queue is full of requests of other calls
     */
    Generation submit(GenerationRequest request) {
        try {
            while (true) {
                try {
                    Generation generation = scheduler.submit(request);
                    generations.add(generation);
                    return generation;
                } catch (RejectedExecutionException e) {
                    if (ended == generations.size()) {
                        throw e;
                    }
                    scheduler.flush();
                    generations.get(ended++).join();
                }
            }
        } catch (RuntimeException e) {
            cancel();
            throw e;
        }
    }

    void cancel() {
        generations.forEach(Generation::cancel);
    }
}
