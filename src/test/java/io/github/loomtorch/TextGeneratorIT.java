package io.github.loomtorch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineListener;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.SchedulerOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.testing.CommandProcess;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.RejectedExecutionException;
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
    private static final SamplingParams LONG =
            SamplingParams.greedy(1000).toBuilder().ignoreEos(true).build();

    private static TextGenerator.Builder tales(EngineListener listener) {
        return TextGenerator.builder(TALES)
                .model(FLOAT32)
                .engine(EngineOptions.builder().listener(listener).build());
    }

    private TextGenerator gpt2;

    @AfterEach
    void close() {
        if (gpt2 != null) {
            gpt2.close();
        }
    }

    @Test
    void eachDeviceHasAReplicaAndBothSayTheSame() throws Exception {
        List<CountDownLatch> stepped = List.of(new CountDownLatch(1), new CountDownLatch(1));
        gpt2 = TextGenerator.builder(TALES)
                .model(FLOAT32)
                .engine(replica -> EngineOptions.builder()
                        .listener(step -> stepped.get(replica).countDown())
                        .build())
                .devices("cpu", "cpu")
                .build();
        Generation first = gpt2.submit("Once upon a time", LONG);
        Generation second = gpt2.submit("Once upon a time", GREEDY); // the other replica has less to do
        assertEquals(", and then, as", second.join().text());
        for (CountDownLatch latch : stepped) {
            latch.await();
        }
        first.cancel();
        String text = first.join().text(); // of at least one token
        assertTrue(text.startsWith(", and then, as") || ", and then, as".startsWith(text), text);
    }

    @Test
    void aFullQueueRejects() throws IOException {
        QueueOptions queue = QueueOptions.builder().maxQueuedRequests(1).build();
        gpt2 = TextGenerator.builder(TALES)
                .model(FLOAT32.toBuilder().maxBatchSize(1).build())
                .scheduler(SchedulerOptions.continuous(queue))
                .build();
        Generation running = gpt2.submit("Once", LONG);
        running.tokens().iterator().next();
        Generation waiting = gpt2.submit("Once", GREEDY);
        assertEquals(
                "queue is full: 1 requests waiting (maxQueuedRequests=1)",
                assertThrows(RejectedExecutionException.class, () -> gpt2.submit("Once", GREEDY))
                        .getMessage());
        running.cancel();
        waiting.join();
    }

    @Test
    void refusesATextThatCannotFitBeforeItIsTokenized() throws IOException {
        gpt2 = tales(step -> {}).build();
        String text = "a".repeat(128 * 1024);
        gpt2.request(text, GREEDY);
        assertEquals(
                "prompt must have at most 131072 characters, got 131073",
                assertThrows(IllegalArgumentException.class, () -> gpt2.request(text + "a", GREEDY))
                        .getMessage());
    }

    @Test
    void anotherSchedulerTakesThePlaceOfContinuousBatching() throws IOException {
        gpt2 = tales(step -> {})
                .scheduler(SchedulerOptions.asyncNaive(1, Duration.ZERO))
                .build();
        assertEquals(1, gpt2.generate("Once upon a time", GREEDY).batchNumber());
    }

    @Test
    void aNaiveSchedulerRunsAnIncompleteBatchForWhoWaits() throws IOException {
        gpt2 = tales(step -> {}).scheduler(SchedulerOptions.naive(4)).build();
        assertEquals(", and then, as", gpt2.generate("Once upon a time", GREEDY).text());
        GenerationRequest request = gpt2.request("Once upon a time", GREEDY);
        assertEquals(
                List.of(2, 2, 2, 2, 3),
                gpt2.generateAll(Collections.nCopies(5, request)).stream()
                        .map(Completion::batchNumber)
                        .toList());
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
        gpt2 = tales(step -> {}).build();
        GenerationRequest tooLong = new GenerationRequest(new int[2000], GREEDY);
        List<GenerationRequest> requests = List.of(gpt2.request("Once upon a time", GREEDY), tooLong);
        assertThrows(IllegalArgumentException.class, () -> gpt2.generateAll(requests));
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

    /** Leaves a generator open when it ends. */
    static final class LeavesItOpen {
        public static void main(String[] args) throws IOException {
            TextGenerator generator = TextGenerator.builder(Path.of("models/tales"))
                    .engine(EngineOptions.builder().daemonThreads(true).build())
                    .build();
            System.out.println(
                    generator.generate("The old man", SamplingParams.greedy(3)).outputTokenIds().length);
        }
    }

    @Test
    void daemonThreadsLetTheProcessEnd() throws Exception {
        CommandProcess.Result result = new CommandProcess(LeavesItOpen.class).run();
        assertEquals("3\n", result.out(), result.err());
        assertEquals(0, result.status());
    }
}
