package io.github.loomtorch.engine;

import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.RequestLimits;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Executor;
import java.util.function.Function;

/**
 * Runs sequences on a model, step by step: a step gives each decoding sequence its next token and computes a part of
 * the prompts. The schedulers decide who runs; the engine has the mechanism:
 *
 * <pre>{@code
 * while (!waiting.isEmpty() || !engine.isIdle()) {
 *     while (!waiting.isEmpty() && engine.tryAdmit(waiting.peek()) == Engine.Admission.ADMITTED) {
 *         running.add(waiting.remove());
 *     }
 *     while (engine.lacksPages()) { // its pages are needed by the others
 *         engine.preempt(List.of(running.peekLast()));
 *         waiting.addFirst(running.removeLast());
 *     }
 *     engine.step();
 *     running.removeIf(Sequence::hasEnded);
 * }
 * }</pre>
 *
 * <p>Confined to one thread at a time, but for {@link #newSequence} and the limits. It owns its model: {@link #close()}
 * closes it.
 */
public final class Engine implements AutoCloseable {
    /*
     * Iteration-level scheduling [1] with chunked prefill [2]: the planner decides what a step computes, the batch who has room.
     *
     * With a model that runs ahead, the host stays one step ahead of the device: it launches a step while the one before is in flight,
     * whose tokens it does not know yet, and takes those while the device computes. All host work is hidden behind the device's. The
     * engine knows in advance when a sequence will reach its length limit. If a sequence ends for any other reason, the row already
     * launched for it is wasted.
     *
     * [1] Orca: A Distributed Serving System for Transformer-Based Generative Models, https://www.usenix.org/conference/osdi22/presentation/yu
     * [2] SARATHI: Efficient LLM Inference by Piggybacking Decodes with Chunked Prefills, https://arxiv.org/abs/2308.16369
     */

    /** Whether a sequence was admitted. */
    public enum Admission {
        /** It runs. */
        ADMITTED,
        /**
         * There is room, but a running sequence is about to compute a prefix of both; try again after the next step.
         */
        DEFERRED,
        /** No slot is free, or too few pages are. */
        FULL
    }

    /** A step that was launched. */
    private record Step(List<Chunk> chunks, long startNanos) {}

    private final CausalLm lm;
    private final EngineOptions options;
    private final Clock clock;
    private final Function<SamplingParams, OutputText> texts;
    private final boolean hasTokenizer;
    private final int vocabSize;
    private final int contextLength;
    private final int[] endOfTextIds;
    private final int maxBatchSize;
    private final int pageSize;

    private final StepReporter reporter;
    private final StepMonitor monitor = new StepMonitor();
    private final RunningBatch batch;
    private final StepPlanner planner;
    private final Deque<Step> inFlight = new ArrayDeque<>(); // two during step(), otherwise at most one
    private final Deque<Sequence> newTokens = new ArrayDeque<>(); // sequences with tokens to publish
    private final Deque<Sequence> newEnds = new ArrayDeque<>(); // sequences whose end is to be published

    private Step last = new Step(List.of(), 0); // launched or finished last
    private long finishedSteps;
    private int reusedTokens; // since the last report
    private int preemptions; // since the last report
    private boolean lost;
    private boolean closed;

    /**
     * An engine that turns tokens into text. Token ids that the tokenizer lacks have no text: most models with more ids
     * than their tokenizer only pad the vocabulary.
     *
     * @param lm owned by the engine from now on
     * @param tokenizer of the model
     * @param options how to form steps
     * @throws IllegalArgumentException if the model has too few pages for one sequence
     */
    public Engine(CausalLm lm, Tokenizer tokenizer, EngineOptions options) {
        this(lm, tokenizer, options, Clock.system(), CallbackExecutor.shared());
    }

    /**
     * An engine that turns tokens into text, with its surroundings.
     *
     * @param lm owned by the engine from now on
     * @param tokenizer of the model
     * @param options how to form steps
     * @param clock of all times and waiting
     * @param callbacks runs the calls of the options' listener
     * @throws IllegalArgumentException if the model has too few pages for one sequence
     */
    public Engine(CausalLm lm, Tokenizer tokenizer, EngineOptions options, Clock clock, Executor callbacks) {
        this(
                lm,
                options,
                clock,
                callbacks,
                true,
                sampling -> new DecodedText(tokenizer, lm.endOfTextIds(), sampling.stopStrings()));
        Objects.requireNonNull(tokenizer, "tokenizer");
    }

    /**
     * An engine of token ids only: all texts are empty, and stop strings are refused.
     *
     * @param lm owned by the engine from now on
     * @param options how to form steps
     * @throws IllegalArgumentException if the model has too few pages for one sequence
     */
    public Engine(CausalLm lm, EngineOptions options) {
        this(lm, options, Clock.system(), CallbackExecutor.shared());
    }

    /**
     * An engine of token ids only, with its surroundings.
     *
     * @param lm owned by the engine from now on
     * @param options how to form steps
     * @param clock of all times and waiting
     * @param callbacks runs the calls of the options' listener
     * @throws IllegalArgumentException if the model has too few pages for one sequence
     */
    public Engine(CausalLm lm, EngineOptions options, Clock clock, Executor callbacks) {
        this(lm, options, clock, callbacks, false, sampling -> OutputText.NONE);
    }

    private Engine(
            CausalLm lm,
            EngineOptions options,
            Clock clock,
            Executor callbacks,
            boolean hasTokenizer,
            Function<SamplingParams, OutputText> texts) {
        this.lm = Objects.requireNonNull(lm, "lm");
        this.options = Objects.requireNonNull(options, "options");
        this.clock = Objects.requireNonNull(clock, "clock");
        this.hasTokenizer = hasTokenizer;
        this.texts = texts;
        vocabSize = lm.vocabSize();
        contextLength = lm.contextLength();
        endOfTextIds = lm.endOfTextIds();
        maxBatchSize = lm.maxBatchSize();
        pageSize = lm.pageSize();
        int pagesOfOne = (contextLength + pageSize - 1) / pageSize;
        if (lm.pageCount() < pagesOfOne) {
            throw new IllegalArgumentException("pageCount must be >= " + pagesOfOne
                    + " to hold one sequence of contextLength (" + contextLength + "), got " + lm.pageCount());
        }
        // A deterministic model shares no prefix: sharing would change where prompts are cut.
        boolean sharing = options.prefixCaching() && !lm.deterministic();
        batch = new RunningBatch(maxBatchSize, lm.pageCount(), pageSize, sharing);
        planner = new StepPlanner(lm, options);
        reporter = new StepReporter(options.listener(), callbacks);
    }

    /**
     * Checks a request and makes its sequence, submitted now. Thread-safe.
     *
     * @param request what to generate
     * @param listener receives its tokens and its end
     * @return a sequence that does not run yet
     * @throws IllegalArgumentException if the model cannot serve the request: an id is out of the vocabulary, the
     *     tokens exceed the context, there are stop strings and no tokenizer, or a limit is exceeded
     */
    public Sequence newSequence(GenerationRequest request, SequenceListener listener) {
        check(request);
        SamplingParams sampling = request.sampling();
        long now = clock.nanoTime();
        long seed = sampling.seed().orElseGet(options.seeds());
        SequenceOutput output = new SequenceOutput(request, seed, listener, texts.apply(sampling), endOfTextIds, now);
        return new Sequence(request, seed, output, pageSize, now);
    }

    private void check(GenerationRequest request) {
        SamplingParams sampling = request.sampling();
        int[] prompt = request.promptTokenIds();
        for (int i = 0; i < prompt.length; i++) {
            if (prompt[i] >= vocabSize) {
                throw new IllegalArgumentException(
                        "promptTokenIds[" + i + "] must be in [0, " + vocabSize + "), got " + prompt[i]);
            }
        }
        sampling.checkTokenIds(vocabSize);
        checkLimits(sampling, options.limits());
        long total = (long) prompt.length + sampling.maxNewTokens();
        if (total > contextLength) {
            throw new IllegalArgumentException("promptTokenIds (" + prompt.length + ") + maxNewTokens ("
                    + sampling.maxNewTokens() + ") must be <= contextLength (" + contextLength + "), got " + total);
        }
        if (!hasTokenizer && !sampling.stopStrings().isEmpty()) {
            throw new IllegalArgumentException(
                    "stopStrings must be empty where there is no tokenizer, got " + sampling.stopStrings());
        }
    }

    private static void checkLimits(SamplingParams sampling, RequestLimits limits) {
        int stopStrings = sampling.stopStrings().size();
        if (stopStrings > limits.maxStopStrings()) {
            throw new IllegalArgumentException(
                    "stopStrings must hold at most " + limits.maxStopStrings() + " texts, got " + stopStrings);
        }
        for (String stopString : sampling.stopStrings()) {
            int bytes = stopString.getBytes(StandardCharsets.UTF_8).length;
            if (bytes > limits.maxStopStringBytes()) {
                throw new IllegalArgumentException(
                        "stopStrings must have at most " + limits.maxStopStringBytes() + " bytes each, got " + bytes);
            }
        }
        int biases = sampling.logitBias().size();
        if (biases > limits.maxLogitBiases()) {
            throw new IllegalArgumentException(
                    "logitBias must hold at most " + limits.maxLogitBiases() + " token ids, got " + biases);
        }
    }

    /**
     * Admits a waiting sequence: it runs from the next step on. This needs a free slot and enough pages for the
     * sequence's tokens plus one page of headroom for it and for every running sequence (less if a sequence cannot grow
     * that much). An idle engine always has room. Cached pages of the sequence's prefix are reused.
     *
     * @param sequence that does not run
     * @return whether it was admitted; if not, nothing has changed
     * @throws IllegalStateException if the engine is closed
     */
    public Admission tryAdmit(Sequence sequence) {
        if (closed) {
            throw new IllegalStateException("engine is closed");
        }
        Admission admission = batch.tryAdmit(sequence);
        if (admission == Admission.ADMITTED) {
            sequence.output().started(clock.nanoTime());
            reusedTokens += sequence.computed();
        }
        return admission;
    }

    /**
     * The running sequences that have to be preempted so that a waiting one can be admitted.
     *
     * @param waiting that found no room
     * @param candidates running sequences that may be preempted, in the order of preemption
     * @return the first candidates, as few as needed; empty if preempting all of them would not make room
     */
    public List<Sequence> preemptionsFor(Sequence waiting, List<Sequence> candidates) {
        return candidates.subList(0, batch.preemptionsFor(waiting, candidates).orElse(0));
    }

    /**
     * Takes slots and pages from running sequences. They can be admitted again, and then go on as if nothing had
     * happened. Their tokens must be known: no step may be in flight.
     *
     * @param sequences that run
     * @throws IllegalStateException if a step is in flight, see {@link #finishSteps()}
     */
    public void preempt(List<Sequence> sequences) {
        if (!inFlight.isEmpty()) {
            throw new IllegalStateException("no step must be in flight when a sequence is preempted");
        }
        batch.stop(sequences);
        preemptions += sequences.size();
    }

    /**
     * Whether the next step needs more pages than are available. Then finish the steps in flight, which may free some,
     * and preempt sequences until it does not.
     *
     * @return true if {@link #step()} cannot be called
     */
    public boolean lacksPages() {
        return batch.lacksPages();
    }

    /**
     * Computes the next step. A model that runs ahead leaves it in flight and takes the results of the step before; if
     * nothing is left to launch, the results of all steps are taken. A sequence that ends leaves at once.
     *
     * @throws StepFailedException if the step failed as a whole; nothing runs any more, and the cache is forgotten
     * @throws IllegalStateException if it {@link #lacksPages()}
     */
    public void step() throws StepFailedException {
        if (batch.lacksPages()) {
            throw new IllegalStateException("pages must suffice for the next step; preempt sequences first");
        }
        attempt(() -> {
            batch.growPages();
            List<Chunk> plan = planner.next(batch.running());
            if (!plan.isEmpty()) {
                launch(plan);
            }
            publish(); // the tokens of the step before, while the device computes
            finishAllBut(plan.stream().anyMatch(Chunk::mayRunAhead) ? 1 : 0);
        });
    }

    /**
     * Takes the results of the steps in flight, without launching another.
     *
     * @throws StepFailedException if a step failed as a whole; nothing runs any more, and the cache is forgotten
     */
    public void finishSteps() throws StepFailedException {
        attempt(() -> {
            publish();
            finishAllBut(0);
        });
    }

    private void launch(List<Chunk> plan) {
        last = new Step(plan, clock.nanoTime());
        monitor.call("launch", plan, () -> lm.launch(plan));
        inFlight.add(last);
        for (Chunk chunk : plan) {
            chunk.sequence().launched(chunk);
        }
    }

    private void finishAllBut(int stepsAhead) {
        while (inFlight.size() > stepsAhead) {
            last = inFlight.remove();
            monitor.call("await", last.chunks(), lm::await);
            long deviceNanos = lm.deviceNanos();
            int sampled = takeResults(last.chunks());
            finishedSteps++;
            report(deviceNanos, sampled, false);
        }
        if (batch.running().isEmpty()) {
            publish(); // no later step would
        }
    }

    /** Gives the sequences their tokens, and ends those that are done; returns how many tokens were sampled. */
    private int takeResults(List<Chunk> chunks) {
        long now = clock.nanoTime();
        int sampled = 0;
        for (Chunk chunk : chunks) {
            if (!chunk.sequence().hasEnded()) { // else its row is wasted
                sampled += takeResults(chunk, now);
            }
        }
        for (Sequence sequence : batch.running()) {
            if (!sequence.hasEnded() && sequence.isCancelled()) {
                sequence.output().finish(FinishReason.CANCELLED, now);
            } else if (!sequence.hasEnded() && sequence.deadlineNanos() <= now) {
                sequence.output().finish(FinishReason.DEADLINE, now);
            }
            if (sequence.hasEnded()) {
                newEnds.add(sequence);
            }
        }
        batch.removeEnded();
        return sampled;
    }

    private int takeResults(Chunk chunk, long now) {
        Sequence sequence = chunk.sequence();
        if (chunk.failure().isPresent()) {
            sequence.output().fail(chunk.failure().get(), now);
            return 0;
        }
        batch.computed(chunk);
        int before = sequence.length();
        for (WantedPosition wanted : chunk.wantedPositions()) {
            if (!sequence.hasEnded()) {
                assert wanted.tokenId() < vocabSize;
                sequence.append(wanted, now);
            }
        }
        if (sequence.length() > before) {
            newTokens.add(sequence);
        }
        return sequence.length() - before;
    }

    private void publish() {
        while (!newTokens.isEmpty()) {
            newTokens.remove().output().publishTokens();
        }
        while (!newEnds.isEmpty()) {
            newEnds.remove().output().publishEnd();
        }
    }

    /** Does work that may fail as a whole; then nothing runs any more. */
    private void attempt(Runnable work) throws StepFailedException {
        try {
            work.run();
        } catch (StepMonitor.AbandonedException e) {
            throw e; // nothing here is this thread's any more
        } catch (RuntimeException e) {
            stopAll(e);
            lost = lm.isLost();
            report(0, 0, true);
            throw new StepFailedException(e);
        } catch (Error e) {
            stopAll(e);
            throw e;
        }
    }

    /**
     * Stops all running sequences after a failure: what is in flight is waited for and lost, and the cache is
     * forgotten. The sequences are not ended: each can be failed, or admitted again.
     *
     * @param cause gets the failures of the steps in flight as suppressed exceptions
     */
    public void stopAll(Throwable cause) {
        while (!inFlight.isEmpty()) {
            Step lostStep = inFlight.remove();
            suppressFailure(() -> monitor.call("await", lostStep.chunks(), lm::await), cause);
        }
        batch.clear();
        suppressFailure(this::publish, cause);
    }

    private static void suppressFailure(Runnable action, Throwable cause) {
        try {
            action.run();
        } catch (StepMonitor.AbandonedException e) {
            throw e;
        } catch (RuntimeException | Error e) {
            if (e != cause && e != cause.getCause()) {
                cause.addSuppressed(e);
            }
        }
    }

    private void report(long deviceNanos, int sampled, boolean failed) {
        int computed = 0;
        for (Chunk chunk : last.chunks()) {
            computed += chunk.count();
        }
        StepStats stats = new StepStats(
                last.chunks().size(),
                computed,
                reusedTokens,
                sampled,
                batch.running().size(),
                preemptions,
                batch.availablePages(),
                lm.pageCount(),
                clock.nanoTime() - last.startNanos(),
                deviceNanos,
                failed,
                0);
        reusedTokens = 0;
        preemptions = 0;
        reporter.report(stats);
    }

    /**
     * Completes a sequence that does not run, with the tokens it has.
     *
     * @param sequence that was never admitted, or was stopped
     * @param reason why it ends
     */
    public void finish(Sequence sequence, FinishReason reason) {
        assert !sequence.isRunning();
        sequence.output().finish(reason, clock.nanoTime());
        sequence.output().publishEnd();
    }

    /**
     * Fails a sequence that does not run.
     *
     * @param sequence that was never admitted, or was stopped
     * @param cause why
     */
    public void fail(Sequence sequence, RuntimeException cause) {
        assert !sequence.isRunning();
        sequence.output().fail(cause, clock.nanoTime());
        sequence.output().publishEnd();
    }

    /** Stops what runs and closes the model. Idempotent. */
    @Override
    public void close() {
        if (!closed) {
            closed = true;
            try {
                stopAll(new IllegalStateException("engine is closed"));
            } finally {
                lm.close();
            }
        }
    }

    /**
     * Whether a sequence made by one of the two engines can run in the other. Thread-safe.
     *
     * @param other engine
     * @return true if vocabulary, context length, end-of-text tokens and page size are the same
     */
    public boolean isInterchangeableWith(Engine other) {
        return vocabSize == other.vocabSize
                && contextLength == other.contextLength
                && Arrays.equals(endOfTextIds, other.endOfTextIds)
                && pageSize == other.pageSize;
    }

    /**
     * Most sequences that can run at once. Thread-safe.
     *
     * @return &gt;= 1
     */
    public int maxBatchSize() {
        return maxBatchSize;
    }

    /**
     * The clock of all its times. Thread-safe.
     *
     * @return the clock it was made with
     */
    public Clock clock() {
        return clock;
    }

    /**
     * Which call of the model the engine is in. Thread-safe.
     *
     * @return always the same
     */
    public StepMonitor monitor() {
        return monitor;
    }

    /**
     * How long a call of the model may take after warm-up. Thread-safe.
     *
     * @return the options' limit
     */
    public Duration stepTimeout() {
        return options.stepTimeout();
    }

    /**
     * What one request may ask for. Thread-safe.
     *
     * @return the options' limits
     */
    public RequestLimits limits() {
        return options.limits();
    }

    /**
     * Where the model runs.
     *
     * @return for example {@code cuda:0}
     */
    public String device() {
        return lm.device();
    }

    /**
     * Whether nothing runs and nothing is in flight.
     *
     * @return true if a step would do nothing
     */
    public boolean isIdle() {
        return batch.running().isEmpty() && inFlight.isEmpty();
    }

    /**
     * Whether no slot is free.
     *
     * @return true if nothing can be admitted
     */
    public boolean isFull() {
        return batch.isFull();
    }

    /**
     * How many sequences run.
     *
     * @return in {@code [0, maxBatchSize]}
     */
    public int runningSequences() {
        return batch.running().size();
    }

    /**
     * Tokens that the running sequences have at most in the end, together.
     *
     * @return the sum of their {@link Sequence#maxLength()}
     */
    public long runningTokens() {
        return batch.maxTokens();
    }

    /**
     * Pages of the KV cache that are free, or cached and unused.
     *
     * @return in {@code [0, pageCount]}
     */
    public int availablePages() {
        return batch.availablePages();
    }

    /**
     * How many steps did not fail.
     *
     * @return &gt;= 0
     */
    public long finishedSteps() {
        return finishedSteps;
    }

    /**
     * Whether the model's device is lost, as seen when the last step failed.
     *
     * @return true if no step can succeed any more
     */
    public boolean isLost() {
        return lost;
    }
}
