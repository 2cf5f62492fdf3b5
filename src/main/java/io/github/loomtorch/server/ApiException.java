package io.github.loomtorch.server;

import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/** A request that is answered with an error in OpenAI's form. Immutable. */
final class ApiException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int status;
    private final String type;
    private final @Nullable String parameter; // null if no parameter is at fault
    private final int retryAfterSeconds; // 0 for no advice

    private ApiException(int status, String type, String message, @Nullable String parameter, int retryAfterSeconds) {
        super(message);
        this.status = status;
        this.type = type;
        this.parameter = parameter;
        this.retryAfterSeconds = retryAfterSeconds;
    }

    private ApiException(int status, String type, String message) {
        this(status, type, message, null, 0);
    }

    /** 400: the request as a whole cannot be read or served. */
    static ApiException badRequest(String message) {
        return new ApiException(400, "BadRequestError", message);
    }

    /** 400: a parameter has a value that cannot be served. */
    static ApiException badParameter(String parameter, String message) {
        return new ApiException(400, "BadRequestError", message, parameter, 0);
    }

    /** 400: a value of a parameter breaks a rule. */
    static ApiException badParameter(String parameter, String rule, Object got) {
        return badParameter(parameter, parameter + " must " + rule + ", got " + got);
    }

    static ApiException unauthorized() {
        return new ApiException(
                401,
                "AuthenticationError",
                "the Authorization header must be \"Bearer KEY\" with a key of this server");
    }

    static ApiException noSuchModel(String name, String served) {
        return new ApiException(
                404, "NotFoundError", "model must be \"" + served + "\", got \"" + name + "\"", "model", 0);
    }

    static ApiException noSuchPath(String path) {
        return new ApiException(404, "NotFoundError", "this server has no path " + path);
    }

    static ApiException wrongMethod(String method, String allowed) {
        return new ApiException(405, "MethodNotAllowedError", "method must be " + allowed + ", got " + method);
    }

    static ApiException tooLarge(long maxBytes) {
        return new ApiException(413, "RequestTooLargeError", "the body must have at most " + maxBytes + " bytes");
    }

    /** 429: the queue is full. */
    static ApiException queueFull(String message) {
        return new ApiException(429, "RateLimitError", message, null, 1);
    }

    static ApiException internal(String message) {
        return new ApiException(500, "InternalServerError", message);
    }

    /** 503: the server loads, drains or has lost its device. */
    static ApiException unavailable(String message) {
        return new ApiException(503, "ServiceUnavailableError", message, null, 1);
    }

    /** What Jetty refused before a handler saw it. */
    static ApiException ofStatus(int status, String message) {
        return new ApiException(status, status < 500 ? "BadRequestError" : "InternalServerError", message);
    }

    int status() {
        return status;
    }

    String type() {
        return type;
    }

    String message() {
        return String.valueOf(getMessage());
    }

    Optional<String> parameter() {
        return Optional.ofNullable(parameter);
    }

    /** Seconds after which the client may try again. */
    OptionalInt retryAfterSeconds() {
        return retryAfterSeconds == 0 ? OptionalInt.empty() : OptionalInt.of(retryAfterSeconds);
    }
}
