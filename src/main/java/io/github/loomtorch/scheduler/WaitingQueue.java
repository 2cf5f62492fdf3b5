package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.request.FinishReason;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * The requests that wait, in the order in which they are to run. It ends those that are cancelled or whose deadline has
 * passed. Confined to the engine thread.
 */
final class WaitingQueue implements Iterable<QueuedRequest> {
    private final TreeSet<QueuedRequest> inTurn;
    private final TreeSet<QueuedRequest> byDeadline = new TreeSet<>(Comparator.<QueuedRequest>comparingLong(
                    request -> request.sequence().deadlineNanos())
            .thenComparing(QueuedRequest.BY_ARRIVAL));
    private long tokens;
    private int suspects;
    private boolean mayHoldCancelled;

    WaitingQueue(Comparator<QueuedRequest> turn) {
        inTurn = new TreeSet<>(turn);
    }

    void add(QueuedRequest request) {
        boolean added = inTurn.add(request);
        assert added;
        if (hasDeadline(request)) {
            byDeadline.add(request);
        }
        tokens += request.sequence().maxLength();
        suspects += request.isSuspect() ? 1 : 0;
        mayHoldCancelled |= request.sequence().isCancelled();
    }

    void remove(QueuedRequest request) {
        boolean removed = inTurn.remove(request);
        assert removed;
        removed(request);
    }

    private void removed(QueuedRequest request) {
        if (hasDeadline(request)) {
            byDeadline.remove(request);
        }
        tokens -= request.sequence().maxLength();
        suspects -= request.isSuspect() ? 1 : 0;
    }

    boolean isEmpty() {
        return inTurn.isEmpty();
    }

    int size() {
        return inTurn.size();
    }

    /** The sum of {@link Sequence#maxLength()}. */
    long tokens() {
        return tokens;
    }

    /** The first that is suspected to make steps fail. */
    Optional<QueuedRequest> firstSuspect() {
        return suspects == 0
                ? Optional.empty()
                : inTurn.stream().filter(QueuedRequest::isSuspect).findFirst();
    }

    QueuedRequest first() {
        return inTurn.first();
    }

    /** In turn; while iterating, only the iterator may change the queue. */
    @Override
    public Iterator<QueuedRequest> iterator() {
        Iterator<QueuedRequest> turn = inTurn.iterator();
        return new Iterator<>() {
            private @Nullable QueuedRequest last;

            @Override
            public boolean hasNext() {
                return turn.hasNext();
            }

            @Override
            public QueuedRequest next() {
                last = turn.next();
                return last;
            }

            @Override
            public void remove() {
                turn.remove();
                removed(Objects.requireNonNull(last)); // as turn.remove() has not thrown
            }
        };
    }

    /** The earliest deadline; {@link Long#MAX_VALUE} if there is none. */
    long nextDeadlineNanos() {
        return byDeadline.isEmpty()
                ? Long.MAX_VALUE
                : byDeadline.first().sequence().deadlineNanos();
    }

    /** Ends the requests whose deadline has passed. */
    void endExpired(Engine engine) {
        long now = engine.clock().nanoTime();
        while (nextDeadlineNanos() <= now) {
            QueuedRequest expired = byDeadline.first();
            remove(expired);
            engine.finish(expired.sequence(), FinishReason.DEADLINE);
        }
    }

    /**
     * Ends the cancelled requests.
     *
     * @param anyCancelled whether one may have been cancelled since the last call; requests that were cancelled before
     *     they were added are found in any case
     */
    void endCancelled(Engine engine, boolean anyCancelled) {
        if (!anyCancelled && !mayHoldCancelled) {
            return;
        }
        mayHoldCancelled = false;
        List<QueuedRequest> cancelled = inTurn.stream()
                .filter(request -> request.sequence().isCancelled())
                .toList();
        for (QueuedRequest request : cancelled) {
            remove(request);
            engine.finish(request.sequence(), FinishReason.CANCELLED);
        }
    }

    List<QueuedRequest> removeAll() {
        List<QueuedRequest> all = new ArrayList<>(inTurn);
        inTurn.clear();
        byDeadline.clear();
        tokens = 0;
        suspects = 0;
        return all;
    }

    /** Fails all requests. */
    void failAll(Engine engine, RuntimeException cause) {
        removeAll().forEach(request -> engine.fail(request.sequence(), cause));
    }

    private static boolean hasDeadline(QueuedRequest request) {
        return request.sequence().deadlineNanos() != Long.MAX_VALUE;
    }
}
