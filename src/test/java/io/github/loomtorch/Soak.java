package io.github.loomtorch;

import com.sun.management.UnixOperatingSystemMXBean;
import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.SchedulerOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.FinishReason;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.scheduler.Schedulers;
import io.github.loomtorch.testing.ForwardingLm;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.bytedeco.javacpp.Pointer;

/**
 * A mixed load with random faults on the embedded model, for as long as asked, printing what must stay flat: heap,
 * native memory, threads and file descriptors. {@code dev/soak MINUTES [SEED]} runs it; it is not part of the tests.
 */
public final class Soak {
    private static final int CALLERS = 24;
    private static final int REPORT_SECONDS = 30;

    private final Random random; // of the faults: used on the engine thread only
    private final Map<FinishReason, AtomicLong> finished = new EnumMap<>(FinishReason.class);
    private final AtomicLong failed = new AtomicLong();
    private final AtomicLong refused = new AtomicLong();
    private final AtomicLong faults = new AtomicLong();
    private volatile boolean stopping;

    private Soak(long seed) {
        random = new Random(seed);
        for (FinishReason reason : FinishReason.values()) {
            finished.put(reason, new AtomicLong());
        }
    }

    /**
     * Runs the load.
     *
     * @param args minutes, and a seed if it is to be the same faults again
     */
    public static void main(String[] args) throws Exception {
        double minutes = Double.parseDouble(args[0]);
        long seed = args.length > 1 ? Long.parseLong(args[1]) : new Random().nextLong();
        System.out.printf("soak of %s minutes, seed %d%n", args[0], seed);
        new Soak(seed).run((long) (minutes * 60));
    }

    private Engine engine(ModelDirectory model, Tokenizer tokenizer, ModelOptions options) throws IOException {
        ForwardingLm faulty = new ForwardingLm(Gpt2Loader.load(model, options)) {
            @Override
            public void launch(List<Chunk> chunks) {
                if (random.nextInt(200) == 0) {
                    faults.incrementAndGet();
                    throw new IllegalStateException("a fault by chance");
                }
                if (random.nextInt(500) == 0) {
                    faults.incrementAndGet();
                    pause(300);
                }
                super.launch(chunks);
            }
        };
        EngineOptions engineOptions = EngineOptions.builder()
                .listener(stats -> {
                    if (stats.sampledTokens() % 13 == 0) {
                        throw new IllegalStateException("a listener that throws");
                    }
                })
                .build();
        return new Engine(faulty, tokenizer, engineOptions);
    }

    private static void pause(int millis) {
        try {
            Thread.sleep(millis); // a step that stalls
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private void run(long seconds) throws Exception {
        ModelDirectory model = ModelDirectory.open(Path.of("models/tales"));
        Tokenizer tokenizer = BpeTokenizer.ofModel(model.path(), model.config().vocabSize());
        ModelOptions options =
                ModelOptions.builder().device("cpu").maxBatchSize(8).build();
        QueueOptions queue = QueueOptions.builder()
                .maxQueuedRequests(16)
                .whenFull(QueueOptions.WhenFull.BLOCK)
                .build();
        try (Scheduler scheduler = Schedulers.start(
                        SchedulerOptions.continuous(queue), List.of(() -> engine(model, tokenizer, options)));
                ExecutorService callers = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int i = 0; i < CALLERS; i++) {
                long seed = i;
                callers.submit(() -> call(scheduler, tokenizer, new Random(seed)));
            }
            report(seconds);
            stopping = true;
        }
        System.out.println("closed: " + counts());
    }

    private void call(Scheduler scheduler, Tokenizer tokenizer, Random own) {
        String[] words = {
            "Once upon a time", "The old man", "In the morning", "She opened the door and", "é你好 \uD83D\uDE00"
        };
        while (!stopping) {
            SamplingParams.Builder sampling = SamplingParams.builder()
                    .maxNewTokens(1 + own.nextInt(60))
                    .temperature(own.nextInt(2))
                    .repetitionPenalty(own.nextInt(4) == 0 ? 1.2f : 1);
            if (own.nextInt(3) == 0) {
                sampling.stopStrings(List.of("\n", "the end", "aaaa"));
            }
            if (own.nextInt(4) == 0) {
                sampling.topLogprobs(3);
            }
            GenerationRequest request = new GenerationRequest(
                            tokenizer.encode(words[own.nextInt(words.length)].repeat(1 + own.nextInt(20))),
                            sampling.build())
                    .withPriority(own.nextInt(3));
            if (own.nextInt(5) == 0) {
                request = request.withTimeout(Duration.ofMillis(1 + own.nextInt(400)));
            }
            try {
                List<Generation> generations = new ArrayList<>();
                if (own.nextInt(6) == 0) {
                    generations.addAll(scheduler.submitCopies(request, 3));
                } else {
                    generations.add(scheduler.submit(request, event -> {
                        if (event.tokenId() % 97 == 0) {
                            throw new IllegalStateException("a listener that throws");
                        }
                    }));
                }
                if (own.nextInt(5) == 0) {
                    generations.getFirst().cancel();
                }
                for (Generation generation : generations) {
                    await(generation);
                }
            } catch (RejectedExecutionException | IllegalStateException e) {
                refused.incrementAndGet();
            }
        }
    }

    private void await(Generation generation) {
        try {
            Completion completion = generation.join();
            finished.get(completion.finishReason()).incrementAndGet();
        } catch (CompletionException e) {
            failed.incrementAndGet();
        }
    }

    private void report(long seconds) throws InterruptedException {
        System.out.println("seconds  heap MiB  resident MiB  platform threads  descriptors  requests");
        for (long elapsed = 0; elapsed < seconds; elapsed += REPORT_SECONDS) {
            TimeUnit.SECONDS.sleep(Math.min(REPORT_SECONDS, seconds - elapsed));
            System.gc();
            Runtime runtime = Runtime.getRuntime();
            long descriptors = ManagementFactory.getOperatingSystemMXBean() instanceof UnixOperatingSystemMXBean unix
                    ? unix.getOpenFileDescriptorCount()
                    : -1;
            System.out.printf(
                    Locale.ROOT,
                    "%7d  %8.1f  %12.1f  %16d  %11d  %s%n",
                    elapsed + REPORT_SECONDS,
                    (runtime.totalMemory() - runtime.freeMemory()) / 1048576.0,
                    Pointer.physicalBytes() / 1048576.0,
                    ManagementFactory.getThreadMXBean().getThreadCount(),
                    descriptors,
                    counts());
        }
    }

    private String counts() {
        return finished + ", failed " + failed + ", refused " + refused + ", faults " + faults;
    }
}
