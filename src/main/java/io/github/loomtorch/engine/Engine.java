package io.github.loomtorch.engine;

import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.tokenizer.Tokenizer;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The sequences that run, their slots and pages, and the step that gives each of them a token. Who waits, and who runs
 * next, is the schedulers' business:
 *
 * <pre>{@code
 * while (!waiting.isEmpty() || !engine.isIdle()) {
 *     while (!waiting.isEmpty() && engine.tryAdmit(waiting.peek()) == Engine.Admission.ADMITTED) {
 *         waiting.remove();
 *     }
 *     engine.step().forEach(waiting::addFirst);
 * }
 * }</pre>
 *
 * <p>Confined to one thread at a time, but for {@link #newSequence} and the limits. It owns its model: {@link #close()}
 * closes it.
 */
public final class Engine implements AutoCloseable {
    /*
     * A step computes the one token that each decoding sequence sampled last, and, of those still in prefill, as many tokens as the
     * budget allows: iteration-level scheduling [1] with chunked prefill [2].
     *
     * The host runs one step ahead of a device that can work by itself: it launches a step while the one before is in flight, whose
     * tokens it does not know yet, and takes those while the device computes. So all that the host does is hidden behind the device's
     * work. That a sequence comes to its length is foreseen; if it ends for any other reason, the row that it has in flight is in vain.
     *
     * When the cache is full the least urgent running sequence loses its pages. It is computed again from its tokens later, and goes on
     * as though nothing had been: random numbers depend on the output index only. So that this is rare, an admission leaves what those
     * that run need for one page of tokens more each (a watermark, as in vLLM [3], that follows the load): whoever is admitted, nobody
     * loses its pages within as many steps as a page has tokens.
     *
     * [1] Orca: A Distributed Serving System for Transformer-Based Generative Models, https://www.usenix.org/conference/osdi22/presentation/yu
     * [2] SARATHI: Efficient LLM Inference by Piggybacking Decodes with Chunked Prefills, https://arxiv.org/abs/2308.16369
     * [3] Efficient Memory Management for Large Language Model Serving with PagedAttention, https://arxiv.org/abs/2309.06180
     */

    /** What became of a sequence that was to be admitted. */
    public enum Admission {
        /** It runs. */
        ADMITTED,
        /**
         * There is room, but a running sequence is about to compute tokens that both begin with; try again after the
         * next step.
         */
        DEFERRED,
        /** No slot is free, or too few pages are. */
        FULL
    }

    private static final Logger LOG = LoggerFactory.getLogger(Engine.class);

    /** What the model computes at once, and when it was asked to. */
    private record Step(List<Chunk> chunks, long startNanos) {}

    private final CausalLm lm;
    private final EngineOptions config;
    private final Function<SamplingParams, OutputText> texts;
    private final boolean hasTokenizer;
    private final int vocabSize;
    private final int contextLength;
    private final int[] endOfTextIds;
    private final int maxBatchSize;
    private final int pageSize;
    private final boolean runsAhead;
    private final boolean sharing;
    private final long ageingNanos;

    private final KvPages pages;
    private final int[] freeSlots;
    private int freeSlotCount;
    private final List<Sequence> running = new ArrayList<>(); // in order of admission
    private final List<Sequence> preempted = new ArrayList<>();
    private final List<Sequence> unpublished = new ArrayList<>();
    private final Deque<Step> inFlight = new ArrayDeque<>(); // two while a step is being taken, otherwise at most one
    private Step current = new Step(List.of(), 0); // launched or finished last
    private boolean pauses; // the next step launches nothing, so that none is in flight
    private long runningTokens;
    private int reusedTokens; // since the last report
    private int preemptions; // since the last report
    private int failedSteps;
    private RuntimeException lastFailure = new IllegalStateException("no step has failed");
    private boolean lost;
    private boolean closed;

    /**
     * An engine that turns tokens into text. Models may have more ids than the tokenizer, mostly to round their number
     * up; those have no text.
     *
     * @param lm owned by the engine from now on
     * @param tokenizer of the model
     * @param config how to run
     * @throws IllegalArgumentException if the tokenizer has fewer ids than the model, or the model too few pages
     */
    public Engine(CausalLm lm, Tokenizer tokenizer, EngineOptions config) {
        this(lm, config, true, sampling -> new DecodedText(tokenizer, lm.endOfTextIds(), sampling.stopStrings()));
    }

    /**
     * An engine of token ids only: all texts are empty, and stop strings are refused.
     *
     * @param lm owned by the engine from now on
     * @param config how to run
     * @throws IllegalArgumentException if the model has too few pages for one sequence
     */
    public Engine(CausalLm lm, EngineOptions config) {
        this(lm, config, false, sampling -> OutputText.NONE);
    }

    private Engine(
            CausalLm lm, EngineOptions config, boolean hasTokenizer, Function<SamplingParams, OutputText> texts) {
        this.lm = lm;
        this.config = config;
        this.hasTokenizer = hasTokenizer;
        this.texts = texts;
        vocabSize = lm.vocabSize();
        contextLength = lm.contextLength();
        endOfTextIds = lm.endOfTextIds();
        maxBatchSize = lm.maxBatchSize();
        pageSize = lm.pageSize();
        runsAhead = lm.runsAhead();
        ageingNanos = nanos(config.ageingInterval());
        sharing = config.prefixCaching() && !lm.deterministic(); // a shared beginning would move the cuts of a prompt
        pages = new KvPages(lm.pageCount(), pageSize, sharing);
        if (lm.pageCount() < pages.pagesFor(lm.contextLength())) {
            throw new IllegalArgumentException("pageCount must be >= " + pages.pagesFor(lm.contextLength())
                    + " to hold one sequence of contextLength (" + lm.contextLength() + "), got " + lm.pageCount());
        }
        freeSlots = new int[maxBatchSize];
        for (int slot = maxBatchSize - 1; slot >= 0; slot--) {
            freeSlots[freeSlotCount++] = slot;
        }
    }

    private static long nanos(Duration duration) {
        return duration.compareTo(GenerationRequest.NO_TIMEOUT) > 0 ? Long.MAX_VALUE : duration.toNanos();
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
     * @return the configuration's
     */
    public Clock clock() {
        return config.clock();
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
     * Checks a request and makes the sequence that will be its state, submitted now. Thread-safe.
     *
     * @param request what is asked for
     * @param listener told of its tokens and its end
     * @return a sequence that does not run yet
     * @throws IllegalArgumentException if the model cannot serve the request: an id out of the vocabulary, more tokens
     *     than the context holds, or stop strings where there is no tokenizer
     */
    public Sequence newSequence(GenerationRequest request, SequenceListener listener) {
        SamplingParams sampling = request.sampling();
        int[] prompt = request.promptTokenIds();
        for (int i = 0; i < prompt.length; i++) {
            requireId(prompt[i], "promptTokenIds[" + i + "]");
        }
        for (int id : sampling.stopTokenIds()) {
            requireId(id, "stopTokenIds");
        }
        for (int id : sampling.logitBias().keySet()) {
            requireId(id, "logitBias ids");
        }
        long total = (long) prompt.length + sampling.maxNewTokens();
        if (total > contextLength) {
            throw new IllegalArgumentException("promptTokenIds (" + prompt.length + ") + maxNewTokens ("
                    + sampling.maxNewTokens() + ") must be <= contextLength (" + contextLength + "), got " + total);
        }
        if (!hasTokenizer && !sampling.stopStrings().isEmpty()) {
            throw new IllegalArgumentException(
                    "stopStrings must be empty where there is no tokenizer, got " + sampling.stopStrings());
        }
        long seed = sampling.seed().orElseGet(config.seeds());
        return new Sequence(
                request,
                seed,
                listener,
                texts.apply(sampling),
                endOfTextIds,
                pageSize,
                config.clock().nanoTime(),
                ageingNanos);
    }

    private void requireId(int id, String name) {
        if (id >= vocabSize) {
            throw new IllegalArgumentException(name + " must be in [0, " + vocabSize + "), got " + id);
        }
    }

    /**
     * Makes a waiting sequence run from the next step on, if there is room: a slot, and pages for its tokens so far and
     * for a page of tokens more, of it and of each that runs, as far as they can come to have that many. If none runs
     * there always is. It takes over what the cache holds of its beginning.
     *
     * @param sequence that does not run
     * @return what became of it; unless it was admitted, nothing has changed
     * @throws IllegalStateException if the engine is closed
     */
    public Admission tryAdmit(Sequence sequence) {
        if (closed) {
            throw new IllegalStateException("engine is closed");
        }
        assert !sequence.isRunning() && !sequence.hasEnded();
        if (freeSlotCount == 0) {
            return Admission.FULL;
        }
        reusePrefix(sequence);
        if (isNextPageBeingComputed(sequence)) {
            sequence.releasePages(pages);
            return Admission.DEFERRED;
        }
        if (pages.available() < lackingPages(sequence) + lackingPages()) {
            sequence.releasePages(pages);
            return Admission.FULL;
        }
        sequence.start(freeSlots[--freeSlotCount], config.clock().nanoTime());
        running.add(sequence);
        runningTokens += sequence.maxLength();
        reusedTokens += sequence.computed();
        return Admission.ADMITTED;
    }

    /** Takes the pages of the longest cached beginning; not all tokens, as the last one has to yield logits. */
    private void reusePrefix(Sequence sequence) {
        for (int end = pageSize; end < sequence.length(); end += pageSize) {
            int page = pages.find(sequence.content(), sequence.tokens(), end - pageSize);
            if (page == KvPages.NONE) {
                return;
            }
            pages.retain(page);
            sequence.addSharedPage(page, pages.content(page), pageSize);
        }
    }

    /** Pages that those that run lack. */
    private int lackingPages() {
        int lacking = 0;
        for (Sequence sequence : running) {
            lacking += lackingPages(sequence);
        }
        return lacking;
    }

    /**
     * Pages that a sequence does not have for a page of tokens more; the last token that it can come to hold is never
     * an input.
     */
    private int lackingPages(Sequence sequence) {
        int tokens = Math.min(sequence.foreseenLength() + pageSize, sequence.maxLength() - 1);
        return pages.pagesFor(tokens) - sequence.pageCount();
    }

    private boolean isNextPageBeingComputed(Sequence sequence) {
        int end = (sequence.pageCount() + 1) * pageSize;
        if (!sharing || end >= sequence.length()) {
            return false;
        }
        for (Sequence other : running) {
            if (other.computed() < end
                    && end <= other.length()
                    && Arrays.equals(other.tokens(), 0, end, sequence.tokens(), 0, end)) {
                return true;
            }
        }
        return false;
    }

    /**
     * Makes room for a sequence that found none: running sequences of lower priority that have not waited themselves to
     * be the more urgent ones stop and lose their pages, the least urgent first, no more of them than it takes. If all
     * of them would not do, or it would only be deferred, none stops. While a step is in flight none stops either, as
     * it would lose a token: then the next step only finishes that one, and it is worth asking again.
     *
     * @param waiting to be admitted instead
     * @return the sequences that were stopped, to be admitted again later, now that there is room for the other; empty
     *     if none gives way
     */
    public List<Sequence> preemptFor(Sequence waiting) {
        List<Sequence> lessUrgent = running.stream()
                .filter(other ->
                        other.request().priority() < waiting.request().priority() && waiting.compareTo(other) < 0)
                .sorted(Comparator.reverseOrder())
                .toList();
        if (lessUrgent.isEmpty()) {
            return List.of();
        }
        reusePrefix(waiting);
        int victims = isNextPageBeingComputed(waiting) ? 0 : victimsFor(waiting, lessUrgent);
        waiting.releasePages(pages);
        if (victims > 0 && !inFlight.isEmpty()) {
            pauses = true;
            return List.of();
        }
        List<Sequence> stopped = lessUrgent.subList(0, victims);
        stopped.forEach(this::stop);
        preemptions += victims;
        running.removeIf(sequence -> !sequence.isRunning());
        return stopped;
    }

    /**
     * How many of them have to give way, the first ones first; 0 if all would not do. Several may share a page: only
     * the last frees it.
     */
    private int victimsFor(Sequence waiting, List<Sequence> lessUrgent) {
        int lacking = lackingPages(waiting) + lackingPages();
        int victims = 0;
        boolean fits = false;
        while (!fits && victims < lessUrgent.size()) {
            Sequence victim = lessUrgent.get(victims++);
            for (int i = 0; i < victim.pageCount(); i++) {
                pages.release(victim.page(i));
            }
            lacking -= lackingPages(victim);
            fits = pages.available() >= lacking;
        }
        for (Sequence victim : lessUrgent.subList(0, victims)) {
            for (int i = 0; i < victim.pageCount(); i++) {
                pages.retain(victim.page(i));
            }
        }
        return fits ? victims : 0;
    }

    /**
     * Launches the next step, which gives each running sequence its next token or computes a part of its prompt;
     * publishes the tokens that are known; and takes the results of the step, or of the one before if the model runs
     * ahead. If there is nothing to launch, it takes those of all that is in flight. A sequence that ends leaves at
     * once. If a step as a whole fails, so do all that were running, and what the cache holds is forgotten; the engine
     * stays usable. An {@link Error} fails those that were preempted too, and is thrown.
     *
     * @return the sequences that had to give up their pages, least urgent first, to be admitted again later; valid
     *     until the next step
     */
    public List<Sequence> step() {
        preempted.clear();
        try {
            int ahead = launchNext() && runsAhead ? 1 : 0;
            publish();
            while (inFlight.size() > ahead) {
                finishOldest();
            }
        } catch (RuntimeException e) {
            failedSteps++;
            lastFailure = e;
            abandon(e);
            lost = lm.isLost();
            failAll(e);
            report(0, 0, true);
            return preempted;
        } catch (Error e) {
            IllegalStateException cause = new IllegalStateException("step failed: " + e, e);
            failAll(cause);
            preempted.forEach(sequence -> fail(sequence, cause));
            throw e;
        }
        if (running.isEmpty()) {
            publish();
        }
        return preempted;
    }

    /** Launches a step of all that can be computed; false if there is nothing. */
    private boolean launchNext() {
        boolean finishesOnly = pauses && !inFlight.isEmpty();
        pauses = false;
        if (finishesOnly) {
            return false;
        }
        if (!growPages()) {
            publish(); // of each sequence, before it has one token more
            finishOldest();
            growPages();
        }
        List<Chunk> chunks = nextChunks();
        if (chunks.isEmpty()) {
            return false;
        }
        current = new Step(chunks, config.clock().nanoTime());
        lm.launch(chunks);
        inFlight.add(current);
        for (int i = 0; i < chunks.size(); i++) {
            chunks.get(i).sequence().launched(chunks.get(i).end());
        }
        return true;
    }

    private void finishOldest() {
        current = inFlight.remove();
        lm.await();
        long deviceNanos = lm.deviceNanos();
        failedSteps = 0;
        report(deviceNanos, update(), false);
    }

    /** Ends what is in flight, without results, because of a failure. */
    private void abandon(RuntimeException cause) {
        while (!inFlight.isEmpty()) {
            inFlight.remove();
            try {
                lm.await();
            } catch (RuntimeException | Error e) {
                if (e != cause && e != cause.getCause()) {
                    cause.addSuppressed(e);
                }
            }
        }
    }

    /**
     * Gives each sequence the pages of the tokens that it will have computed after the next step, if need be by
     * preemption; false if pages are lacking and nobody may be preempted because a step is in flight.
     */
    private boolean growPages() {
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            int wanted = pages.pagesFor(Math.min(sequence.foreseenLength(), sequence.maxLength() - 1));
            while (sequence.isRunning() && sequence.pageCount() < wanted) {
                if (pages.available() > 0) {
                    sequence.addPage(pages.allocate());
                } else if (!inFlight.isEmpty()) {
                    return false;
                } else {
                    Sequence victim = leastUrgent();
                    stop(victim);
                    preempted.add(victim);
                    preemptions++;
                }
            }
        }
        if (!preempted.isEmpty()) {
            running.removeIf(sequence -> !sequence.isRunning());
        }
        return true;
    }

    private Sequence leastUrgent() {
        Sequence least = null;
        for (Sequence sequence : running) {
            if (sequence.isRunning() && (least == null || sequence.compareTo(least) >= 0)) {
                least = sequence;
            }
        }
        return least;
    }

    private List<Chunk> nextChunks() {
        List<Chunk> chunks = new ArrayList<>();
        for (Sequence sequence : running) {
            if (wantedTokens(sequence) == 1) {
                chunks.add(new Chunk(sequence, sequence.launched(), 1));
            }
        }
        int most = config.maxPrefillTokensPerStep();
        if (!chunks.isEmpty() && !lm.deterministic()) {
            most = Math.min(most, config.maxPrefillTokensBesideDecode());
        }
        int budget = most;
        for (int i = 0; i < running.size() && budget > 0; i++) {
            Sequence sequence = running.get(i);
            int wanted = wantedTokens(sequence);
            if (wanted > 1) {
                int count = Math.min(wanted, budget);
                if (lm.deterministic() && count < wanted || count == 1 && budget < most) {
                    break; // it is cut the same way always; and chunks of one token come first
                }
                chunks.add(new Chunk(sequence, sequence.launched(), count));
                budget -= count;
            }
        }
        return chunks;
    }

    /**
     * How many of its tokens a sequence would have computed next; none if it is foreseen to end. On a deterministic
     * model that depends on nothing else: a prompt is cut at multiples of what a step may compute, and the output of a
     * sequence that was preempted is computed as it was before, token by token.
     */
    private int wantedTokens(Sequence sequence) {
        int length = sequence.foreseenLength();
        int launched = sequence.launched();
        if (length == sequence.maxLength()) {
            return 0;
        }
        if (!lm.deterministic()) {
            return length - launched;
        }
        int most = config.maxPrefillTokensPerStep();
        int prompt = sequence.promptLength() - launched;
        return prompt <= 0 ? 1 : Math.min(prompt, most - launched % most);
    }

    /** Takes the results of the current step; returns how many tokens were sampled. */
    private int update() {
        long now = config.clock().nanoTime();
        List<Chunk> chunks = current.chunks();
        int sampled = 0;
        for (int i = 0; i < chunks.size(); i++) {
            Chunk chunk = chunks.get(i);
            Sequence sequence = chunk.sequence();
            if (sequence.hasEnded()) {
                continue; // by the step before: this row was in vain
            }
            if (chunk.failure() != null) {
                sequence.fail(chunk.failure(), now);
                continue;
            }
            sequence.computed(chunk.end(), pages, pageSize);
            if (chunk.samples()) {
                assert chunk.tokenId() >= 0 && chunk.tokenId() < vocabSize;
                sequence.append(chunk.tokenId(), chunk.logprobs(), now);
                unpublished.add(sequence);
                sampled++;
            }
        }
        int kept = 0;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (!sequence.hasEnded()) {
                if (sequence.isCancelled()) {
                    sequence.finish(FinishReason.CANCELLED, now);
                } else if (sequence.deadlineNanos() <= now) {
                    sequence.finish(FinishReason.DEADLINE, now);
                } else {
                    running.set(kept++, sequence);
                    continue;
                }
            }
            stop(sequence);
            unpublished.add(sequence);
        }
        running.subList(kept, running.size()).clear();
        return sampled;
    }

    /** Takes slot and pages from a running sequence; the caller removes it from the list. */
    private void stop(Sequence sequence) {
        freeSlots[freeSlotCount++] = sequence.slot();
        sequence.stop();
        sequence.releasePages(pages);
        runningTokens -= sequence.maxLength();
    }

    private void publish() {
        for (int i = 0; i < unpublished.size(); i++) {
            unpublished.get(i).publish();
        }
        unpublished.clear();
    }

    /** Tells of the current step. */
    private void report(long deviceNanos, int sampled, boolean failed) {
        List<Chunk> chunks = current.chunks();
        int computed = 0;
        for (int i = 0; i < chunks.size(); i++) {
            computed += chunks.get(i).count();
        }
        StepStats stats = new StepStats(
                chunks.size(),
                computed,
                reusedTokens,
                sampled,
                running.size(),
                preemptions,
                pages.available(),
                lm.pageCount(),
                config.clock().nanoTime() - current.startNanos(),
                deviceNanos,
                failed);
        reusedTokens = 0;
        preemptions = 0;
        try {
            config.listener().onStep(stats);
        } catch (RuntimeException e) {
            LOG.warn("engine listener failed; the engine goes on", e);
        }
    }

    /**
     * Ends a sequence that does not run, with what it has.
     *
     * @param waiting that was never admitted, or was preempted
     * @param reason why it ends
     */
    public void finish(Sequence waiting, FinishReason reason) {
        assert !waiting.isRunning() && !waiting.hasEnded();
        waiting.finish(reason, config.clock().nanoTime());
        waiting.publish();
    }

    /**
     * Fails a sequence that does not run.
     *
     * @param waiting that was never admitted, or was preempted
     * @param cause why
     */
    public void fail(Sequence waiting, RuntimeException cause) {
        assert !waiting.isRunning() && !waiting.hasEnded();
        waiting.fail(cause, config.clock().nanoTime());
        waiting.publish();
    }

    /** Cancels all running sequences: they end when the results of the next step are taken. */
    public void cancelAll() {
        running.forEach(Sequence::cancel);
    }

    /**
     * Fails all running sequences at once, and forgets what the cache holds; what is in flight is waited for, and lost.
     *
     * @param cause why
     */
    public void failAll(RuntimeException cause) {
        abandon(cause);
        long now = config.clock().nanoTime();
        for (Sequence sequence : running) {
            if (!sequence.hasEnded()) {
                sequence.fail(cause, now);
            }
            stop(sequence);
            unpublished.add(sequence);
        }
        running.clear();
        pages.forgetAll();
        publish();
    }

    /**
     * Whether nothing runs and nothing is in flight.
     *
     * @return true if a step would do nothing
     */
    public boolean isIdle() {
        return running.isEmpty() && inFlight.isEmpty();
    }

    /**
     * Whether no slot is free.
     *
     * @return true if nothing can be admitted
     */
    public boolean isFull() {
        return freeSlotCount == 0;
    }

    /**
     * How many sequences run.
     *
     * @return in {@code [0, maxBatchSize]}
     */
    public int runningSequences() {
        return running.size();
    }

    /**
     * Most tokens that the running sequences can come to hold together.
     *
     * @return the sum of their {@link Sequence#maxLength()}
     */
    public long runningTokens() {
        return runningTokens;
    }

    /**
     * Pages of the KV cache that are free, or cached and in nobody's use.
     *
     * @return in {@code [0, pageCount]}
     */
    public int availablePages() {
        return pages.available();
    }

    /**
     * How many steps failed since the last that did not.
     *
     * @return &gt;= 0
     */
    public int failedSteps() {
        return failedSteps;
    }

    /**
     * Why the last failed step failed.
     *
     * @return what the model threw; an {@link IllegalStateException} if none has failed
     */
    public RuntimeException lastFailure() {
        return lastFailure;
    }

    /**
     * Whether the model's device is lost, as seen when the last step failed.
     *
     * @return true if no step can succeed any more; the cause is {@link #lastFailure()}
     */
    public boolean isLost() {
        return lost;
    }

    /** Fails what still runs and closes the model. Idempotent. */
    @Override
    public void close() {
        if (!closed) {
            closed = true;
            try {
                failAll(new IllegalStateException("engine is closed"));
            } finally {
                lm.close();
            }
        }
    }
}
