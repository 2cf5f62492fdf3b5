package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Sequence;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.TreeSet;
import java.util.function.Predicate;

/** Sequences that wait, in the order in which they are to run. Confined to the engine thread. */
final class WaitingQueue implements Iterable<Sequence> {
    private final TreeSet<Sequence> byTurn;
    private final TreeSet<Sequence> byDeadline =
            new TreeSet<>(Comparator.comparingLong(Sequence::deadlineNanos).thenComparingLong(Sequence::arrival));
    private long tokens;
    private boolean mayHoldCancelled;

    WaitingQueue(Comparator<Sequence> turn) {
        byTurn = new TreeSet<>(turn);
    }

    void add(Sequence sequence) {
        boolean added = byTurn.add(sequence);
        assert added;
        if (hasDeadline(sequence)) {
            byDeadline.add(sequence);
        }
        tokens += sequence.maxLength();
        mayHoldCancelled |= sequence.isCancelled();
    }

    void remove(Sequence sequence) {
        boolean removed = byTurn.remove(sequence);
        assert removed;
        removed(sequence);
    }

    private void removed(Sequence sequence) {
        if (hasDeadline(sequence)) {
            byDeadline.remove(sequence);
        }
        tokens -= sequence.maxLength();
    }

    boolean isEmpty() {
        return byTurn.isEmpty();
    }

    int size() {
        return byTurn.size();
    }

    /** The sum of {@link Sequence#maxLength()}. */
    long tokens() {
        return tokens;
    }

    Sequence first() {
        return byTurn.first();
    }

    /** In turn; the queue must not change meanwhile but by the iterator. */
    @Override
    public Iterator<Sequence> iterator() {
        Iterator<Sequence> turn = byTurn.iterator();
        return new Iterator<>() {
            private Sequence last;

            @Override
            public boolean hasNext() {
                return turn.hasNext();
            }

            @Override
            public Sequence next() {
                last = turn.next();
                return last;
            }

            @Override
            public void remove() {
                turn.remove();
                removed(last);
            }
        };
    }

    /** The earliest deadline; {@link Long#MAX_VALUE} if there is none. */
    long nextDeadlineNanos() {
        return byDeadline.isEmpty() ? Long.MAX_VALUE : byDeadline.first().deadlineNanos();
    }

    /** Removes the sequence of the earliest deadline, which must exist. */
    Sequence removeNextDeadline() {
        Sequence sequence = byDeadline.first();
        remove(sequence);
        return sequence;
    }

    /**
     * Whether a sequence was cancelled before it was added, so that whoever cancelled it may not have been heard of
     * here.
     */
    boolean mayHoldCancelled() {
        return mayHoldCancelled;
    }

    List<Sequence> removeCancelled() {
        mayHoldCancelled = false;
        return removeAll(Sequence::isCancelled);
    }

    List<Sequence> removeAll() {
        return removeAll(sequence -> true);
    }

    private List<Sequence> removeAll(Predicate<Sequence> condition) {
        List<Sequence> matching = new ArrayList<>();
        byTurn.stream().filter(condition).forEach(matching::add);
        matching.forEach(this::remove);
        return matching;
    }

    private static boolean hasDeadline(Sequence sequence) {
        return sequence.deadlineNanos() != Long.MAX_VALUE;
    }
}
