package io.github.loomtorch.examples.spark;

import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.SchedulerState;
import java.io.Serializable;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletionException;
import java.util.function.Supplier;
import org.apache.spark.TaskContext;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.util.LongAccumulator;
import org.apache.spark.util.TaskCompletionListener;

/** The rows of one task: some are in flight, and the first of them is next. Confined to the task's thread. */
final class BulkTask implements Iterator<Row> {

    /** Hands a row to the generator. */
    @FunctionalInterface
    interface Work extends Serializable {
        InFlight submit(TextGenerator generator, Row row);
    }

    /** A row that the model works on. */
    record InFlight(Runnable cancel, Supplier<Result> join) {}

    /** What came of a row: the columns that are added, but for the error. */
    record Result(long tokens, FinishReason finishReason, Object... columns) {}

    /** What the web UI shows. */
    record Counters(LongAccumulator rows, LongAccumulator tokens, LongAccumulator errors) {}

    private record Pending(Row row, InFlight work) {}

    private final Iterator<Row> rows;
    private final BulkOptions options;
    private final Work work;
    private final int columns;
    private final int[] notNull;
    private final Counters counters;
    private final Deque<Pending> pending = new ArrayDeque<>();

    /** {@code columns}: how many are added; {@code notNull}: those that a row needs. */
    BulkTask(Iterator<Row> rows, BulkOptions options, Work work, int columns, int[] notNull, Counters counters) {
        this.rows = rows;
        this.options = options;
        this.work = work;
        this.columns = columns;
        this.notNull = notNull;
        this.counters = counters;
        // A task that is killed leaves nothing running.
        TaskCompletionListener cancel = task -> pending.forEach(one -> one.work.cancel.run());
        TaskContext.get().addTaskCompletionListener(cancel);
    }

    @Override
    public boolean hasNext() {
        return rows.hasNext() || !pending.isEmpty();
    }

    @Override
    public Row next() {
        while (rows.hasNext() && pending.size() < options.inFlight()) {
            Row row = rows.next();
            pending.add(new Pending(row, submit(row)));
        }
        if (pending.isEmpty()) {
            throw new NoSuchElementException();
        }
        Pending first = pending.peek();
        Row done = finish(first.row, first.work);
        pending.remove();
        return done;
    }

    private InFlight submit(Row row) {
        for (int column : notNull) {
            if (row.isNullAt(column)) {
                String name = row.schema().fieldNames()[column];
                return failed(new IllegalArgumentException(name + " must not be null"));
            }
        }
        TextGenerator generator = Generators.of(options);
        try {
            return work.submit(generator, row);
        } catch (IllegalArgumentException e) {
            return failed(e);
        }
    }

    private static InFlight failed(IllegalArgumentException cause) {
        return new InFlight(() -> {}, () -> {
            throw cause;
        });
    }

    private Row finish(Row row, InFlight work) {
        Object[] values = new Object[row.size() + columns];
        for (int i = 0; i < row.size(); i++) {
            values[i] = row.get(i);
        }
        try {
            Result result = work.join.get();
            if (result.finishReason == FinishReason.CANCELLED) {
                throw new IllegalStateException("the generator of this executor was closed");
            }
            System.arraycopy(result.columns, 0, values, row.size(), result.columns.length);
            counters.tokens.add(result.tokens);
        } catch (IllegalArgumentException | CompletionException e) {
            if (Generators.of(options).scheduler().state() instanceof SchedulerState.Lost lost) {
                throw new IllegalStateException("this executor's model is lost", lost.cause());
            }
            Throwable cause = e instanceof CompletionException ? e.getCause() : e;
            values[values.length - 1] = String.valueOf(cause.getMessage());
            counters.errors.add(1);
        }
        counters.rows.add(1);
        return RowFactory.create(values);
    }
}
