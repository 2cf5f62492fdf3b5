package io.github.loomtorch.engine;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.engine.Engine.Admission;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.StepStats;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.FakeClock;
import io.github.loomtorch.testing.FakeTokenizer;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.testing.RecordingListener;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.function.Predicate;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.Parameter;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * An engine on a fake model that finishes each step before the next is launched, and on one that runs ahead. The test
 * is the scheduler: it preempts the sequence admitted last, and fails what ran in a failed step.
 */
@Timeout(20)
@ParameterizedClass
@ValueSource(booleans = {false, true})
abstract class EngineFixture {
    static final long SEED = 42;

    @Parameter
    boolean ahead;

    final FakeClock clock = new FakeClock();
    final List<StepStats> stats = new ArrayList<>();
    final EngineOptions.Builder config =
            EngineOptions.builder().seeds(() -> SEED).listener(stats::add);
    FakeCausalLm lm;
    Engine engine;
    final Deque<Run> running = new ArrayDeque<>(); // in order of admission
    RuntimeException lastFailure;

    @BeforeEach
    void start() {
        use(FakeCausalLm.ofBatch(4));
    }

    Engine engine() {
        return engine(lm);
    }

    /** An engine whose reports are in {@link #stats} when a step returns, which {@link #step()} goes by. */
    Engine engine(CausalLm model) {
        return new Engine(model, new FakeTokenizer(), config.build(), clock, Runnable::run);
    }

    void use(FakeCausalLm model) {
        lm = model.runningAhead(ahead);
        engine = engine();
    }

    static final class Run {
        final RecordingListener listener = new RecordingListener();
        Sequence sequence;

        void assertComplete() {
            assertArrayEquals(
                    FakeCausalLm.expected(sequence.request(), SEED),
                    listener.completion().outputTokenIds());
            assertArrayEquals(listener.completion().outputTokenIds(), listener.tokenIds());
            int[] textIds = Arrays.stream(listener.tokenIds())
                    .filter(id -> id != FakeCausalLm.END_OF_TEXT)
                    .toArray();
            assertEquals(
                    new FakeTokenizer().decode(textIds), listener.completion().text());
            assertEquals(listener.text(), listener.completion().text());
        }
    }

    static int[] output(GenerationRequest request) {
        return FakeCausalLm.expected(request, SEED);
    }

    static CausalLm deterministic(CausalLm lm) {
        return deterministic(lm, 0);
    }

    /** One that verifies candidates in so many rows. */
    static CausalLm deterministic(CausalLm lm, int maxDecodeRows) {
        return new ForwardingLm(lm) {
            @Override
            public boolean deterministic() {
                return true;
            }

            @Override
            public int maxDecodeRows() {
                return maxDecodeRows;
            }

            @Override
            public void launch(List<Chunk> chunks) {
                int rows = chunks.stream()
                        .filter(chunk -> chunk.count() == 1 || chunk.sequence().candidates() > 0)
                        .mapToInt(Chunk::count)
                        .sum();
                assertTrue(rows <= Math.max(maxDecodeRows, maxBatchSize()), rows + " rows");
                super.launch(chunks);
            }
        };
    }

    Run sequence(GenerationRequest request) {
        Run run = new Run();
        run.sequence = engine.newSequence(request, run.listener);
        return run;
    }

    Run admitted(GenerationRequest request) {
        Run run = sequence(request);
        assertEquals(Admission.ADMITTED, tryAdmit(run));
        return run;
    }

    Admission tryAdmit(Run run) {
        Admission admission = engine.tryAdmit(run.sequence);
        if (admission == Admission.ADMITTED) {
            running.add(run);
        }
        return admission;
    }

    /** One call of {@link Engine#step()}; returns the runs preempted for it. */
    List<Run> engineStep() {
        List<Run> preempted = new ArrayList<>();
        try {
            if (engine.lacksPages()) {
                engine.finishSteps();
            }
            while (engine.lacksPages()) {
                running.removeIf(run -> run.sequence.hasEnded());
                preempted.add(running.removeLast());
                engine.preempt(List.of(preempted.getLast().sequence));
            }
            engine.step();
        } catch (StepFailedException e) {
            lastFailure = e.failure();
            failAll(e.failure());
        } catch (Error e) {
            failAll(new IllegalStateException("step failed: " + e, e));
            throw e;
        }
        running.removeIf(run -> run.sequence.hasEnded());
        return preempted;
    }

    private void failAll(RuntimeException cause) {
        running.removeIf(run -> run.sequence.hasEnded());
        running.forEach(run -> engine.fail(run.sequence, cause));
        running.clear();
    }

    /** Until the results of one more step are taken; a model that runs ahead then has the next in flight. */
    List<Run> step() {
        int taken = stats.size();
        List<Run> preempted = new ArrayList<>();
        do {
            preempted.addAll(engineStep());
        } while (stats.size() == taken && !engine.isIdle());
        return preempted;
    }

    void preempt(Run... runs) {
        try {
            engine.finishSteps();
        } catch (StepFailedException e) {
            throw new AssertionError(e);
        }
        engine.preempt(Arrays.stream(runs).map(run -> run.sequence).toList());
        running.removeAll(List.of(runs));
    }

    void runToEnd() {
        Deque<Run> waiting = new ArrayDeque<>();
        while (!waiting.isEmpty() || !engine.isIdle()) {
            while (!waiting.isEmpty() && tryAdmit(waiting.peek()) == Admission.ADMITTED) {
                waiting.remove();
            }
            engineStep().forEach(waiting::addFirst);
        }
        assertEquals(lm.pageCount(), engine.availablePages());
        assertEquals(0, engine.runningTokens());
    }

    /** Runs all that was made, and preempts the one admitted last by chance, before one step in so many. */
    void runToEnd(List<Run> all, RandomGenerator random, int stepsPerPreemption) throws StepFailedException {
        List<Run> waiting = new ArrayList<>(all);
        while (!waiting.isEmpty() || !engine.isIdle()) {
            waiting.removeIf(run -> tryAdmit(run) == Engine.Admission.ADMITTED);
            waiting.addAll(engineStep());
            if (random.nextInt(stepsPerPreemption) == 0) {
                engine.finishSteps();
                running.removeIf(run -> run.sequence.hasEnded());
                if (!running.isEmpty()) {
                    waiting.add(running.peekLast());
                    preempt(running.peekLast());
                }
            }
        }
        assertEquals(lm.pageCount(), engine.availablePages());
    }

    /** The first request of two prompt tokens whose output is as wanted. */
    static GenerationRequest requestWhoseOutput(Predicate<int[]> isWanted, SamplingParams sampling) {
        for (int i = 0; i < 8100; i++) {
            GenerationRequest request = new GenerationRequest(new int[] {i % 90, i / 90}, sampling);
            if (isWanted.test(output(request))) {
                return request;
            }
        }
        throw new AssertionError("no prompt of two tokens has such an output");
    }
}
