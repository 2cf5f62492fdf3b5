package io.github.loomtorch.engine;

import java.util.Arrays;

/**
 * Who owns which page of the KV cache, and which pages hold tokens that another sequence can read instead of computing
 * them again. Bookkeeping only: it touches no device memory. Confined to the engine thread.
 */
final class KvPages {
    /*
     * Nothing is ever copied on a write, because no page that is shared is ever written: only a page that is full of computed tokens can
     * be shared, and a sequence writes nothing but the tokens behind those, into pages of its own. Two that go on differently within a
     * page have each computed that page for themselves.
     *
     * What a page holds depends on all tokens before it, so its content is known by a number, never used twice, and found under (number
     * of the content before it, its own tokens); both are compared on a hit, the hash only picks the bucket. The hash chain of full pages
     * is that of vLLM [1].
     *
     * A page that nobody references stands in one list: pages without content in front, then those with content, least recently used
     * first. A sequence gives its pages back last to first, so a page is evicted before the one that it continues.
     *
     * [1] Efficient Memory Management for Large Language Model Serving with PagedAttention, https://arxiv.org/abs/2309.06180
     */

    /** No page. */
    static final int NONE = -1;

    /** The content before the first page of every sequence. */
    static final long ROOT = 0;

    private final int pageSize;
    private final boolean sharing;
    private final int[] references;
    private int available;

    /** The list of unreferenced pages: a ring through the entry {@code pageCount}. */
    private final int[] previous;

    private final int[] next;

    /** Number of the content of each page, {@link #ROOT} if it has none to share; and of the content before it. */
    private final long[] content;

    private final long[] parent;
    private final int[] tokens; // [pageCount, pageSize]
    private long lastContent = ROOT;

    /** Pages with content by hash: the first of each bucket, and the next in the same bucket. */
    private final int[] buckets;

    private final int[] chain;

    KvPages(int pageCount, int pageSize, boolean sharing) {
        this.pageSize = pageSize;
        this.sharing = sharing;
        references = new int[pageCount];
        previous = new int[pageCount + 1];
        next = new int[pageCount + 1];
        content = new long[pageCount];
        parent = new long[pageCount];
        tokens = new int[pageCount * pageSize];
        buckets = new int[Integer.highestOneBit(Math.max(2, pageCount)) * 2];
        chain = new int[pageCount];
        Arrays.fill(buckets, NONE);
        previous[pageCount] = pageCount;
        next[pageCount] = pageCount;
        for (int page = pageCount - 1; page >= 0; page--) {
            insertAfter(pageCount, page);
        }
        available = pageCount;
    }

    /** Pages that {@link #allocate} can give. */
    int available() {
        return available;
    }

    /** How many pages hold that many tokens. */
    int pagesFor(int tokenCount) {
        return (tokenCount + pageSize - 1) / pageSize;
    }

    /** A page to write, with one reference; its former content is forgotten. At least one must be available. */
    int allocate() {
        assert available > 0;
        int page = next[references.length];
        forget(page);
        retain(page);
        return page;
    }

    /** One more reference. */
    void retain(int page) {
        if (references[page]++ == 0) {
            next[previous[page]] = next[page];
            previous[next[page]] = previous[page];
            available--;
        }
    }

    /** One reference less; a page without any can be allocated, and shared until it is. */
    void release(int page) {
        assert references[page] > 0;
        if (--references[page] == 0) {
            int end = references.length;
            insertAfter(content[page] == ROOT ? end : previous[end], page);
            available++;
        }
    }

    /** The page that holds the tokens {@code [from, from + pageSize)} after the given content, or {@link #NONE}. */
    int find(long before, int[] sequenceTokens, int from) {
        if (!sharing) {
            return NONE;
        }
        int page = buckets[bucket(before, sequenceTokens, from)];
        while (page != NONE && !holds(page, before, sequenceTokens, from)) {
            page = chain[page];
        }
        return page;
    }

    /** Number of the content that a page found or shared holds. */
    long content(int page) {
        return content[page];
    }

    /**
     * Lets others read a page, now that its tokens {@code [from, from + pageSize)} are computed.
     *
     * @return number of that content: an older one if another page holds the same
     */
    long share(int page, long before, int[] sequenceTokens, int from) {
        if (!sharing) {
            return ROOT;
        }
        int same = find(before, sequenceTokens, from);
        if (same != NONE) {
            return content[same];
        }
        content[page] = ++lastContent;
        parent[page] = before;
        System.arraycopy(sequenceTokens, from, tokens, page * pageSize, pageSize);
        int bucket = bucket(before, sequenceTokens, from);
        chain[page] = buckets[bucket];
        buckets[bucket] = page;
        return lastContent;
    }

    /** Forgets all contents. */
    void forgetAll() {
        for (int page = 0; page < references.length; page++) {
            forget(page);
        }
    }

    private void forget(int page) {
        if (content[page] == ROOT) {
            return;
        }
        content[page] = ROOT;
        int bucket = bucket(parent[page], tokens, page * pageSize);
        if (buckets[bucket] == page) {
            buckets[bucket] = chain[page];
            return;
        }
        int before = buckets[bucket];
        while (chain[before] != page) {
            before = chain[before];
        }
        chain[before] = chain[page];
    }

    private void insertAfter(int position, int page) {
        next[page] = next[position];
        previous[page] = position;
        previous[next[page]] = page;
        next[position] = page;
    }

    private boolean holds(int page, long before, int[] sequenceTokens, int from) {
        int start = page * pageSize;
        return parent[page] == before
                && Arrays.equals(tokens, start, start + pageSize, sequenceTokens, from, from + pageSize);
    }

    private int bucket(long before, int[] sequenceTokens, int from) {
        long hash = before;
        for (int i = from; i < from + pageSize; i++) {
            hash = (hash ^ sequenceTokens[i]) * 0x9E3779B97F4A7C15L; // 2^64 / golden ratio
            hash ^= hash >>> 32;
        }
        return (int) hash & (buckets.length - 1);
    }
}
