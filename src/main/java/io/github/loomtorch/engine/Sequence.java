package io.github.loomtorch.engine;

import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.request.SamplingParams;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * One request's tokens, its pages of the KV cache and its slot in the batch; its {@link SequenceOutput} has the text.
 * Confined to the engine thread, but for {@link #cancel()} and {@link #isCancelled()}.
 */
public final class Sequence {
    private static final int NO_SLOT = -1;

    private final GenerationRequest request;
    private final long seed;
    private final long submittedNanos;
    private final long deadlineNanos;
    private final SequenceOutput output;
    private volatile boolean cancelled;

    private int[] tokens; // prompt, then output; the prompt alone before the first admission
    private final int promptLength;
    private final int prefixLength;
    private final int maxLength;
    private int length;

    private int slot = NO_SLOT;
    private int[] pages = {}; // empty before the first admission
    private final int maxPages;
    private int pageCount;
    private int launched; // tokens that steps were launched for
    private boolean awaitsResult; // of the chunk launched last, before the next can be launched
    private final @Nullable PromptLookup lookup; // null unless it speculates
    private final boolean bansByTokens; // the next token's bans depend on the last ones
    private int candidates; // tokens behind the last that the next chunk verifies
    private int computed; // tokens whose steps are finished: they are in the cache
    private int sharedPages; // pages that are full and known to KvPages
    private long content = KvPages.ROOT; // of the last shared page

    Sequence(GenerationRequest request, long seed, SequenceOutput output, int pageSize, long submittedNanos) {
        this.request = request;
        this.seed = seed;
        this.output = output;
        this.submittedNanos = submittedNanos;
        tokens = request.promptTokenIds();
        promptLength = tokens.length;
        length = promptLength;
        prefixLength = request.sampling()
                .promptScoring()
                .map(PromptScoring::firstToken)
                .orElse(promptLength);
        lookup = request.sampling().speculation().map(PromptLookup::new).orElse(null);
        bansByTokens = TokenBans.dependOnTokens(request.sampling());
        maxLength = promptLength + request.sampling().maxNewTokens();
        maxPages = (maxLength + pageSize - 1) / pageSize;
        deadlineNanos = request.timeout()
                .map(timeout -> Clock.later(submittedNanos, timeout))
                .orElse(Long.MAX_VALUE);
    }

    /**
     * The request that this sequence serves.
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
     * @return the request's seed, or the one drawn for it
     */
    public long seed() {
        return seed;
    }

    /**
     * Prompt and output tokens; the first {@link #length()} are valid. Behind them stand the candidates that a chunk in
     * flight verifies.
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
        return promptLength;
    }

    /**
     * Tokens that the sequence has at most in the end: the prompt and {@code maxNewTokens}. The last of them is never
     * computed, as nothing is wanted after it.
     *
     * @return &gt;= 2
     */
    public int maxLength() {
        return maxLength;
    }

    /**
     * Ids that must not be drawn after so many tokens, beside those that {@link #sampling} bans everywhere. They are
     * the same for all tokens that one chunk samples.
     *
     * @param tokens before the one to be drawn, in {@code [promptLength, maxLength)}; all are known, but for the last
     *     of a pending chunk
     * @return ids, in no order
     */
    public int[] bannedIds(int tokens) {
        return TokenBans.at(sampling(), output.endingIds(), this.tokens, promptLength, tokens);
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
     * Asks for its end. The engine ends a running sequence when it takes the results of a step; a scheduler ends a
     * waiting one. Thread-safe.
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
     * Whether it has completed or failed.
     *
     * @return true if it gets no more tokens
     */
    public boolean hasEnded() {
        return output.hasEnded();
    }

    // The engine calls what follows.

    SequenceOutput output() {
        return output;
    }

    /** Allocates what an admission needs: a request that waits costs no more memory than its prompt. */
    void prepare() {
        if (pages.length == 0) {
            tokens = Arrays.copyOf(tokens, maxLength);
            pages = new int[maxPages];
        }
    }

    int launched() {
        return launched;
    }

    /** A step was launched with this chunk. */
    void launched(Chunk chunk) {
        launched = chunk.end();
        awaitsResult = !chunk.mayRunAhead();
    }

    /** Whether the tokens before the one to be sampled have to be known, because some may complete a bad word. */
    boolean bansByTokens() {
        return bansByTokens;
    }

    /** Whether the next token is sampled together with candidates. */
    boolean speculates() {
        return lookup != null && lookup.isOn(length);
    }

    /** Finds candidates for the next chunk if that only decodes; returns how many. */
    int propose() {
        if (lookup == null || awaitsResult) {
            return 0; // those in flight stay
        }
        boolean decodes = launched == length - 1 && speculates();
        candidates = decodes ? sameBans(lookup.propose(tokens, length, maxComputed() - length)) : 0;
        return candidates;
    }

    /** How many of the candidates can be sampled after under the bans of the next token. */
    private int sameBans(int proposed) {
        int[] bans = bannedIds(length);
        int count = 0;
        while (count < proposed && Arrays.equals(bans, bannedIds(length + count + 1))) {
            count++;
        }
        return count;
    }

    /** Keeps no more candidates than that. */
    void limitCandidates(int max) {
        candidates = Math.min(candidates, max);
    }

    /** Tokens behind the last that the next chunk verifies, or the one in flight. */
    int candidates() {
        return candidates;
    }

    /**
     * The results of a chunk are taken, and the sequence had so many tokens before: what was computed for candidates
     * that were not accepted is computed again.
     */
    void resultsTaken(Chunk chunk, int lengthBefore) {
        if (chunk.mayRunAhead()) {
            return; // another may be in flight
        }
        awaitsResult = false;
        int sampled = length - lengthBefore;
        if (lookup != null && sampled > 0) {
            lookup.verified(sampled - 1, length);
            launched = length - 1;
            candidates = 0;
        }
    }

    /** Tokens that are computed in chunks of several: those of the prompt up to the first that is scored. */
    int prefixLength() {
        return prefixLength;
    }

    /** Position before the first prompt token whose score is wanted and not known yet; the prompt's last if none is. */
    int firstToScore() {
        return Math.min(prefixLength() - 1 + output.promptScores(), promptLength - 1);
    }

    /** The first position whose logits are wanted next; those before need not be computed if they are in the cache. */
    int firstWanted() {
        return firstToScore() < promptLength - 1 ? firstToScore() : length - 1;
    }

    /** Whether the results in flight must be known before the next chunk. */
    boolean awaitsResult() {
        return awaitsResult;
    }

    /** Tokens that are computed in the end at most. */
    int maxComputed() {
        return maxLength - 1;
    }

    /** Its length after the steps in flight: if they compute all tokens so far, the last of them samples the next. */
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

    /** The tokens before {@code end} are in the cache now: other sequences may use the pages that became full. */
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
        awaitsResult = false;
        candidates = 0;
        computed = 0;
        sharedPages = 0;
        content = KvPages.ROOT;
    }

    boolean isRunning() {
        return slot != NO_SLOT;
    }

    void start(int freeSlot) {
        slot = freeSlot;
    }

    void stop() {
        slot = NO_SLOT;
    }

    /**
     * Takes the score of a prompt token, or adds a sampled token; either may end the sequence. Returns whether the
     * chunk's next wanted position counts: after a sampled token only if it was the candidate there.
     */
    boolean take(WantedPosition wanted, long now) {
        if (wanted.isScored()) {
            output.scored(wanted.score(), now);
            return !hasEnded();
        }
        boolean wasCandidate = tokens[length] == wanted.tokenId();
        tokens[length++] = wanted.tokenId();
        output.append(wanted.tokenId(), wanted.logprobs(), now);
        return wasCandidate && !hasEnded();
    }
}
