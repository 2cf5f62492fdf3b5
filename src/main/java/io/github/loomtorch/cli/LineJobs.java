package io.github.loomtorch.cli;

import java.io.IOException;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.BiFunction;

/**
 * Starts a job for each line of an input, several ahead, and writes the results in the order of the lines. It holds no
 * more lines than that. A line that fails gets a line with its error.
 *
 * @param <T> result of a job
 */
final class LineJobs<T> implements AutoCloseable {
    private final InputLines in;
    private final Starter<T> starter;
    private final BlockingQueue<Item<T>> started;
    private final Thread reader = new Thread(this::read, "line-reader");
    private int lines;
    private int failures;

    /** Starts the jobs of a line. */
    interface Starter<T> {
        /**
         * Starts them.
         *
         * @throws IOException if the line cannot be read
         * @throws IllegalArgumentException if what it says cannot be done
         */
        List<? extends CompletableFuture<T>> start(InputLines line) throws IOException;
    }

    /** The jobs of a line; or why nothing follows, and if that is empty, the input has ended. */
    private record Item<T>(
            int number, String where, List<? extends CompletableFuture<T>> jobs, Optional<Throwable> end) {}

    /**
     * Prepares for an input.
     *
     * @param in read on a thread of its own, which may still wait for a line when this is closed
     * @param ahead most lines whose jobs have started and are not written
     * @param starter called on that thread
     */
    LineJobs(InputLines in, int ahead, Starter<T> starter) {
        this.in = in;
        this.starter = starter;
        started = new ArrayBlockingQueue<>(Math.max(1, ahead - 1)); // one more is being written
        reader.setDaemon(true);
    }

    /**
     * Does the jobs until the input ends or nobody reads on.
     *
     * @param format makes a line of the number of the input's line and a result
     * @param formatError makes a line of that number and a sentence
     * @throws IOException if the input cannot be read, or after the last line if lines failed
     */
    void run(
            BiFunction<Integer, T, String> format,
            BiFunction<Integer, String, String> formatError,
            WholeLines out,
            Progress progress)
            throws IOException {
        reader.start();
        for (Item<T> item = take(); !item.jobs.isEmpty(); item = take()) {
            lines++;
            boolean failed = false;
            for (CompletableFuture<T> job : item.jobs) {
                String line;
                try {
                    line = format.apply(item.number, job.join());
                } catch (CompletionException e) {
                    failed = true;
                    line = formatError.apply(item.number, sentence(Objects.requireNonNull(e.getCause()), item.where));
                }
                if (!out.print(line)) {
                    return;
                }
            }
            failures += failed ? 1 : 0;
            progress.step();
        }
        if (failures > 0) {
            throw new IOException(failures + " of " + lines + " lines failed; the output has an error for each");
        }
    }

    private static String sentence(Throwable cause, String where) {
        String message = String.valueOf(cause.getMessage());
        return cause instanceof IOException ? message : where + ": " + message;
    }

    /** The next line's jobs, or none at the end. */
    private Item<T> take() throws IOException {
        Item<T> item;
        try {
            item = started.take();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted while waiting for a line", e);
        }
        if (item.end.isPresent()) {
            switch (item.end.get()) {
                case IOException e -> throw e;
                case RuntimeException e -> throw e;
                case Error e -> throw e;
                default -> throw new AssertionError(item.end.get());
            }
        }
        return item;
    }

    private void read() {
        Optional<Throwable> end = Optional.empty();
        try {
            while (in.next()) {
                List<? extends CompletableFuture<T>> jobs;
                try {
                    jobs = starter.start(in);
                } catch (IOException | IllegalArgumentException e) {
                    jobs = List.of(CompletableFuture.failedFuture(e));
                }
                started.put(new Item<>(in.number(), in.where(), jobs, Optional.empty()));
            }
        } catch (InterruptedException e) {
            return; // closed
        } catch (Throwable e) { // goes to the thread that writes
            end = Optional.of(e);
        }
        try {
            started.put(new Item<>(in.number(), "", List.of(), end));
        } catch (InterruptedException e) {
            // closed
        }
    }

    /** Cancels the jobs that have started. */
    @Override
    public void close() {
        reader.interrupt();
        ArrayDeque<Item<T>> left = new ArrayDeque<>();
        started.drainTo(left);
        left.forEach(item -> item.jobs.forEach(job -> job.cancel(true)));
    }
}
