package io.github.loomtorch.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.StepStats;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(20)
class StepReporterTest {
    private final List<Runnable> tasks = new ArrayList<>();

    private static StepStats stats(int number) {
        return new StepStats(number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false, 0);
    }

    private void runTasks() {
        tasks.forEach(Runnable::run);
        tasks.clear();
    }

    @Test
    void reportsInOrderByOneTaskAtATime() {
        List<Integer> seen = new ArrayList<>();
        StepReporter reporter = new StepReporter(stats -> seen.add(stats.sequences()), tasks::add);
        reporter.report(stats(1));
        reporter.report(stats(2));
        assertEquals(1, tasks.size());
        assertEquals(List.of(), seen);
        runTasks();
        reporter.report(stats(3));
        runTasks();
        assertEquals(List.of(1, 2, 3), seen);
    }

    @Test
    void dropsTheOldestBeyondTheBoundAndCountsThem() {
        List<StepStats> seen = new ArrayList<>();
        StepReporter reporter = new StepReporter(seen::add, tasks::add);
        for (int i = 0; i < StepReporter.MAX_PENDING + 3; i++) {
            reporter.report(stats(i));
        }
        runTasks();
        assertEquals(
                IntStream.range(3, StepReporter.MAX_PENDING + 3).boxed().toList(),
                seen.stream().map(StepStats::sequences).toList());
        assertEquals(3, seen.get(0).droppedReports());
        assertEquals(0, seen.get(1).droppedReports());
    }

    @Test
    void errorsOfTheListenerStayWithIt() {
        List<Integer> seen = new ArrayList<>();
        StepReporter reporter = new StepReporter(
                stats -> {
                    seen.add(stats.sequences());
                    throw new StackOverflowError();
                },
                tasks::add);
        reporter.report(stats(1));
        reporter.report(stats(2));
        runTasks();
        assertEquals(List.of(1, 2), seen);
    }

    @Test
    void noListenerCostsNoTask() {
        new StepReporter(EngineListener.NONE, tasks::add).report(stats(1));
        assertEquals(List.of(), tasks);
    }
}
