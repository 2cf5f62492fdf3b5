package io.github.loomtorch.server;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;
import org.eclipse.jetty.http.HttpVersion;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.util.BufferUtil;
import org.eclipse.jetty.util.thread.Scheduler;
import org.jspecify.annotations.Nullable;

/**
 * Notices that the client has left, while nothing is written to it. HTTP/2 reports that. With HTTP/1.1 the end of the
 * client's stream is only found by reading, which a timer does: the body was read whole, so whatever comes is the next
 * request on this connection, or the end. Made after the body was read, and closed before the answer ends. Thread-safe.
 */
final class ClientWatch implements AutoCloseable {
    private static final long INTERVAL_MILLIS = 100;

    private final Request request;
    private final Runnable onLeft;
    private final ByteBuffer probe = BufferUtil.allocate(1);
    private volatile boolean left;

    // Guarded by this.
    private Scheduler.@Nullable Task nextLook; // null with HTTP/2
    private boolean closed;
    private boolean mustCloseConnection;

    /** Begins to watch; an action runs, on any thread, when the client has left. */
    ClientWatch(Request request, Runnable onLeft) {
        this.request = request;
        this.onLeft = onLeft;
        request.addFailureListener(failure -> leave());
        request.addIdleTimeoutListener(timeout -> false); // a request that waits for its turn is not idle
        if (request.getConnectionMetaData().getHttpVersion().getVersion() < HttpVersion.HTTP_2.getVersion()) {
            lookLater();
        }
    }

    private synchronized void lookLater() {
        nextLook = request.getComponents().getScheduler().schedule(this::look, INTERVAL_MILLIS, TimeUnit.MILLISECONDS);
    }

    private synchronized void look() {
        if (closed) {
            return;
        }
        int read = read();
        if (read < 0) {
            leave();
        } else if (read > 0) { // the first byte of a pipelined request, which cannot be given back
            mustCloseConnection = true;
        } else {
            lookLater();
        }
    }

    private int read() {
        try {
            return request.getConnectionMetaData().getConnection().getEndPoint().fill(probe);
        } catch (IOException e) {
            return -1;
        }
    }

    private void leave() {
        left = true;
        onLeft.run();
    }

    /** Whether the client has left. */
    boolean hasLeft() {
        return left;
    }

    /** Reads no more from the connection; whether it must be closed after the answer. */
    synchronized boolean stop() {
        closed = true;
        if (nextLook != null) {
            nextLook.cancel();
        }
        return mustCloseConnection;
    }

    /** The same as {@link #stop}. */
    @Override
    public void close() {
        stop();
    }
}
