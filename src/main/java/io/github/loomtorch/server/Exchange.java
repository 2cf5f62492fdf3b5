package io.github.loomtorch.server;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.UUID;
import java.util.regex.Pattern;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.http.HttpHeaderValue;
import org.eclipse.jetty.http.HttpVersion;
import org.eclipse.jetty.io.Content;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.util.Callback;

/** One HTTP request and its answer. Confined to the thread of the request. */
final class Exchange {
    private static final String REQUEST_ID = "X-Request-Id";
    private static final Pattern SAFE_ID = Pattern.compile("[\\w.:-]{1,128}");

    private final Request request;
    private final Response response;
    private final Callback callback;
    private final String id;

    Exchange(Request request, Response response, Callback callback) {
        this.request = request;
        this.response = response;
        this.callback = callback;
        String given = request.getHeaders().get(REQUEST_ID);
        id = given != null && SAFE_ID.matcher(given).matches()
                ? given
                : UUID.randomUUID().toString().replace("-", "");
        response.getHeaders().put(REQUEST_ID, id);
    }

    Request request() {
        return request;
    }

    Response response() {
        return response;
    }

    /** The id that the client gave, else a new one; the answer's header has it. */
    String id() {
        return id;
    }

    String path() {
        return Request.getPathInContext(request);
    }

    /** Reads the whole body. */
    byte[] body(int maxBytes) throws IOException {
        if (request.getLength() > maxBytes) {
            throw ApiException.tooLarge(maxBytes);
        }
        ByteArrayOutputStream body = new ByteArrayOutputStream((int) Math.max(request.getLength(), 512));
        byte[] part = new byte[8192];
        try (InputStream in = Content.Source.asInputStream(request)) {
            for (int read; (read = in.read(part)) >= 0; ) {
                body.write(part, 0, read);
                if (body.size() > maxBytes) {
                    throw ApiException.tooLarge(maxBytes);
                }
            }
        }
        return body.toByteArray();
    }

    void send(int status, String contentType, byte[] content) {
        response.setStatus(status);
        response.getHeaders().put(HttpHeader.CONTENT_TYPE, contentType);
        response.getHeaders().put(HttpHeader.CONTENT_LENGTH, content.length);
        response.write(true, ByteBuffer.wrap(content), callback);
    }

    void sendJson(byte[] json) {
        send(200, "application/json", json);
    }

    /** Answers with a page that loads nothing but itself and talks to nobody but this server. */
    void sendPage(byte[] html) {
        response.getHeaders()
                .put(
                        "Content-Security-Policy",
                        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self';"
                                + " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
        response.getHeaders().put("X-Content-Type-Options", "nosniff");
        send(200, "text/html; charset=utf-8", html);
    }

    /** Answers with a status and an empty body. */
    void sendStatus(int status) {
        response.setStatus(status);
        callback.succeeded();
    }

    void sendError(ApiException error) {
        if (response.isCommitted()) {
            callback.failed(error);
            return;
        }
        error.retryAfterSeconds().ifPresent(seconds -> response.getHeaders().put(HttpHeader.RETRY_AFTER, seconds));
        if (error.status() == 401) {
            response.getHeaders().put(HttpHeader.WWW_AUTHENTICATE, "Bearer");
        }
        boolean http1 = request.getConnectionMetaData().getHttpVersion().getVersion() < HttpVersion.HTTP_2.getVersion();
        if (http1 && !request.consumeAvailable()) { // Jetty closes the connection; a client must not use it again
            response.getHeaders().put(HttpHeader.CONNECTION, HttpHeaderValue.CLOSE);
        }
        send(error.status(), "application/json", JsonAnswers.error(error));
    }

    /** Ends a stream, and closes the connection if asked for. */
    void end(boolean closeConnection) {
        Callback last = closeConnection
                ? Callback.from(callback, request.getConnectionMetaData().getConnection()::close)
                : callback;
        response.write(true, ByteBuffer.allocate(0), last);
    }

    /** Gives up: nobody reads the answer. */
    void abandon(Throwable cause) {
        callback.failed(cause);
    }
}
