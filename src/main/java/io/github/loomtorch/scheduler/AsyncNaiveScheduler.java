package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Clock;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.request.TokenListener;
import java.io.IOException;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;

/**
 * Static batching on a thread of its own, for callers on virtual threads: a batch runs when it is full, or when its
 * first request has waited for the timeout; the next batch begins when it has ended.
 *
 * <pre>{@code
 * EngineFactory factory = () -> new Engine(loadModel(), tokenizer, EngineOptions.defaults());
 * try (AsyncNaiveScheduler scheduler = new AsyncNaiveScheduler(factory, 8, Duration.ofMillis(50))) {
 *     Completion completion = scheduler.submit(request).join();
 * }
 * }</pre>
 *
 * <p>Requests run in order of arrival; priorities are ignored. A batch that fails fails only its own generations.
 * Thread-safe.
 */
public final class AsyncNaiveScheduler implements Scheduler {
    private final StaticBatching batching;
    private final EngineThread thread;

    /**
     * Starts a platform thread and waits until it has made the engine.
     *
     * @param factory makes the engine, which the scheduler then owns
     * @param batchSize requests in a batch, in {@code [1, engine.maxBatchSize()]}
     * @param timeout longest that a request waits for its batch to fill, &gt;= 0
     * @throws IllegalArgumentException if the batch size or the timeout is out of range
     * @throws IOException if the factory throws it; its unchecked exceptions pass too
     */
    public AsyncNaiveScheduler(EngineFactory factory, int batchSize, Duration timeout) throws IOException {
        if (timeout.isNegative()) {
            throw new IllegalArgumentException("timeout must be >= 0, got " + timeout);
        }
        batching = new StaticBatching(batchSize, timeout);
        thread = new EngineThread(
                NaiveScheduler.checked(factory, batchSize),
                QueueOptions.unbounded(),
                QueuedRequest.BY_ARRIVAL,
                batching,
                false);
    }

    @Override
    public Generation submit(GenerationRequest request, TokenListener listener) {
        return thread.submit(request, listener);
    }

    @Override
    public List<Generation> submitCopies(GenerationRequest request, int n) {
        return Copies.submit(this, request, n, thread.engine().limits());
    }

    @Override
    public int queuedRequests() {
        return thread.submissions().queuedRequests();
    }

    @Override
    public SchedulerState state() {
        return thread.submissions().state();
    }

    /**
     * How many batches have run or begun.
     *
     * @return &gt;= 0
     */
    public int batches() {
        return batching.batches;
    }

    @Override
    public void close() {
        thread.close(false);
    }

    @Override
    public void closeNow() {
        thread.close(true);
    }

    /**
     * Begins a batch only when none runs; members of the running batch that found no room join it when there is some.
     */
    private static final class StaticBatching implements AdmissionRule {
        private final int batchSize;
        private final Duration timeout;
        private volatile int batches; // written by the engine thread only

        StaticBatching(int batchSize, Duration timeout) {
            this.batchSize = batchSize;
            this.timeout = timeout;
        }

        @Override
        public long admit(RunningRequests running, WaitingQueue waiting, long nowNanos, boolean closing) {
            if (waiting.isEmpty()) {
                return Long.MAX_VALUE;
            }
            if (running.size() == 0 && waiting.first().batchNumber() == 0) {
                long due = Clock.later(waiting.first().sequence().submittedNanos(), timeout);
                if (waiting.size() < batchSize && nowNanos < due && !closing) {
                    return due;
                }
                begin(waiting);
            }
            for (Iterator<QueuedRequest> members = waiting.iterator(); members.hasNext(); ) {
                QueuedRequest request = members.next();
                if (request.batchNumber() != batches || running.isFull()) {
                    break;
                }
                if (running.tryAdmit(request) == Engine.Admission.ADMITTED) {
                    members.remove();
                }
            }
            return Long.MAX_VALUE;
        }

        private void begin(WaitingQueue waiting) {
            int number = batches + 1;
            batches = number;
            int size = 0;
            for (Iterator<QueuedRequest> members = waiting.iterator(); members.hasNext() && size < batchSize; size++) {
                members.next().batchNumber(number);
            }
        }
    }
}
