package io.github.loomtorch.engine;

import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine.Admission;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.Requests;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Who has room in the batch. */
class EngineAdmissionTest extends EngineFixture {
    @Test
    void admitsNoMoreThanThereAreSlots() {
        for (int i = 0; i < 4; i++) {
            admitted(request(2 + i, 3));
        }
        assertTrue(engine.isFull());
        Run waiting = sequence(request(1, 1));
        assertEquals(Admission.FULL, tryAdmit(waiting));
        runToEnd();
        assertEquals(Admission.ADMITTED, tryAdmit(waiting));
        runToEnd();
        waiting.assertComplete();
    }

    @Test
    void admitsNothingForWhichThereAreTooFewPages() {
        use(new FakeCausalLm(4, 4, 16, 64));
        admitted(request(50, 4)); // may come to need 14
        Run waiting = sequence(request(5, 8)); // 2, and soon 3
        assertEquals(Admission.FULL, tryAdmit(waiting));
        assertEquals(Admission.ADMITTED, tryAdmit(sequence(request(6, 2)))); // 2, and no more
        runToEnd();
    }

    @Test
    void admitsSequenceOfAnyLengthIfNoneRuns() {
        use(new FakeCausalLm(4, 4, 16, 64));
        for (int length = 1; length < 64; length++) {
            Run run = admitted(request(length, 64 - length));
            runToEnd();
            run.assertComplete();
        }
    }

    @Test
    void admitsAllIfTheCacheHoldsAllAtTheirLongest() {
        use(FakeCausalLm.ofBatch(3));
        for (int length = 61; length < 64; length++) {
            admitted(request(length, 64 - length));
        }
        runToEnd();
        assertEquals(3, lm.largestBatch());
    }

    @Test
    void nobodyLosesItsPagesSoonAfterAnAdmission() {
        use(new FakeCausalLm(6, 4, 24, 64));
        Random random = new Random(5);
        int refusals = 0;
        int preemptions = 0;
        int sinceAdmission = 0;
        for (int step = 0; step < 1000; step++) {
            Admission admission = tryAdmit(sequence(Requests.random(random)));
            sinceAdmission = admission == Admission.ADMITTED ? 0 : sinceAdmission + 1;
            refusals += admission == Admission.FULL && !engine.isFull() ? 1 : 0;
            int preempted = engineStep().size();
            assertTrue(preempted == 0 || sinceAdmission > 4, sinceAdmission + " steps after an admission");
            preemptions += preempted;
        }
        assertTrue(refusals > 100 && preemptions > 10, "refusals " + refusals + ", preemptions " + preemptions);
    }
}
