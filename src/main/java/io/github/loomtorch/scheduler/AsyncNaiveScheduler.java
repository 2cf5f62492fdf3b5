package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.TokenListener;
import java.io.IOException;
import java.time.Duration;
import java.util.Comparator;
import java.util.Iterator;
import java.util.concurrent.ThreadFactory;

/**
 * Static batching on a thread of its own, for callers on virtual threads: a batch runs when it is full, or when the
 * timeout has passed since its first request was submitted, and the next one begins when it has ended.
 *
 * <pre>{@code
 * EngineFactory factory = () -> new Engine(loadModel(), tokenizer, EngineOptions.defaults());
 * try (AsyncNaiveScheduler scheduler = new AsyncNaiveScheduler(factory, 8, Duration.ofMillis(50))) {
 *     Completion completion = scheduler.submit(request).join();
 * }
 * }</pre>
 *
 * <p>Requests run in order of arrival; priorities are ignored. A batch that fails fails its own generations only.
 * Thread-safe.
 */
public final class AsyncNaiveScheduler implements Scheduler {
    private final StaticBatching batching;
    private final EngineThread thread;

    /**
     * Starts a platform thread named {@code engine} and waits until it has made the engine.
     *
     * @param factory makes the engine, which the scheduler then owns
     * @param batchSize in {@code [1, engine.maxBatchSize()]}
     * @param timeout &gt;= 0; longest that a request waits for others
     * @throws IllegalArgumentException if the batch size or the timeout is out of range
     * @throws IOException if the factory throws it; its unchecked exceptions pass too
     */
    public AsyncNaiveScheduler(EngineFactory factory, int batchSize, Duration timeout) throws IOException {
        this(factory, batchSize, timeout, EngineThread.defaultThreads());
    }

    /**
     * Starts a thread and waits until it has made the engine.
     *
     * @param factory makes the engine, which the scheduler then owns
     * @param batchSize in {@code [1, engine.maxBatchSize()]}
     * @param timeout &gt;= 0; longest that a request waits for others
     * @param threads makes the engine's thread; a platform thread, as native calls pin virtual ones
     * @throws IllegalArgumentException if the batch size or the timeout is out of range
     * @throws IOException if the factory throws it; its unchecked exceptions pass too
     */
    public AsyncNaiveScheduler(EngineFactory factory, int batchSize, Duration timeout, ThreadFactory threads)
            throws IOException {
        if (timeout.isNegative()) {
            throw new IllegalArgumentException("timeout must be >= 0, got " + timeout);
        }
        boolean isFinite = timeout.compareTo(GenerationRequest.NO_TIMEOUT) < 0;
        batching = new StaticBatching(batchSize, isFinite ? timeout.toNanos() : Long.MAX_VALUE);
        EngineFactory checked = () -> {
            Engine engine = factory.create();
            try {
                NaiveScheduler.requireBatchSize(batchSize, engine);
                return engine;
            } catch (IllegalArgumentException e) {
                engine.close();
                throw e;
            }
        };
        thread = new EngineThread(
                checked, threads, QueueOptions.unbounded(), Comparator.comparingLong(Sequence::arrival), batching);
    }

    @Override
    public Generation submit(GenerationRequest request, TokenListener listener) {
        return thread.submit(request, listener);
    }

    @Override
    public int queuedRequests() {
        return thread.queuedRequests();
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

    /** Begins a batch only when none runs; what belongs to the batch that runs joins it as there is room. */
    private static final class StaticBatching implements AdmissionRule {
        private final int batchSize;
        private final long timeoutNanos;
        private volatile int batches; // written by the engine thread only

        StaticBatching(int batchSize, long timeoutNanos) {
            this.batchSize = batchSize;
            this.timeoutNanos = timeoutNanos;
        }

        @Override
        public long admit(Engine engine, WaitingQueue waiting, long nowNanos, boolean closing) {
            if (waiting.isEmpty()) {
                return Long.MAX_VALUE;
            }
            if (engine.runningSequences() == 0 && waiting.first().batchNumber() == 0) {
                long submitted = waiting.first().submittedNanos();
                long due = submitted > Long.MAX_VALUE - timeoutNanos ? Long.MAX_VALUE : submitted + timeoutNanos;
                if (waiting.size() < batchSize && nowNanos < due && !closing) {
                    return due;
                }
                begin(waiting);
            }
            for (Iterator<Sequence> members = waiting.iterator(); members.hasNext(); ) {
                Sequence sequence = members.next();
                if (sequence.batchNumber() != batches || engine.isFull()) {
                    break;
                }
                if (engine.tryAdmit(sequence) == Engine.Admission.ADMITTED) {
                    members.remove();
                }
            }
            return Long.MAX_VALUE;
        }

        private void begin(WaitingQueue waiting) {
            int number = batches + 1;
            batches = number;
            int size = 0;
            for (Iterator<Sequence> members = waiting.iterator(); members.hasNext() && size < batchSize; size++) {
                members.next().batchNumber(number);
            }
        }
    }
}
