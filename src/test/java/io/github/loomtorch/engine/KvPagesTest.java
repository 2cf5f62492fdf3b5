package io.github.loomtorch.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;

class KvPagesTest {
    private static final int[] TOKENS = {1, 2, 3, 4, 5, 6};

    @Test
    void givesEachPageOnceUntilNoneIsLeft() {
        KvPages pages = new KvPages(5, 2, true);
        Set<Integer> given = new HashSet<>();
        for (int left = 5; left > 0; left--) {
            assertEquals(left, pages.available());
            given.add(pages.allocate());
        }
        assertEquals(Set.of(0, 1, 2, 3, 4), given);
        assertEquals(0, pages.available());
        pages.release(3);
        assertEquals(3, pages.allocate());
    }

    @Test
    void countsPartPagesAsPages() {
        KvPages pages = new KvPages(5, 4, true);
        assertEquals(0, pages.pagesFor(0));
        assertEquals(1, pages.pagesFor(1));
        assertEquals(1, pages.pagesFor(4));
        assertEquals(2, pages.pagesFor(5));
    }

    @Test
    void findsPageByItsTokensAndTheContentBefore() {
        KvPages pages = new KvPages(5, 2, true);
        int first = pages.allocate();
        int second = pages.allocate();
        long content = pages.share(first, KvPages.ROOT, TOKENS, 0);
        pages.share(second, content, TOKENS, 2);

        assertEquals(first, pages.find(KvPages.ROOT, TOKENS, 0));
        assertEquals(second, pages.find(content, TOKENS, 2));
        assertEquals(content, pages.content(first));
        assertEquals(KvPages.NONE, pages.find(KvPages.ROOT, TOKENS, 2));
        assertEquals(KvPages.NONE, pages.find(content, TOKENS, 0));
        assertEquals(KvPages.NONE, pages.find(content, TOKENS, 4));
    }

    @Test
    void keepsContentOfReleasedPageUntilThePageIsNeeded() {
        KvPages pages = new KvPages(2, 2, true);
        int page = pages.allocate();
        pages.share(page, KvPages.ROOT, TOKENS, 0);
        pages.release(page);
        assertEquals(page, pages.find(KvPages.ROOT, TOKENS, 0));

        assertNotEquals(page, pages.allocate());
        assertEquals(page, pages.find(KvPages.ROOT, TOKENS, 0));

        assertEquals(page, pages.allocate());
        assertEquals(KvPages.NONE, pages.find(KvPages.ROOT, TOKENS, 0));
    }

    @Test
    void evictsTheLeastRecentlyUsedContentFirst() {
        KvPages pages = new KvPages(3, 2, true);
        int[] page = new int[3];
        for (int i = 0; i < 3; i++) {
            page[i] = pages.allocate();
            pages.share(page[i], KvPages.ROOT, TOKENS, 2 * i);
        }
        pages.release(page[1]);
        pages.release(page[2]);
        pages.release(page[0]);
        pages.retain(page[1]); // used again
        pages.release(page[1]);

        assertEquals(page[2], pages.allocate());
        assertEquals(page[0], pages.allocate());
        assertEquals(page[1], pages.allocate());
    }

    @Test
    void doesNotGiveAwayPageThatAnotherSequenceStillReads() {
        KvPages pages = new KvPages(1, 2, true);
        int page = pages.allocate();
        pages.share(page, KvPages.ROOT, TOKENS, 0);
        pages.retain(page);
        pages.release(page);
        assertEquals(0, pages.available());
        pages.release(page);
        assertEquals(1, pages.available());
    }

    @Test
    void sharingTheSameTokensTwiceYieldsTheFirstContent() {
        KvPages pages = new KvPages(3, 2, true);
        int first = pages.allocate();
        int second = pages.allocate();
        long content = pages.share(first, KvPages.ROOT, TOKENS, 0);
        assertEquals(content, pages.share(second, KvPages.ROOT, TOKENS, 0));
        assertEquals(first, pages.find(KvPages.ROOT, TOKENS, 0));
        pages.release(second);
        assertEquals(second, pages.allocate()); // it has no content of its own to keep
    }

    @Test
    void doesNotFindWhatContinuedAnEvictedContent() {
        KvPages pages = new KvPages(2, 2, true);
        int first = pages.allocate();
        int second = pages.allocate();
        long old = pages.share(first, KvPages.ROOT, TOKENS, 0);
        pages.share(second, old, TOKENS, 2);
        pages.release(first); // the wrong order on purpose
        pages.release(second);

        assertEquals(first, pages.allocate());
        long renewed = pages.share(first, KvPages.ROOT, new int[] {7, 8}, 0);
        assertNotEquals(old, renewed);
        assertEquals(KvPages.NONE, pages.find(renewed, TOKENS, 2));
    }

    @Test
    void forgetsAllContentsAtOnce() {
        KvPages pages = new KvPages(2, 2, true);
        int page = pages.allocate();
        pages.share(page, KvPages.ROOT, TOKENS, 0);
        pages.forgetAll();
        assertEquals(KvPages.NONE, pages.find(KvPages.ROOT, TOKENS, 0));
        assertEquals(1, pages.available());
    }

    @Test
    void findsNothingWithSharingOff() {
        KvPages pages = new KvPages(2, 2, false);
        int page = pages.allocate();
        pages.share(page, KvPages.ROOT, TOKENS, 0);
        assertEquals(KvPages.NONE, pages.find(KvPages.ROOT, TOKENS, 0));
    }

    /** Against plain maps, with few enough tokens and pages that contents repeat and hash buckets collide. */
    @Test
    void agreesWithPlainMapsOverManyRandomSequences() {
        Random random = new Random(1);
        KvPages pages = new KvPages(23, 2, true);
        Map<List<Integer>, Integer> pageOf = new HashMap<>(); // by all tokens up to and including the page's
        Map<Integer, List<Integer>> held = new HashMap<>();
        Map<Integer, Integer> references = new HashMap<>();
        List<List<Integer>> running = new ArrayList<>();
        int found = 0;
        for (int i = 0; i < 20_000; i++) {
            int[] tokens = random.ints(6, 0, 3).toArray();
            List<Integer> own = new ArrayList<>();
            long content = KvPages.ROOT;
            for (int from = 0; from < 6; from += 2) {
                List<Integer> key = Arrays.stream(tokens, 0, from + 2).boxed().toList();
                int page = pages.find(content, tokens, from);
                assertEquals(pageOf.getOrDefault(key, KvPages.NONE), page);
                if (page != KvPages.NONE) {
                    found++;
                    pages.retain(page);
                    content = pages.content(page);
                } else {
                    page = pages.allocate();
                    assertEquals(0, references.getOrDefault(page, 0));
                    pageOf.remove(held.remove(page));
                    content = pages.share(page, content, tokens, from);
                    pageOf.put(key, page);
                    held.put(page, key);
                }
                references.merge(page, 1, Integer::sum);
                own.add(page);
            }
            running.add(own);
            if (running.size() > random.nextInt(7)) {
                for (int page : running.remove(random.nextInt(running.size())).reversed()) {
                    pages.release(page);
                    references.merge(page, -1, Integer::sum);
                }
            }
            long unreferenced =
                    23 - references.values().stream().filter(count -> count > 0).count();
            assertEquals(unreferenced, pages.available());
        }
        assertTrue(found > 5000 && found < 55_000, "found " + found);
    }
}
