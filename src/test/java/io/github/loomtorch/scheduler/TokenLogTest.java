package io.github.loomtorch.scheduler;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.request.TokenEvent;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class TokenLogTest {
    private final TokenLog log = new TokenLog();

    private static TokenEvent event(int index) {
        return new TokenEvent(index, index, "", Optional.empty());
    }

    @Test
    void tellsWhatAReaderFindsWithoutWaiting() {
        assertEquals(TokenLog.Next.NOTHING, log.next(0));
        log.add(event(0));
        assertEquals(TokenLog.Next.TOKEN, log.next(0));
        assertEquals(event(0), log.get(0));
        assertEquals(TokenLog.Next.NOTHING, log.next(1));
        log.end(() -> {});
        assertEquals(TokenLog.Next.TOKEN, log.next(0));
        assertEquals(TokenLog.Next.END, log.next(1));
    }

    @Test
    void everyReaderGetsAllTokensInOrderWhileTheyAreWritten() throws InterruptedException {
        List<List<Integer>> read = Collections.synchronizedList(new ArrayList<>());
        List<Thread> readers = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            readers.add(Thread.startVirtualThread(() -> {
                List<Integer> indices = new ArrayList<>();
                log.forEach(event -> indices.add(event.index()));
                read.add(indices);
            }));
        }
        List<Integer> all = new ArrayList<>();
        for (int i = 0; i < 1000; i++) {
            log.add(event(i));
            all.add(i);
        }
        log.end(() -> {});
        for (Thread reader : readers) {
            reader.join();
        }
        assertEquals(Collections.nCopies(20, all), read);
    }

    @Test
    void failureComesAfterTheLastToken() {
        RuntimeException cause = new IllegalStateException("device failed");
        log.add(event(0));
        log.fail(cause, () -> {});
        Iterator<TokenEvent> tokens = log.iterator();
        assertEquals(0, tokens.next().index());
        assertSame(
                cause, assertThrows(CompletionException.class, tokens::hasNext).getCause());
        assertTrue(log.hasEnded());
    }

    @Test
    void onlyTheFirstEndCounts() {
        RuntimeException cause = new IllegalStateException("device failed");
        List<String> ends = new ArrayList<>();
        log.fail(cause, () -> ends.add("failed"));
        log.end(() -> ends.add("ended"));
        log.add(event(0));
        assertEquals(List.of("failed"), ends);
        assertEquals(TokenLog.Next.END, log.next(0));
    }

    @Test
    void iteratorPastTheEndHasNoElement() {
        log.end(() -> {});
        Iterator<TokenEvent> tokens = log.iterator();
        assertFalse(tokens.hasNext());
        assertThrows(NoSuchElementException.class, tokens::next);
    }

    @Test
    void observersAreCalledUntilTheyAreRemoved() {
        AtomicInteger calls = new AtomicInteger();
        Runnable observer = calls::incrementAndGet;
        log.addObserver(observer);
        log.add(event(0));
        assertEquals(1, calls.get());
        log.removeObserver(observer);
        log.end(() -> {});
        assertEquals(1, calls.get());
    }
}
