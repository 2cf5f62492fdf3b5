package io.github.loomtorch.server;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.http.HttpHeaderValue;
import org.eclipse.jetty.http.HttpVersion;
import org.eclipse.jetty.io.EndPoint;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.util.BufferUtil;

/**
 * Notices that the client has left, while nothing is written to it. HTTP/2 reports that. With HTTP/1.1 the end of the
 * client's stream is only found by reading: the body was read whole, so whatever comes is the next request on this
 * connection, or the end. Made after the body was read. Confined to the thread of the request.
 */
final class ClientWatch {
    private static final long INTERVAL_NANOS = TimeUnit.MILLISECONDS.toNanos(100);

    private final Exchange exchange;
    private final boolean isHttp1;
    private final ByteBuffer probe = BufferUtil.allocate(1);
    private long lastProbeNanos = System.nanoTime();
    private volatile boolean left;
    private boolean mustClose;

    ClientWatch(Exchange exchange) {
        this.exchange = exchange;
        Request request = exchange.request();
        isHttp1 = request.getConnectionMetaData().getHttpVersion().getVersion() < HttpVersion.HTTP_2.getVersion();
        request.addFailureListener(failure -> left = true);
        request.addIdleTimeoutListener(timeout -> false); // a request that waits for its turn is not idle
    }

    /** How long a thread may wait before it calls {@link #hasLeft} again; &gt;= 0. */
    long nanosToNextLook() {
        return Math.max(0, lastProbeNanos + INTERVAL_NANOS - System.nanoTime());
    }

    /** Whether the client has left; looks at most once an interval. */
    boolean hasLeft() {
        long now = System.nanoTime();
        if (now - lastProbeNanos < INTERVAL_NANOS) {
            return left;
        }
        lastProbeNanos = now;
        if (!left && isHttp1 && !mustClose) {
            probe();
        }
        return left;
    }

    private void probe() {
        try {
            int read = endPoint().fill(probe);
            if (read < 0) {
                left = true;
            } else if (read > 0) { // the first byte of a pipelined request, which cannot be given back
                mustClose = true;
                if (!exchange.response().isCommitted()) {
                    exchange.response().getHeaders().put(HttpHeader.CONNECTION, HttpHeaderValue.CLOSE.asString());
                }
            }
        } catch (IOException e) {
            left = true;
        }
    }

    private EndPoint endPoint() {
        return exchange.request().getConnectionMetaData().getConnection().getEndPoint();
    }

    /** Whether the connection must be closed after the answer. */
    boolean mustClose() {
        return mustClose;
    }
}
