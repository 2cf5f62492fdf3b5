package io.github.loomtorch.cli;

import java.io.PrintWriter;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;

/** Writes lines that a signal does not cut: when one ends the process, the line that is being written is finished. */
final class WholeLines implements AutoCloseable {
    private static final int MAX_WAIT_SECONDS = 2; // for a reader that does not read

    private final PrintWriter out;
    private final ReentrantLock writing = new ReentrantLock();
    private final Thread hook = new Thread(this::waitForLine, "whole-lines");

    WholeLines(PrintWriter out) {
        this.out = out;
        Runtime.getRuntime().addShutdownHook(hook);
    }

    private void waitForLine() {
        try {
            boolean unused = writing.tryLock(MAX_WAIT_SECONDS, TimeUnit.SECONDS); // and kept: no other line begins
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Writes and flushes a line, as a program at the other end may wait for it; false if nobody reads on. */
    boolean print(String line) {
        writing.lock();
        try {
            out.println(line);
            return !out.checkError();
        } finally {
            writing.unlock();
        }
    }

    @Override
    public void close() {
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException e) {
            // it is running
        }
    }
}
