package io.github.loomtorch.bench;

import io.github.loomtorch.bench.RequestTrace.Status;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.Scheduler;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.RejectedExecutionException;
import org.jspecify.annotations.Nullable;

/**
 * A scheduler in this process. Its clock must be the workload's.
 *
 * @param scheduler owned by the caller
 */
public record SchedulerTarget(Scheduler scheduler) implements Target {
    @Override
    public void send(GenerationRequest request, Receiver receiver) {
        int inputTokens = request.promptTokenIds().length;
        Generation generation;
        try {
            generation = scheduler.submit(request, event -> receiver.onTokens());
        } catch (RejectedExecutionException e) {
            receiver.onEnd(Status.REJECTED, String.valueOf(e.getMessage()), Optional.empty(), inputTokens, 0);
            return;
        } catch (IllegalStateException e) {
            receiver.onEnd(Status.FAILED, String.valueOf(e.getMessage()), Optional.empty(), inputTokens, 0);
            return;
        }
        var unused = generation
                .completion()
                .whenComplete((completion, failure) -> end(receiver, inputTokens, completion, failure));
    }

    private static void end(
            Receiver receiver, int inputTokens, @Nullable Completion completion, @Nullable Throwable failure) {
        if (completion == null) {
            Throwable cause =
                    failure instanceof CompletionException && failure.getCause() != null ? failure.getCause() : failure;
            Status status = cause instanceof CancellationException ? Status.CANCELLED : Status.FAILED;
            String why = cause == null ? "" : String.valueOf(cause.getMessage());
            receiver.onEnd(status, why, Optional.empty(), inputTokens, 0);
            return;
        }
        FinishReason reason = completion.finishReason();
        boolean isWhole = reason == FinishReason.STOP || reason == FinishReason.LENGTH;
        receiver.onEnd(
                isWhole ? Status.COMPLETED : Status.CANCELLED,
                isWhole ? "" : "ended early: " + reason,
                Optional.of(completion.timings()),
                inputTokens,
                completion.outputTokenIds().length);
    }

    @Override
    public void flush() {
        scheduler.flush();
    }
}
