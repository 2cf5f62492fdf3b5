package io.github.loomtorch.examples.spark;

import io.github.loomtorch.TextGenerator;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.SchedulerOptions;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.spark.TaskContext;
import org.apache.spark.resource.ResourceInformation;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The generators of this executor: one for each model and its options, loaded by the first task that needs it, shared
 * by all and closed when the process ends.
 */
final class Generators {
    private static final Logger LOG = LoggerFactory.getLogger(Generators.class);
    private static final Map<Key, TextGenerator> OPEN = new ConcurrentHashMap<>();

    static {
        Runtime.getRuntime()
                .addShutdownHook(new Thread(
                        () -> OPEN.values()
                                .forEach(generator -> generator.scheduler().closeNow()),
                        "close-generators"));
    }

    private Generators() {}

    private record Key(String model, ModelOptions options) {}

    /** That of the calling task's executor. */
    static TextGenerator of(BulkOptions options) {
        ModelOptions own = options.modelOptions();
        ResourceInformation gpu = TaskContext.get().resourcesJMap().get("gpu");
        if (gpu != null && own.device().equals("auto")) {
            own = own.toBuilder().device("cuda:" + gpu.addresses()[0]).build();
        }
        return OPEN.computeIfAbsent(new Key(options.model(), own), Generators::load);
    }

    private static TextGenerator load(Key key) {
        QueueOptions queue = QueueOptions.builder()
                .maxQueuedRequests(4 * key.options.maxBatchSize())
                .whenFull(QueueOptions.WhenFull.BLOCK)
                .build();
        LOG.info("process {} loads {}", ProcessHandle.current().pid(), key.model);
        try {
            return TextGenerator.builder(key.model)
                    .model(key.options)
                    .engine(EngineOptions.builder().daemonThreads(true).build())
                    .scheduler(SchedulerOptions.continuous(queue))
                    .build();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
