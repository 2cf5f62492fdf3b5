package io.github.loomtorch.engine;

import io.github.loomtorch.engine.Engine.Admission;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.OptionalInt;

/**
 * The sequences that run, their slots and their pages: who has room, and what is freed. Bookkeeping only, it knows no
 * model and no time. Confined to the engine thread.
 */
final class RunningBatch {
    /*
     * When the cache is full, a sequence has to give up its pages. Its tokens are computed again later, and it goes on as if nothing had
     * happened: random numbers depend on the output index only. To make this rare, an admission leaves room for one page of new tokens
     * for every running sequence (a watermark, as in vLLM [1], that follows the load): after an admission nobody loses pages within as
     * many steps as a page has tokens.
     *
     * [1] Efficient Memory Management for Large Language Model Serving with PagedAttention, https://arxiv.org/abs/2309.06180
     */

    private final KvPages pages;
    private final int pageSize;
    private final boolean sharing;
    private final int maxDecodeRows; // last tokens and candidates of a step
    private final int[] freeSlots;
    private int freeSlotCount;
    private final List<Sequence> running = new ArrayList<>(); // in order of admission
    private long maxTokens;

    RunningBatch(int maxBatchSize, int pageCount, int pageSize, boolean sharing, int maxDecodeRows) {
        this.maxDecodeRows = maxDecodeRows;
        this.pageSize = pageSize;
        this.sharing = sharing;
        pages = new KvPages(pageCount, pageSize, sharing);
        freeSlots = new int[maxBatchSize];
        for (int slot = maxBatchSize - 1; slot >= 0; slot--) {
            freeSlots[freeSlotCount++] = slot;
        }
    }

    /** In order of admission; not to be modified. */
    List<Sequence> running() {
        return Collections.unmodifiableList(running);
    }

    boolean isFull() {
        return freeSlotCount == 0;
    }

    /** Tokens that the running sequences have at most in the end, together. */
    long maxTokens() {
        return maxTokens;
    }

    /** Pages that are free, or cached and unused. */
    int availablePages() {
        return pages.available();
    }

    /** Admits a sequence if there is room; unless it is admitted nothing changes. */
    Admission tryAdmit(Sequence sequence) {
        assert !sequence.isRunning() && !sequence.hasEnded();
        if (freeSlotCount == 0) {
            return Admission.FULL;
        }
        sequence.prepare();
        reusePrefix(sequence);
        if (isNextPageBeingComputed(sequence)) {
            sequence.releasePages(pages);
            return Admission.DEFERRED;
        }
        if (pages.available() < headroom(sequence) + headroomOfRunning()) {
            sequence.releasePages(pages);
            return Admission.FULL;
        }
        sequence.start(freeSlots[--freeSlotCount]);
        running.add(sequence);
        maxTokens += sequence.maxLength();
        return Admission.ADMITTED;
    }

    /** Takes the pages of the longest cached prefix, up to the first position whose logits are wanted. */
    private void reusePrefix(Sequence sequence) {
        for (int end = pageSize; end <= sequence.firstWanted(); end += pageSize) {
            int page = pages.find(sequence.content(), sequence.tokens(), end - pageSize);
            if (page == KvPages.NONE) {
                return;
            }
            pages.retain(page);
            sequence.addSharedPage(page, pages.content(page), pageSize);
        }
    }

    /** Whether a running sequence is about to compute the page that comes after the cached prefix. */
    private boolean isNextPageBeingComputed(Sequence sequence) {
        int end = (sequence.pageCount() + 1) * pageSize;
        if (!sharing || end > sequence.firstWanted()) {
            return false;
        }
        for (Sequence other : running) {
            if (other.computed() < end
                    && end <= Math.min(other.length(), other.maxComputed())
                    && Arrays.equals(other.tokens(), 0, end, sequence.tokens(), 0, end)) {
                return true;
            }
        }
        return false;
    }

    private int headroomOfRunning() {
        int lacking = 0;
        for (Sequence sequence : running) {
            lacking += headroom(sequence);
        }
        return lacking;
    }

    /** Pages that a sequence lacks for its tokens and one page of new ones, as far as it can grow. */
    private int headroom(Sequence sequence) {
        return Math.max(0, lackingPages(sequence, sequence.foreseenLength() + pageSize));
    }

    /** Pages that a sequence lacks to hold so many tokens, of which the last that it can have is never computed. */
    private int lackingPages(Sequence sequence, int tokens) {
        return pages.pagesFor(Math.min(tokens, sequence.maxComputed())) - sequence.pageCount();
    }

    /**
     * How many of the candidates, the first ones first, have to give up slot and pages so that a waiting sequence has
     * room; empty if all of them would not do, or the sequence would be deferred.
     */
    OptionalInt preemptionsFor(Sequence waiting, List<Sequence> candidates) {
        waiting.prepare();
        reusePrefix(waiting);
        boolean deferred = isNextPageBeingComputed(waiting);
        int lacking = headroom(waiting) + headroomOfRunning();
        int victims = 0;
        boolean fits = freeSlotCount > 0 && pages.available() >= lacking;
        while (!fits && victims < candidates.size()) {
            Sequence victim = candidates.get(victims++);
            for (int i = 0; i < victim.pageCount(); i++) {
                pages.release(victim.page(i)); // several may share a page: only the last one frees it
            }
            lacking -= headroom(victim);
            fits = pages.available() >= lacking;
        }
        for (Sequence victim : candidates.subList(0, victims)) {
            for (int i = 0; i < victim.pageCount(); i++) {
                pages.retain(victim.page(i));
            }
        }
        waiting.releasePages(pages);
        return fits && !deferred ? OptionalInt.of(victims) : OptionalInt.empty();
    }

    /** Whether the running sequences lack more pages for the next step than are available. */
    boolean lacksPages() {
        int lacking = 0;
        for (int i = 0; i < running.size(); i++) {
            lacking += Math.max(0, lackingPages(running.get(i), running.get(i).foreseenLength()));
        }
        return lacking > pages.available();
    }

    /**
     * Gives each sequence the pages that the next step writes; enough are available. Candidates get pages and rows that
     * are left over.
     */
    void growPages() {
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            for (int lacking = lackingPages(sequence, sequence.foreseenLength()); lacking > 0; lacking--) {
                sequence.addPage(pages.allocate());
            }
        }
        int room = maxDecodeRows - running.size();
        for (int i = 0; i < running.size() && room > 0; i++) {
            Sequence sequence = running.get(i);
            if (sequence.propose() > 0) {
                int end = sequence.length() + sequence.candidates();
                while (lackingPages(sequence, end) > 0 && pages.available() > 0) {
                    sequence.addPage(pages.allocate());
                }
                sequence.limitCandidates(Math.min(room, sequence.pageCount() * pageSize - sequence.length()));
                room -= sequence.candidates();
            }
        }
    }

    /** The tokens of a chunk are in the cache now; those of candidates only where they were accepted. */
    void computed(Chunk chunk) {
        Sequence sequence = chunk.sequence();
        sequence.computed(Math.min(chunk.end(), sequence.length() - 1), pages, pageSize);
    }

    /** Takes slots and pages from running sequences, which may be admitted again. */
    void stop(List<Sequence> sequences) {
        sequences.forEach(this::stop);
        running.removeIf(sequence -> !sequence.isRunning());
    }

    private void stop(Sequence sequence) {
        assert sequence.isRunning();
        freeSlots[freeSlotCount++] = sequence.slot();
        sequence.stop();
        sequence.releasePages(pages);
        maxTokens -= sequence.maxLength();
    }

    /** Stops the sequences that have ended. */
    void removeEnded() {
        int kept = 0;
        for (int i = 0; i < running.size(); i++) {
            Sequence sequence = running.get(i);
            if (sequence.hasEnded()) {
                stop(sequence);
            } else {
                running.set(kept++, sequence);
            }
        }
        running.subList(kept, running.size()).clear();
    }

    /** Stops all sequences, and forgets what the cache holds. */
    void clear() {
        running.forEach(this::stop);
        running.clear();
        pages.forgetAll();
    }
}
