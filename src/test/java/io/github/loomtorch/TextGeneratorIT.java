package io.github.loomtorch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.QueueOptions.WhenFull;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.scheduler.AsyncNaiveScheduler;
import io.github.loomtorch.scheduler.Generation;
import io.github.loomtorch.testing.StepGate;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.RejectedExecutionException;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The entry class on the embedded model, on the CPU. */
@Timeout(60)
class TextGeneratorIT {
    private static final Path TALES = Path.of("models/tales");
    private static final ModelOptions FLOAT32 =
            ModelOptions.builder().device("cpu").dtype(Dtype.FLOAT32).build();
    private static final SamplingParams GREEDY = SamplingParams.greedy(5);

    private static TextGenerator.Builder tales(EngineListener listener) {
        return TextGenerator.builder(TALES)
                .model(FLOAT32)
                .engine(EngineOptions.builder().listener(listener).build());
    }

    private final StepGate gate = new StepGate();
    private TextGenerator gpt2;

    @AfterEach
    void close() {
        gate.open();
        gate.open(); // for a second replica
        if (gpt2 != null) {
            gpt2.close();
        }
    }

    @Test
    void eachDeviceHasAReplicaAndBothSayTheSame() throws Exception {
        Map<Integer, Thread> engines = new ConcurrentHashMap<>();
        gpt2 = TextGenerator.builder(TALES)
                .model(FLOAT32)
                .engine(replica -> EngineOptions.builder()
                        .listener(step -> {
                            engines.put(replica, Thread.currentThread());
                            gate.pass();
                        })
                        .build())
                .devices("cpu", "cpu")
                .build();
        Generation first = gpt2.submit("Once upon a time", GREEDY);
        gate.awaitStep();
        Generation second = gpt2.submit("Once upon a time", GREEDY); // the other replica has less to do
        gate.awaitStep();
        assertEquals(Set.of(0, 1), engines.keySet());
        assertEquals(
                Set.of("engine-0", "engine-1"),
                engines.values().stream().map(Thread::getName).collect(Collectors.toSet()));
        close();
        assertEquals(", and then, as", first.join().text());
        assertEquals(", and then, as", second.join().text());
        assertTrue(engines.values().stream().noneMatch(Thread::isAlive));
    }

    @Test
    void aFullQueueRejects() throws Exception {
        QueueOptions queue = new QueueOptions(1, Long.MAX_VALUE, WhenFull.REJECT);
        gpt2 = tales(step -> gate.pass())
                .model(FLOAT32.toBuilder().maxBatchSize(1).build())
                .queue(queue)
                .build();
        gpt2.submit("Once", GREEDY); // runs
        gate.awaitStep();
        gpt2.submit("Once", GREEDY); // waits
        assertEquals(
                "queue is full: 1 requests waiting (maxQueuedRequests=1)",
                assertThrows(RejectedExecutionException.class, () -> gpt2.submit("Once", GREEDY))
                        .getMessage());
    }

    @Test
    void anotherSchedulerTakesThePlaceOfContinuousBatching() throws IOException {
        gpt2 = tales(step -> {})
                .scheduler(engines -> new AsyncNaiveScheduler(engines, 1, Duration.ZERO))
                .build();
        assertEquals(1, gpt2.generate("Once upon a time", GREEDY).batchNumber());
    }

    @Test
    void severalRequestsRunTogetherAndComeBackInOrder() throws IOException {
        gpt2 = tales(step -> {}).build();
        List<Completion> completions = gpt2.generateAll(
                List.of(gpt2.request("Once upon a time", GREEDY), gpt2.request("The old man said", GREEDY)));
        assertEquals(
                gpt2.generate("Once upon a time", GREEDY).text(),
                completions.get(0).text());
        assertEquals(
                gpt2.generate("The old man said", GREEDY).text(),
                completions.get(1).text());
    }

    @Test
    void aRefusedRequestCancelsThoseBeforeIt() throws Exception {
        gpt2 = tales(step -> gate.pass()).build();
        GenerationRequest tooLong = new GenerationRequest(new int[2000], GREEDY);
        List<GenerationRequest> requests = List.of(gpt2.request("Once upon a time", GREEDY), tooLong);
        assertThrows(IllegalArgumentException.class, () -> gpt2.generateAll(requests));
        gate.open();
        close(); // returns only when nothing runs
    }

    @Test
    void aDeviceThatFailsClosesTheReplicasBeforeIt() {
        assertThrows(
                TorchException.class,
                () -> tales(step -> {}).devices("cpu", "cuda:99").build());
        assertTrue(Thread.getAllStackTraces().keySet().stream()
                .noneMatch(thread -> thread.getName().equals("engine-0")));
    }
}
