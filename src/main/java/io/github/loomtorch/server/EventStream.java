package io.github.loomtorch.server;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.util.Blocker;

/**
 * Server-sent events, each {@code data: JSON}. Events that are ready together are written at once; a write waits until
 * the client's connection takes it. Confined to the thread of the request.
 */
final class EventStream {
    private static final byte[] DATA = "data: ".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] END_OF_EVENT = "\n\n".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] DONE = "data: [DONE]\n\n".getBytes(StandardCharsets.US_ASCII);

    private final Exchange exchange;
    private final ByteArrayOutputStream ready = new ByteArrayOutputStream(512);

    /** Begins an answer with status 200. */
    EventStream(Exchange exchange) {
        this.exchange = exchange;
        var headers = exchange.response().getHeaders();
        headers.put(HttpHeader.CONTENT_TYPE, "text/event-stream; charset=utf-8");
        headers.put(HttpHeader.CACHE_CONTROL, "no-cache");
        headers.put("X-Accel-Buffering", "no"); // nginx would hold events back
    }

    /** Adds an event. */
    void add(JsonAnswers.Body event) {
        ready.writeBytes(DATA);
        JsonAnswers.write(ready, event);
        ready.writeBytes(END_OF_EVENT);
    }

    /** Writes the events that are ready, and waits until they are written. */
    void send() throws IOException {
        if (ready.size() == 0) {
            return;
        }
        try (Blocker.Callback written = Blocker.callback()) {
            exchange.response().write(false, ByteBuffer.wrap(ready.toByteArray()), written);
            written.block();
        }
        ready.reset();
    }

    /** Writes what is ready and {@code [DONE]}, and ends the answer. */
    void end(boolean closeConnection) throws IOException {
        ready.writeBytes(DONE);
        send();
        exchange.end(closeConnection);
    }
}
