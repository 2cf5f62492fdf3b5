package io.github.loomtorch.scheduler;

import static io.github.loomtorch.testing.Requests.assertYield;
import static io.github.loomtorch.testing.Requests.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.RequestLimits;
import io.github.loomtorch.options.SchedulerOptions;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.SchedulerState;
import io.github.loomtorch.testing.FakeCausalLm;
import io.github.loomtorch.testing.ForwardingLm;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

@Timeout(20)
class SchedulersTest {
    private final FakeCausalLm lm = FakeCausalLm.ofBatch(4);
    private final EngineFactory factory = () -> new Engine(
            lm,
            EngineOptions.builder()
                    .limits(RequestLimits.builder().maxCopies(3).build())
                    .build());

    static Stream<SchedulerOptions> all() {
        return Stream.of(
                SchedulerOptions.naive(4),
                SchedulerOptions.asyncNaive(4, Duration.ofMillis(1)),
                SchedulerOptions.continuous(QueueOptions.defaults()));
    }

    @ParameterizedTest
    @MethodSource("all")
    void everySchedulerRunsWhatIsFlushed(SchedulerOptions options) throws IOException {
        try (Scheduler scheduler = Schedulers.start(options, List.of(factory))) {
            assertEquals(new SchedulerState.Running(1, 1), scheduler.state());
            Generation generation = scheduler.submit(request(3, 4));
            scheduler.flush();
            assertYield(request(3, 4), generation.join());
            scheduler.close();
            assertEquals(new SchedulerState.Draining(), scheduler.state());
        }
        assertEquals(1, lm.closes());
    }

    @ParameterizedTest
    @MethodSource("all")
    void everySchedulerBoundsCopies(SchedulerOptions options) throws IOException {
        try (Scheduler scheduler = Schedulers.start(options, List.of(factory))) {
            List<Generation> copies = scheduler.submitCopies(request(3, 4), 3);
            scheduler.flush();
            copies.forEach(copy -> assertYield(request(3, 4), copy.join()));
            assertEquals(
                    "n must be in [1, 3], got 4",
                    assertThrows(IllegalArgumentException.class, () -> scheduler.submitCopies(request(3, 4), 4))
                            .getMessage());
        }
    }

    @ParameterizedTest
    @MethodSource("all")
    void closeThrowsWhatFreeingTheModelThrew(SchedulerOptions options) throws IOException {
        RuntimeException thrown = new IllegalStateException("cannot free");
        EngineFactory failing = () -> new Engine(
                new ForwardingLm(lm) {
                    @Override
                    public void close() {
                        throw thrown;
                    }
                },
                EngineOptions.defaults());
        Scheduler scheduler = Schedulers.start(options, List.of(failing));
        assertSame(thrown, assertThrows(IllegalStateException.class, scheduler::close));
    }

    @Test
    void severalEnginesMakeAPool() throws IOException {
        EngineFactory other = () -> new Engine(FakeCausalLm.ofBatch(4), EngineOptions.defaults());
        try (Scheduler scheduler =
                Schedulers.start(SchedulerOptions.continuous(QueueOptions.defaults()), List.of(factory, other))) {
            assertInstanceOf(ReplicaPool.class, scheduler);
            assertEquals(new SchedulerState.Running(2, 2), scheduler.state());
        }
    }

    @Test
    void closesTheEngineThatDoesNotHoldTheBatch() {
        assertEquals(
                "batchSize must be in [1, 4], got 5",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> Schedulers.start(SchedulerOptions.naive(5), List.of(factory)))
                        .getMessage());
        assertEquals(1, lm.closes());
    }

    @Test
    void closesTheReplicasBeforeTheOneThatFails() {
        IOException missing = new IOException("no such file");
        EngineFactory failing = () -> {
            throw missing;
        };
        assertSame(
                missing,
                assertThrows(
                        IOException.class,
                        () -> Schedulers.start(
                                SchedulerOptions.continuous(QueueOptions.defaults()), List.of(factory, failing))));
        assertEquals(1, lm.closes());
    }

    @Test
    void refusesOptionsOutOfRange() {
        assertEquals(
                "batchSize must be >= 1, got 0",
                assertThrows(IllegalArgumentException.class, () -> SchedulerOptions.naive(0))
                        .getMessage());
        assertEquals(
                "timeout must be >= 0, got PT-1S",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> SchedulerOptions.asyncNaive(1, Duration.ofSeconds(-1)))
                        .getMessage());
        assertEquals(
                "ageingInterval must be > 0, got PT0S",
                assertThrows(
                                IllegalArgumentException.class,
                                () -> QueueOptions.builder()
                                        .ageingInterval(Duration.ZERO)
                                        .build())
                        .getMessage());
    }
}
