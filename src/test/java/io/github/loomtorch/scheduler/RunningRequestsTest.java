package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.engine.Engine.Admission;
import io.github.loomtorch.engine.StepFailedException;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeClock;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.RecordingListener;
import io.github.loomtorch.testing.Requests;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.Parameter;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.ValueSource;

/** Who is preempted, with a model that runs ahead and one that does not. */
@Timeout(20)
@ParameterizedClass
@ValueSource(booleans = {false, true})
class RunningRequestsTest {
    private static final long SEED = 42;
    private static final Duration AGEING = Duration.ofSeconds(10);

    @Parameter
    private boolean ahead;

    private final FakeClock clock = new FakeClock();
    private final List<StepStats> stats = new ArrayList<>();
    private final Map<QueuedRequest, RecordingListener> listeners = new IdentityHashMap<>();
    private FakeCausalLm lm;
    private Engine engine;
    private RunningRequests running;
    private long arrivals;

    @BeforeEach
    void start() {
        use(FakeCausalLm.ofBatch(4), EngineOptions.builder());
    }

    private void use(FakeCausalLm model, EngineOptions.Builder options) {
        lm = model.runningAhead(ahead);
        engine = new Engine(
                lm,
                new FakeTokenizer(),
                options.seeds(() -> SEED).listener(stats::add).build(),
                clock,
                Runnable::run);
        running = new RunningRequests(engine, QueuedRequest.byUrgency(AGEING));
    }

    private QueuedRequest queued(GenerationRequest request) {
        RecordingListener listener = new RecordingListener();
        QueuedRequest queued = new QueuedRequest(engine.newSequence(request, listener), cause -> {});
        queued.arrival(++arrivals);
        listeners.put(queued, listener);
        return queued;
    }

    private QueuedRequest admitted(GenerationRequest request) {
        QueuedRequest queued = queued(request);
        assertEquals(Admission.ADMITTED, running.tryAdmit(queued));
        return queued;
    }

    private List<QueuedRequest> preemptFor(QueuedRequest waiting) throws StepFailedException {
        running.finishSteps();
        List<QueuedRequest> victims = running.victimsFor(waiting);
        running.preempt(victims);
        return victims;
    }

    private void runToEnd() throws StepFailedException {
        WaitingQueue waiting = new WaitingQueue(QueuedRequest.byUrgency(AGEING));
        while (!waiting.isEmpty() || !engine.isIdle()) {
            for (var turn = waiting.iterator(); turn.hasNext(); ) {
                if (running.tryAdmit(turn.next()) == Admission.ADMITTED) {
                    turn.remove();
                }
            }
            running.step(waiting::add);
        }
    }

    private void assertComplete(QueuedRequest queued) {
        assertArrayEquals(
                FakeCausalLm.expected(queued.sequence().request(), SEED),
                listeners.get(queued).completion().outputTokenIds());
    }

    @Test
    void lowerPriorityGivesWayToHigher() throws StepFailedException {
        use(FakeCausalLm.ofBatch(2), EngineOptions.builder());
        QueuedRequest low = admitted(request(3, 8));
        QueuedRequest middle = admitted(request(4, 8).withPriority(1));
        running.step(preempted -> {});
        QueuedRequest high = queued(request(5, 8).withPriority(2));
        QueuedRequest highest = queued(request(6, 8).withPriority(3));
        assertEquals(Admission.FULL, running.tryAdmit(high));
        assertEquals(List.of(low), preemptFor(high));
        assertEquals(Admission.ADMITTED, running.tryAdmit(high));
        assertEquals(List.of(middle), preemptFor(highest));
        assertEquals(Admission.ADMITTED, running.tryAdmit(highest));
        assertEquals(List.of(), preemptFor(queued(request(7, 8).withPriority(2))));
        runToEnd();
        assertEquals(Admission.ADMITTED, running.tryAdmit(low));
        assertEquals(Admission.ADMITTED, running.tryAdmit(middle));
        runToEnd();
        List.of(low, middle, high, highest).forEach(this::assertComplete);
        assertEquals(2, stats.stream().mapToInt(StepStats::preemptedSequences).sum());
    }

    @Test
    void leastUrgentGivesWayWhenPagesRunOut() throws StepFailedException {
        use(new FakeCausalLm(4, 4, 16, 64), EngineOptions.builder());
        QueuedRequest low = admitted(request(8, 40));
        QueuedRequest high = admitted(request(9, 40).withPriority(1));
        List<QueuedRequest> preempted = new ArrayList<>();
        while (preempted.isEmpty()) {
            running.step(preempted::add);
        }
        assertEquals(List.of(low), preempted);
        runToEnd();
        assertEquals(Admission.ADMITTED, running.tryAdmit(low));
        runToEnd();
        assertComplete(low);
        assertComplete(high);
    }

    @Test
    void equalPriorityDoesNotGiveWayEvenToARequestThatHasWaitedLonger() {
        use(FakeCausalLm.ofBatch(1), EngineOptions.builder());
        QueuedRequest waiting = queued(request(5, 8));
        clock.advance(Duration.ofSeconds(60));
        admitted(request(3, 8));
        assertEquals(List.of(), running.victimsFor(waiting));
    }

    @Test
    void requestThatHasWaitedLongEnoughDoesNotGiveWay() {
        use(FakeCausalLm.ofBatch(1), EngineOptions.builder());
        QueuedRequest low = admitted(request(3, 8));
        clock.advance(Duration.ofSeconds(9));
        assertEquals(List.of(low), running.victimsFor(queued(request(4, 8).withPriority(1))));
        clock.advance(Duration.ofSeconds(1));
        assertEquals(List.of(), running.victimsFor(queued(request(4, 8).withPriority(1))));
    }

    @Test
    void ordersByPriorityAndWaitingTimeThenArrival() {
        QueuedRequest old = queued(request(1, 1));
        QueuedRequest next = queued(request(1, 1));
        clock.advance(Duration.ofSeconds(15));
        QueuedRequest plusOne = queued(request(1, 1).withPriority(1));
        QueuedRequest plusTwo = queued(request(1, 1).withPriority(2));
        QueuedRequest highest = queued(request(1, 1).withPriority(Integer.MAX_VALUE));
        QueuedRequest lowest = queued(request(1, 1).withPriority(Integer.MIN_VALUE));
        assertEquals(
                List.of(highest, plusTwo, old, next, plusOne, lowest),
                Stream.of(lowest, plusOne, next, old, highest, plusTwo)
                        .sorted(QueuedRequest.byUrgency(AGEING))
                        .toList());
    }

    @Test
    void stepThatFinishesEnoughRequestsPreemptsNobody() throws StepFailedException {
        use(new FakeCausalLm(2, 4, 16, 64), EngineOptions.builder());
        GenerationRequest ending = request(27, 6); // 8 pages with all its tokens, and it ends with the 32nd
        admitted(ending);
        admitted(request(26, 20)); // 8, and a ninth for its seventh token
        while (!engine.isIdle()) {
            running.step(preempted -> {
                throw new AssertionError("preempted");
            });
        }
        assertEquals(0, stats.stream().mapToInt(StepStats::preemptedSequences).sum());
    }

    @Test
    void requestPreemptedForAStepThatFailsIsKept() throws StepFailedException {
        use(new FakeCausalLm(4, 4, 16, 64), EngineOptions.builder());
        List<QueuedRequest> all =
                List.of(admitted(request(8, 40)), admitted(request(9, 40)), admitted(request(10, 40)));
        lm.onLaunch(chunks -> {
            if (chunks.size() < 3) {
                throw new StackOverflowError();
            }
        });
        List<QueuedRequest> preempted = new ArrayList<>();
        assertThrows(StackOverflowError.class, () -> {
            while (true) {
                running.step(preempted::add);
            }
        });
        assertEquals(List.of(all.get(2)), preempted);
        running.failAll(new IllegalStateException("stack"));
        assertEquals(0, listeners.get(all.get(2)).ends());
        assertEquals("stack", listeners.get(all.get(0)).failure().getMessage());
        lm.onLaunch(chunks -> {});
        assertEquals(Admission.ADMITTED, running.tryAdmit(all.get(2)));
        runToEnd();
        assertComplete(all.get(2));
    }

    /**
     * Random requests with few pages, small budgets, common prefixes, cancels and preemptions: each yields what it
     * yields alone.
     */
    @Test
    void yieldsTheSameTokensWhateverHappensAround() throws StepFailedException {
        Random random = new Random(3);
        int complete = 0;
        int preemptions = 0;
        for (int round = 0; round < 60; round++) {
            EngineOptions.Builder options = EngineOptions.builder()
                    .maxPrefillTokensPerStep(1 + random.nextInt(20))
                    .prefixCaching(random.nextInt(4) > 0);
            use(new FakeCausalLm(1 + random.nextInt(6), 1 + random.nextInt(5), 64 + random.nextInt(64), 64), options);
            if (random.nextInt(4) == 0) {
                ForwardingLm deterministic = new ForwardingLm(lm) {
                    @Override
                    public boolean deterministic() {
                        return true;
                    }
                };
                engine = new Engine(deterministic, new FakeTokenizer(), options.build(), clock, Runnable::run);
                running = new RunningRequests(engine, QueuedRequest.byUrgency(AGEING));
            }
            List<QueuedRequest> all = new ArrayList<>();
            for (int i = 0; i < 25; i++) {
                all.add(queued(Requests.random(random)));
            }
            List<QueuedRequest> waiting = new ArrayList<>(all);
            while (!waiting.isEmpty() || !engine.isIdle()) {
                QueuedRequest next = waiting.isEmpty() ? null : waiting.get(random.nextInt(waiting.size()));
                Admission admission = next == null ? Admission.FULL : running.tryAdmit(next);
                if (next != null && admission == Admission.FULL && random.nextInt(4) == 0) {
                    List<QueuedRequest> victims = preemptFor(next);
                    waiting.addAll(victims);
                    preemptions += victims.size();
                    admission = running.tryAdmit(next);
                    assertTrue(victims.isEmpty() || admission == Admission.ADMITTED);
                }
                if (admission == Admission.ADMITTED) {
                    waiting.remove(next);
                }
                if (random.nextInt(50) == 0) {
                    all.get(random.nextInt(all.size())).sequence().cancel();
                }
                running.step(waiting::add);
            }
            assertEquals(lm.pageCount(), engine.availablePages());
            assertEquals(0, engine.runningTokens());
            for (QueuedRequest request : all) {
                Completion completion = listeners.get(request).completion();
                if (completion.finishReason() == FinishReason.CANCELLED) {
                    int[] some = completion.outputTokenIds();
                    assertArrayEquals(
                            Arrays.copyOf(
                                    FakeCausalLm.expected(request.sequence().request(), SEED), some.length),
                            some);
                } else {
                    assertComplete(request);
                    complete++;
                }
            }
        }
        assertTrue(complete > 500 && preemptions > 50, "complete " + complete + ", preemptions " + preemptions);
    }
}
