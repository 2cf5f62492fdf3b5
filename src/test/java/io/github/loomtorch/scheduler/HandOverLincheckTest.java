package io.github.loomtorch.scheduler;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.SequenceListener;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenEvent;
import io.github.loomtorch.testing.FakeCausalLm;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jetbrains.lincheck.datastructures.ModelCheckingOptions;
import org.jetbrains.lincheck.datastructures.Operation;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Lincheck runs the two places where threads hand things to each other in all interleavings of small scenarios:
 * requests to the engine thread, and tokens to readers. Every result must be one that some order of the calls has.
 * {@code mvn -Plincheck test -Dtest=HandOverLincheckTest} runs it.
 */
@Tag("lincheck")
@Timeout(300)
class HandOverLincheckTest {

    private static ModelCheckingOptions options() {
        return new ModelCheckingOptions()
                .iterations(8)
                .invocationsPerIteration(500)
                .threads(2)
                .actorsPerThread(2)
                .actorsBefore(0)
                .actorsAfter(1);
    }

    private static final Sequence SEQUENCE = new Engine(FakeCausalLm.ofBatch(4), EngineOptions.defaults())
            .newSequence(new GenerationRequest(new int[] {1}, SamplingParams.greedy(1)), SequenceListener.NONE);

    private static String offer(SubmissionQueue queue) {
        QueuedRequest request = new QueuedRequest(SEQUENCE, cause -> {});
        try {
            queue.offer(request);
            return "taken " + request.arrival();
        } catch (IllegalStateException e) {
            return e.getMessage();
        }
    }

    /** Submitters on one side, the engine thread on the other. */
    public static class Inbox {
        private final SubmissionQueue queue = new SubmissionQueue(QueueOptions.unbounded(), 0, () -> {});

        @Operation
        public String offer() {
            return HandOverLincheckTest.offer(queue);
        }

        @Operation(nonParallelGroup = "engine")
        public String take() {
            List<Long> arrivals = new ArrayList<>();
            queue.take().requests().forEach(request -> arrivals.add(request.arrival()));
            return arrivals.toString();
        }
    }

    /** A request is either refused or among those that the watchdog takes over. */
    public static class LostInbox {
        private final SubmissionQueue queue = new SubmissionQueue(QueueOptions.unbounded(), 0, () -> {});

        @Operation
        public String offer() {
            return HandOverLincheckTest.offer(queue);
        }

        @Operation(nonParallelGroup = "watchdog")
        public int lose() {
            return queue.lose(new IllegalStateException("lost")).size();
        }
    }

    /** The engine thread writes; a watchdog may end the log first; readers look. */
    public static class Log {
        private final TokenLog log = new TokenLog();
        private int ends; // guarded by the log's lock

        @Operation(nonParallelGroup = "engine")
        public void add() {
            log.add(new TokenEvent(0, 0, "", Optional.empty()));
        }

        @Operation
        public int end() {
            log.end(() -> ends++);
            return ends; // 1 whoever is first
        }

        @Operation
        public void fail() {
            log.fail(new IllegalStateException("failed"), () -> ends++);
        }

        @Operation
        public boolean hasEnded() {
            return log.hasEnded();
        }

        @Operation
        public String next() {
            return log.next(0).toString();
        }
    }

    @Test
    void requestsReachTheEngineThread() {
        options().check(Inbox.class);
    }

    @Test
    void noRequestIsForgottenWhenTheEngineIsLost() {
        options().check(LostInbox.class);
    }

    @Test
    void tokensReachReaders() {
        options().check(Log.class);
    }
}
