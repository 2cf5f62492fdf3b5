package io.github.loomtorch.engine;

import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.RequestLimits;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.time.Duration;
import java.util.Arrays;
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

    private final StepMonitor monitor = new StepMonitor();
    private final RunningBatch batch;
    private final StepPlanner planner;
    private final StepPipeline steps;

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
        this(lm, options, clock, callbacks, true, sampling -> new DecodedText(tokenizer, lm.endOfTextIds(), sampling));
        Objects.requireNonNull(tokenizer, "tokenizer");
        lm.wordStarts(new WordStarts(tokenizer, endOfTextIds).table(vocabSize));
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
        batch = new RunningBatch(maxBatchSize, lm.pageCount(), pageSize, sharing, lm.maxDecodeRows());
        planner = new StepPlanner(lm, options);
        steps = new StepPipeline(lm, batch, clock, monitor, new StepReporter(options.listener(), callbacks));
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
        RequestChecks.check(request, vocabSize, contextLength, hasTokenizer, options.limits());
        SamplingParams sampling = request.sampling();
        long now = clock.nanoTime();
        long seed = sampling.seed().orElseGet(options.seeds());
        SequenceOutput output = new SequenceOutput(request, seed, listener, texts.apply(sampling), endOfTextIds, now);
        return new Sequence(request, seed, output, pageSize, now);
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
            sequence.output().started(clock.nanoTime(), sequence.computed());
            steps.countReused(sequence.computed());
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
        if (!steps.isIdle()) {
            throw new IllegalStateException("no step must be in flight when a sequence is preempted");
        }
        batch.stop(sequences);
        long now = clock.nanoTime();
        sequences.forEach(sequence -> sequence.output().preempted(now));
        steps.countPreempted(sequences.size());
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
                steps.launch(plan);
            }
            steps.publish(); // the tokens of the step before, while the device computes
            steps.finishAllBut(plan.stream().anyMatch(Chunk::mayRunAhead) ? 1 : 0);
        });
    }

    /**
     * Takes the results of the steps in flight, without launching another.
     *
     * @throws StepFailedException if a step failed as a whole; nothing runs any more, and the cache is forgotten
     */
    public void finishSteps() throws StepFailedException {
        attempt(() -> {
            steps.publish();
            steps.finishAllBut(0);
        });
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
            steps.reportFailure();
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
        steps.abandon(cause);
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

    /** {@return how many sequences can run at once, &gt;= 1. Thread-safe} */
    public int maxBatchSize() {
        return maxBatchSize;
    }

    /** {@return the clock of all its times. Thread-safe} */
    public Clock clock() {
        return clock;
    }

    /** {@return what tells which call of the model the engine is in. Thread-safe} */
    public StepMonitor monitor() {
        return monitor;
    }

    /** {@return whether the process may end while this is open. Thread-safe} */
    public boolean hasDaemonThreads() {
        return options.daemonThreads();
    }

    /** {@return how long a call of the model may take after warm-up. Thread-safe} */
    public Duration stepTimeout() {
        return options.stepTimeout();
    }

    /** {@return what one request may ask for. Thread-safe} */
    public RequestLimits limits() {
        return options.limits();
    }

    /** {@return where the model runs, for example {@code cuda:0}. Thread-safe} */
    public String device() {
        return lm.device();
    }

    /** {@return whether nothing runs and nothing is in flight: a step would do nothing} */
    public boolean isIdle() {
        return batch.running().isEmpty() && steps.isIdle();
    }

    /** {@return whether no slot is free: nothing can be admitted} */
    public boolean isFull() {
        return batch.isFull();
    }

    /** {@return how many sequences run, in {@code [0, maxBatchSize]}} */
    public int runningSequences() {
        return batch.running().size();
    }

    /** {@return the tokens that the running sequences have at most in the end, together} */
    public long runningTokens() {
        return batch.maxTokens();
    }

    /** {@return the pages of the KV cache that are free, or cached and unused} */
    public int availablePages() {
        return batch.availablePages();
    }

    /** {@return how many steps did not fail} */
    public long finishedSteps() {
        return steps.finished();
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
