package io.github.loomtorch.bench;

import io.github.loomtorch.bench.RequestTrace.Status;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.RequestTimings;
import java.util.Optional;

/** What a {@link Workload} is sent to. */
public interface Target {

    /** Receives what comes of a request, one call at a time. */
    interface Receiver {
        /** One or several output tokens arrived together. */
        void onTokens();

        /**
         * The request ended. The last call.
         *
         * @param status how
         * @param failure why it did not complete; empty if it did
         * @param timings of the scheduler; empty over HTTP, and if the request was rejected, cancelled or failed
         * @param inputTokens of the prompt
         * @param outputTokens that were generated
         */
        void onEnd(Status status, String failure, Optional<RequestTimings> timings, int inputTokens, int outputTokens);
    }

    /**
     * Sends a request. Returns at once, unless the target runs its batches on the thread of the caller.
     *
     * @param request what to generate
     * @param receiver of what comes
     */
    void send(GenerationRequest request, Receiver receiver);

    /** Nothing more will be sent: runs what waits for its batch to fill. */
    void flush();
}
