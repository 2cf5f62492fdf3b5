package io.github.loomtorch.server;

import java.nio.ByteBuffer;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.http.HttpStatus;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.server.handler.ErrorHandler;
import org.eclipse.jetty.util.Callback;

/** Answers what Jetty refuses before a handler sees it, such as malformed headers, in OpenAI's form. Thread-safe. */
final class JettyErrors extends ErrorHandler {
    private final ServerMetrics metrics;

    JettyErrors(ServerMetrics metrics) {
        this.metrics = metrics;
    }

    @Override
    public boolean handle(Request request, Response response, Callback callback) {
        int status = response.getStatus();
        metrics.rejected(status);
        if (!HttpStatus.hasNoBody(status)) {
            byte[] json = json(status, String.valueOf(request.getAttribute(ERROR_MESSAGE)));
            response.getHeaders().put(HttpHeader.CONTENT_TYPE, "application/json");
            response.write(true, ByteBuffer.wrap(json), callback);
        } else {
            callback.succeeded();
        }
        return true;
    }

    private static byte[] json(int status, String reason) {
        String message = "null".equals(reason) ? HttpStatus.getMessage(status) : reason;
        return JsonAnswers.error(ApiException.ofStatus(status, "the request cannot be read: " + message));
    }
}
