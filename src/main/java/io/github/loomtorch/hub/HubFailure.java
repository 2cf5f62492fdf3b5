package io.github.loomtorch.hub;

import java.io.IOException;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/** Why the hub did not give what was asked for. */
final class HubFailure extends IOException {
    private static final long serialVersionUID = 1;

    private final boolean temporary;
    private final Duration retryAfter;

    private HubFailure(String message, boolean temporary, Duration retryAfter, @Nullable Throwable cause) {
        super(message, cause);
        this.temporary = temporary;
        this.retryAfter = retryAfter;
    }

    /** One that a second attempt would meet again. */
    static HubFailure permanent(String message) {
        return new HubFailure(message, false, Duration.ZERO, null);
    }

    /** One that may be gone at a second attempt, which must wait at least so long. */
    static HubFailure temporary(String message, Duration retryAfter) {
        return new HubFailure(message, true, retryAfter, null);
    }

    /** A connection that failed. */
    static HubFailure connection(String message, @Nullable Throwable cause) {
        return new HubFailure(message, true, Duration.ZERO, cause);
    }

    boolean isTemporary() {
        return temporary;
    }

    Duration retryAfter() {
        return retryAfter;
    }
}
