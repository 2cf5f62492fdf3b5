package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.testing.ForwardingLm;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Steps, rows and listeners that fail. */
class EngineFailureTest extends EngineFixture {
    @Test
    void awaitsTheStepInFlightThoughPublishingFails() {
        Run good = admitted(request(4, 3));
        engine.tryAdmit(engine.newSequence(request(3, 3), new ThrowingListener()));
        step();
        step();
        assertEquals("listener", good.listener.failure().getMessage());
        Run next = admitted(request(5, 3));
        runToEnd();
        next.assertComplete();
    }

    @Test
    void closesTheModelThoughAListenerThrows() {
        engine.tryAdmit(engine.newSequence(request(3, 3), new ThrowingListener()));
        step(); // its token is not published yet
        engine.close();
        assertEquals(1, lm.closes());
    }

    @Test
    void goesOnThoughItsListenerThrows() {
        config.listener(step -> {
            throw new IllegalStateException("listener");
        });
        engine = engine();
        Run run = admitted(request(3, 4));
        runToEnd();
        run.assertComplete();
    }

    @Test
    void failureToMeasureTheDeviceFailsTheStep() {
        RuntimeException cause = new IllegalStateException("no event");
        engine = engine(new ForwardingLm(lm) {
            @Override
            public long deviceNanos() {
                throw cause;
            }
        });
        Run run = admitted(request(3, 4));
        runToEnd();
        assertSame(cause, run.listener.failure());
    }

    @Test
    void knowsAfterAFailedStepThatTheDeviceIsLost() {
        boolean[] lost = {false};
        engine = engine(new ForwardingLm(lm) {
            @Override
            public boolean isLost() {
                return lost[0];
            }
        });
        lm.onAwait(chunks -> {
            throw new IllegalStateException("device failed");
        });
        admitted(request(3, 4));
        step();
        assertFalse(engine.isLost());
        lost[0] = true;
        admitted(request(3, 4));
        step();
        assertTrue(engine.isLost());
    }

    @Test
    void failingRowFailsItsSequenceOnly() {
        RuntimeException cause = new IllegalStateException("no finite logit");
        Run bad = admitted(request(3, 8));
        Run good = admitted(request(4, 8));
        lm.failing(sequence -> sequence == bad.sequence && sequence.length() == 5 ? cause : null);
        runToEnd();
        assertSame(cause, bad.listener.failure());
        assertArrayEquals(Arrays.copyOf(output(request(3, 8)), 2), bad.listener.tokenIds());
        good.assertComplete();
        assertNull(lastFailure);
    }

    @Test
    void failingLaunchFailsAllThatRunAndLeavesTheEngineUsable() {
        List<Run> bad = List.of(admitted(request(9, 8)), admitted(request(4, 8)));
        step();
        RuntimeException cause = new IllegalStateException("forward failed");
        lm.onLaunch(chunks -> {
            throw cause;
        });
        step();
        bad.forEach(run -> {
            assertSame(cause, run.listener.failure());
            assertEquals(1, run.listener.events().size());
        });
        assertTrue(engine.isIdle());
        assertEquals(lm.pageCount(), engine.availablePages());
        assertSame(cause, lastFailure);
        assertTrue(stats.getLast().failed());

        lm.onLaunch(chunks -> {});
        long computed = lm.computedTokens();
        Run good = admitted(request(9, 8));
        runToEnd();
        good.assertComplete();
        assertEquals(9 + 7, lm.computedTokens() - computed); // what was cached is not trusted
    }

    @Test
    void failingAwaitFailsAllThatRunAndLeavesTheEngineUsable() {
        Run bad = admitted(request(9, 8));
        RuntimeException cause = new IllegalStateException("device failed");
        lm.onAwait(chunks -> {
            throw cause;
        });
        step();
        assertSame(cause, bad.listener.failure());
        lm.onAwait(chunks -> {});
        Run good = admitted(request(9, 8));
        runToEnd();
        good.assertComplete();
    }

    @Test
    void errorFailsAllThatRunAndIsThrown() {
        Run bad = admitted(request(9, 8));
        Error error = new OutOfMemoryError("heap");
        lm.onAwait(chunks -> {
            throw error;
        });
        assertSame(error, assertThrows(OutOfMemoryError.class, this::step));
        assertSame(error, bad.listener.failure().getCause());
        assertEquals(
                "step failed: java.lang.OutOfMemoryError: heap",
                bad.listener.failure().getMessage());
    }
}
