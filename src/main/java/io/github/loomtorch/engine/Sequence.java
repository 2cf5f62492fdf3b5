package io.github.loomtorch.engine;

import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.RequestTimings;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.request.TokenLogprobs;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * One request's state: its tokens so far, its pages of the KV cache and its place in the batch. Confined to the engine
 * thread, but for {@link #cancel()}.
 */
public final class Sequence implements Comparable<Sequence> {
    private static final int NO_SLOT = -1;

    private final GenerationRequest request;
    private final long seed;
    private final SequenceListener listener;
    private final OutputText text;
    private final int[] stopIds; // ascending
    private final long submittedNanos;
    private final long deadlineNanos;
    private final double urgency;
    private volatile boolean cancelled;
    private long arrival;
    private int batchNumber;

    private final int[] tokens;
    private int length;
    private final List<TokenLogprobs> logprobs;

    private int slot = NO_SLOT;
    private final int[] pages;
    private int pageCount;
    private int launched; // tokens that steps were launched for
    private int computed; // of them, those whose steps are finished: they are in the cache
    private int sharedPages; // of them, full and known to KvPages
    private long content = KvPages.ROOT; // of the last of those

    private boolean started; // once, even if it waits again after a preemption
    private long startedNanos;
    private long firstTokenNanos;
    private long finishedNanos;
    private FinishReason finishReason; // null until it ends
    private RuntimeException failure; // with ERROR only
    private boolean tokenUnpublished;
    private boolean endUnpublished;

    Sequence(
            GenerationRequest request,
            long seed,
            SequenceListener listener,
            OutputText text,
            int[] endOfTextIds,
            int pageSize,
            long submittedNanos,
            long ageingNanos) {
        this.request = request;
        this.seed = seed;
        this.listener = listener;
        this.text = text;
        this.submittedNanos = submittedNanos;
        SamplingParams sampling = request.sampling();
        length = request.promptTokenIds().length;
        tokens = Arrays.copyOf(request.promptTokenIds(), length + sampling.maxNewTokens());
        pages = new int[(tokens.length + pageSize - 1) / pageSize];
        logprobs = sampling.topLogprobs() < 0 ? List.of() : new ArrayList<>();
        stopIds = IntStream.concat(
                        sampling.stopTokenIds().stream().mapToInt(Integer::intValue),
                        Arrays.stream(sampling.ignoreEos() ? new int[0] : endOfTextIds))
                .sorted()
                .toArray();
        long timeoutNanos = request.timeout().toNanos();
        deadlineNanos = submittedNanos > Long.MAX_VALUE - timeoutNanos ? Long.MAX_VALUE : submittedNanos + timeoutNanos;
        urgency = submittedNanos - (double) request.priority() * ageingNanos;
    }

    /**
     * What was asked for.
     *
     * @return the request
     */
    public GenerationRequest request() {
        return request;
    }

    /**
     * How to sample.
     *
     * @return the request's parameters
     */
    public SamplingParams sampling() {
        return request.sampling();
    }

    /**
     * The seed of this request's random numbers.
     *
     * @return the one that was given, or the one drawn
     */
    public long seed() {
        return seed;
    }

    /**
     * Prompt and output tokens; the first {@link #length()} are valid.
     *
     * @return shared, do not modify
     */
    public int[] tokens() {
        return tokens;
    }

    /**
     * Tokens so far, prompt and output.
     *
     * @return &gt;= 1
     */
    public int length() {
        return length;
    }

    /**
     * Tokens of the prompt.
     *
     * @return &gt;= 1
     */
    public int promptLength() {
        return request.promptTokenIds().length;
    }

    /**
     * Most tokens that it can come to hold: the prompt and {@code maxNewTokens}.
     *
     * @return &gt;= 2
     */
    public int maxLength() {
        return tokens.length;
    }

    /**
     * This sequence's place in the batch while it runs; no other running sequence has it.
     *
     * @return in {@code [0, maxBatchSize)}
     */
    public int slot() {
        assert slot != NO_SLOT;
        return slot;
    }

    /**
     * A page of the KV cache that belongs to this sequence while it runs.
     *
     * @param index page {@code i} holds the tokens {@code [i * pageSize, (i + 1) * pageSize)}
     * @return in {@code [0, pageCount)}
     */
    public int page(int index) {
        assert index < pageCount;
        return pages[index];
    }

    /**
     * When it was submitted.
     *
     * @return nanoseconds of the engine's clock
     */
    public long submittedNanos() {
        return submittedNanos;
    }

    /**
     * When it must have ended.
     *
     * @return nanoseconds of the engine's clock; {@link Long#MAX_VALUE} if there is no deadline
     */
    public long deadlineNanos() {
        return deadlineNanos;
    }

    /**
     * Asks for its end; a running sequence ends when results of a step are taken, a waiting one is its scheduler's
     * business. Thread-safe.
     */
    public void cancel() {
        cancelled = true;
    }

    /**
     * Whether its end was asked for. Thread-safe.
     *
     * @return true after {@link #cancel()}
     */
    public boolean isCancelled() {
        return cancelled;
    }

    /**
     * The batch that it belongs to.
     *
     * @return from 1; 0 before {@link #batchNumber(int)}
     */
    public int batchNumber() {
        return batchNumber;
    }

    /**
     * Makes it part of a batch.
     *
     * @param batchNumber to be reported in the {@link Completion}
     */
    public void batchNumber(int batchNumber) {
        this.batchNumber = batchNumber;
    }

    /**
     * Its place in a scheduler's order of arrival.
     *
     * @return as given to {@link #arrival(long)}
     */
    public long arrival() {
        return arrival;
    }

    /**
     * Called by a scheduler as it takes the sequence.
     *
     * @param arrival of no other sequence in that scheduler
     */
    public void arrival(long arrival) {
        this.arrival = arrival;
    }

    /**
     * Orders by urgency: a level of priority is worth one {@link EngineOptions#ageingInterval()} of waiting, so that
     * whoever waits long enough comes before any newcomer; in other words, a request counts as submitted that much
     * earlier per level. Equals are ordered by arrival.
     *
     * @param other of the same scheduler
     * @return negative if this is the more urgent
     */
    @Override
    public int compareTo(Sequence other) {
        int byUrgency = Double.compare(urgency, other.urgency);
        return byUrgency != 0 ? byUrgency : Long.compare(arrival, other.arrival);
    }

    // What follows is the engine's.

    int launched() {
        return launched;
    }

    /** A step was launched that computes the tokens before {@code end}. */
    void launched(int end) {
        launched = end;
    }

    /**
     * Its length once the step in flight is finished: if all tokens so far were launched, that step samples the next.
     */
    int foreseenLength() {
        return launched == length ? length + 1 : length;
    }

    int computed() {
        return computed;
    }

    int pageCount() {
        return pageCount;
    }

    void addPage(int page) {
        pages[pageCount++] = page;
    }

    /** Adds a page whose tokens another sequence computed. */
    void addSharedPage(int page, long pageContent, int pageSize) {
        addPage(page);
        content = pageContent;
        sharedPages = pageCount;
        computed = pageCount * pageSize;
        launched = computed;
    }

    /** Content of the last shared page. */
    long content() {
        return content;
    }

    /** The tokens before {@code end} are in the cache now; lets others use the pages that became full. */
    void computed(int end, KvPages kvPages, int pageSize) {
        computed = end;
        while ((sharedPages + 1) * pageSize <= end) {
            content = kvPages.share(pages[sharedPages], content, tokens, sharedPages * pageSize);
            sharedPages++;
        }
    }

    void releasePages(KvPages kvPages) {
        while (pageCount > 0) {
            kvPages.release(pages[--pageCount]);
        }
        launched = 0;
        computed = 0;
        sharedPages = 0;
        content = KvPages.ROOT;
    }

    boolean isRunning() {
        return slot != NO_SLOT;
    }

    void start(int freeSlot, long now) {
        slot = freeSlot;
        if (!started) {
            started = true;
            startedNanos = now;
        }
    }

    void stop() {
        slot = NO_SLOT;
    }

    boolean hasEnded() {
        return finishReason != null;
    }

    /** Adds a sampled token and sees whether it is the last. */
    void append(int id, TokenLogprobs tokenLogprobs, long now) {
        if (length == promptLength()) {
            firstTokenNanos = now;
        }
        tokens[length++] = id;
        tokenUnpublished = true;
        if (sampling().topLogprobs() >= 0) {
            logprobs.add(tokenLogprobs);
        }
        boolean atStopString = hasStopStrings() && text.append(id);
        if (atStopString || Arrays.binarySearch(stopIds, id) >= 0) {
            finish(FinishReason.STOP, now);
        } else if (length == tokens.length) {
            finish(FinishReason.LENGTH, now);
        }
    }

    void finish(FinishReason reason, long now) {
        finishReason = reason;
        finishedNanos = now;
        endUnpublished = true;
    }

    void fail(RuntimeException cause, long now) {
        failure = cause;
        finish(FinishReason.ERROR, now);
    }

    /** Tells the listener what is new. Text without stop strings is decoded here, while the device works. */
    void publish() {
        if (tokenUnpublished) {
            tokenUnpublished = false;
            int id = tokens[length - 1];
            if (!hasStopStrings()) {
                text.append(id);
            }
            listener.onToken(new TokenEvent(length - promptLength() - 1, id, text.take(hasEnded())));
        }
        if (endUnpublished) {
            endUnpublished = false;
            if (finishReason == FinishReason.ERROR) {
                listener.onFailed(failure);
            } else {
                listener.onFinished(completion());
            }
        }
    }

    private boolean hasStopStrings() {
        return !sampling().stopStrings().isEmpty();
    }

    private Completion completion() {
        text.take(true); // what is still held back, if it did not end with a token
        int[] output = Arrays.copyOfRange(tokens, promptLength(), length);
        RequestTimings timings = new RequestTimings(
                submittedNanos,
                started ? startedNanos : finishedNanos,
                output.length > 0 ? firstTokenNanos : finishedNanos,
                finishedNanos);
        return new Completion(
                request.promptTokenIds(), output, text.taken(), finishReason, seed, logprobs, timings, batchNumber);
    }
}
