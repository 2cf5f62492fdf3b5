package io.github.loomtorch;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenListener;
import io.github.loomtorch.scheduler.ContinuousScheduler;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.scheduler.Generation;
import io.github.loomtorch.scheduler.ReplicaPool;
import io.github.loomtorch.scheduler.Scheduler;
import io.github.loomtorch.scheduler.SchedulerFactory;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadFactory;
import java.util.function.IntFunction;

/**
 * Text in, text out: a model directory made ready to serve many threads at once.
 *
 * <pre>{@code
 * try (TextGenerator gpt2 = TextGenerator.load(Path.of("models/tales"))) {
 *     System.out.println(gpt2.generate("Once upon a time", SamplingParams.creative()).text());
 * }
 * }</pre>
 *
 * <p>Thread-safe; made for callers on virtual threads, which wait without holding a platform thread.
 */
public final class TextGenerator implements AutoCloseable {
    private static final Path DEFAULT_TOKENIZER = Path.of("tokenizer");

    private final Tokenizer tokenizer;
    private final Scheduler scheduler;

    private TextGenerator(Tokenizer tokenizer, Scheduler scheduler) {
        this.tokenizer = tokenizer;
        this.scheduler = scheduler;
    }

    /**
     * Loads a model with the usual options: the first GPU if there is one, continuous batching.
     *
     * @param modelDirectory {@code config.json} and {@code model.safetensors} or {@code model.ts}, and the tokenizer's
     *     files, else those in the folder {@code tokenizer} of the working directory are taken
     * @return a generator, to be closed
     * @throws IOException if a file is missing or malformed
     * @throws io.github.loomtorch.request.TorchException if libtorch is missing or memory runs out
     */
    public static TextGenerator load(Path modelDirectory) throws IOException {
        return builder(modelDirectory).build();
    }

    /**
     * A builder that starts from the options of {@link #load}.
     *
     * @param modelDirectory see {@link #load}
     * @return a new builder
     */
    public static Builder builder(Path modelDirectory) {
        return new Builder(modelDirectory);
    }

    /**
     * Continues a prompt and waits for the result.
     *
     * @param prompt at least one character
     * @param sampling how
     * @return the new tokens and their text
     * @throws IllegalArgumentException if the prompt is empty or, with the new tokens, longer than the model's context
     * @throws IllegalStateException if the generator is closed, or its devices are lost
     * @throws RejectedExecutionException if the queue is full
     * @throws CancellationException if interrupted while waiting for room in a queue that blocks
     * @throws CompletionException if the generation failed; its cause says why
     */
    public Completion generate(String prompt, SamplingParams sampling) {
        return submit(prompt, sampling).join();
    }

    /**
     * Continues a prompt without waiting.
     *
     * @param prompt at least one character
     * @param sampling how
     * @return the generation in flight
     * @throws IllegalArgumentException if the prompt is empty or, with the new tokens, longer than the model's context
     * @throws IllegalStateException if the generator is closed, or its devices are lost
     * @throws RejectedExecutionException if the queue is full
     * @throws CancellationException if interrupted while waiting for room in a queue that blocks
     */
    public Generation submit(String prompt, SamplingParams sampling) {
        return scheduler.submit(request(prompt, sampling));
    }

    /**
     * Continues a prompt without waiting, and shows the tokens as they come.
     *
     * @param prompt at least one character
     * @param sampling how
     * @param listener sees the tokens
     * @return the generation in flight
     * @throws IllegalArgumentException if the prompt is empty or, with the new tokens, longer than the model's context
     * @throws IllegalStateException if the generator is closed, or its devices are lost
     * @throws RejectedExecutionException if the queue is full
     * @throws CancellationException if interrupted while waiting for room in a queue that blocks
     */
    public Generation submit(String prompt, SamplingParams sampling, TokenListener listener) {
        return scheduler.submit(request(prompt, sampling), listener);
    }

    /**
     * Makes a request for {@link #scheduler()}, where priority and timeout can be added. Special tokens in the prompt
     * are plain text.
     *
     * @param prompt at least one character
     * @param sampling how to continue it
     * @return the request
     * @throws IllegalArgumentException if the prompt is empty
     */
    public GenerationRequest request(String prompt, SamplingParams sampling) {
        if (prompt.isEmpty()) {
            throw new IllegalArgumentException("prompt must not be empty");
        }
        return new GenerationRequest(tokenizer.encode(prompt), sampling);
    }

    /**
     * The model's tokenizer.
     *
     * @return thread-safe
     */
    public Tokenizer tokenizer() {
        return tokenizer;
    }

    /**
     * What runs the requests, for those made of token ids.
     *
     * @return owned by this generator
     */
    public Scheduler scheduler() {
        return scheduler;
    }

    /** Takes no more requests, finishes those in flight and frees the model. Idempotent. */
    @Override
    public void close() {
        scheduler.close();
    }

    /** Collects options. Not thread-safe. */
    public static final class Builder {
        private final Path modelDirectory;
        private Path tokenizer;
        private List<String> devices = List.of("auto");
        private Dtype dtype = Dtype.AUTO;
        private int maxBatchSize = 16;
        private int pageSize = 16;
        private double kvCacheFraction = 0.9;
        private boolean cudaGraphs = true;
        private boolean deterministic;
        private boolean int8Weights;
        private IntFunction<EngineOptions> engine = replica -> EngineOptions.defaults();
        private QueueOptions queue; // null: the defaults
        private SchedulerFactory scheduler; // null: continuous batching

        private Builder(Path modelDirectory) {
            this.modelDirectory = modelDirectory;
        }

        /**
         * Takes the tokenizer from another place than the model directory.
         *
         * @param tokenizer a directory or a {@code tokenizer.json}
         * @return this
         */
        public Builder tokenizer(Path tokenizer) {
            this.tokenizer = tokenizer;
            return this;
        }

        /**
         * Chooses where the model runs; {@code auto} unless set. With several devices each has a replica of its own,
         * and a request goes to the one with the least to do: see {@link ReplicaPool}. One named twice has two
         * replicas, which share its memory.
         *
         * @param devices at least one of {@code auto}, {@code cpu}, {@code cuda} and {@code cuda:n}
         * @return this
         */
        public Builder devices(String... devices) {
            this.devices = List.of(devices);
            return this;
        }

        /**
         * Chooses the number format.
         *
         * @param dtype of weights, cache and computation
         * @return this
         */
        public Builder dtype(Dtype dtype) {
            this.dtype = dtype;
            return this;
        }

        /**
         * Limits how many sequences run at once on a device; 16 unless set.
         *
         * @param maxBatchSize in [1, 1024]
         * @return this
         */
        public Builder maxBatchSize(int maxBatchSize) {
            this.maxBatchSize = maxBatchSize;
            return this;
        }

        /**
         * Sets how many tokens a page of the KV cache holds; 16 unless set.
         *
         * @param pageSize a power of two in [8, 256], see {@link ModelOptions#pageSize()}
         * @return this
         */
        public Builder pageSize(int pageSize) {
            this.pageSize = pageSize;
            return this;
        }

        /**
         * Limits the GPU memory of the KV cache; 0.9 unless set.
         *
         * @param kvCacheFraction in (0, 1], of what is free once the model is loaded
         * @return this
         */
        public Builder kvCacheFraction(double kvCacheFraction) {
            this.kvCacheFraction = kvCacheFraction;
            return this;
        }

        /**
         * Switches CUDA graphs off or on; on unless set.
         *
         * @param cudaGraphs whether decode steps are recorded and replayed
         * @return this
         */
        public Builder cudaGraphs(boolean cudaGraphs) {
            this.cudaGraphs = cudaGraphs;
            return this;
        }

        /**
         * Makes a request's tokens independent of what runs beside it, bit for bit; off unless set, because it is
         * slower.
         *
         * @param deterministic see {@link ModelOptions#deterministic()}
         * @return this
         */
        public Builder deterministic(boolean deterministic) {
            this.deterministic = deterministic;
            return this;
        }

        /**
         * Lets small batches on a GPU read 8-bit weights.
         *
         * @param int8Weights see {@link ModelOptions#int8Weights()}
         * @return this
         */
        public Builder int8Weights(boolean int8Weights) {
            this.int8Weights = int8Weights;
            return this;
        }

        /**
         * Sets the options of the engine; with several devices, of each one's.
         *
         * @param engine its configuration; with several devices the listener is called on several threads at once
         * @return this
         */
        public Builder engine(EngineOptions engine) {
            return engine(replica -> engine);
        }

        /**
         * Sets the options of each engine, so that each can have a listener that knows which one it watches.
         *
         * @param engine the configuration of the engine on the device at a place in {@link #devices}, from 0; called by
         *     {@link #build}
         * @return this
         */
        public Builder engine(IntFunction<EngineOptions> engine) {
            this.engine = engine;
            return this;
        }

        /**
         * Limits how many requests wait, beside those that run; {@link QueueOptions#defaults()} unless set.
         *
         * @param queue for each device
         * @return this
         */
        public Builder queue(QueueOptions queue) {
            this.queue = queue;
            return this;
        }

        /**
         * Takes another scheduler than a {@link ContinuousScheduler} for each device; it runs on one device and limits
         * its queue itself.
         *
         * @param scheduler makes it
         * @return this
         */
        public Builder scheduler(SchedulerFactory scheduler) {
            this.scheduler = scheduler;
            return this;
        }

        /**
         * Loads everything.
         *
         * @return a generator, to be closed
         * @throws IOException if a file is missing or malformed
         * @throws IllegalArgumentException if an option is out of its range or does not go with another
         * @throws io.github.loomtorch.request.TorchException if libtorch or CUDA is missing, or memory runs out
         */
        public TextGenerator build() throws IOException {
            if (devices.isEmpty()) {
                throw new IllegalArgumentException("devices must name at least one, got none");
            }
            if (scheduler != null && (queue != null || devices.size() > 1)) {
                throw new IllegalArgumentException(
                        "scheduler must not be given together with a queue or several devices");
            }
            List<ModelOptions> options = devices.stream()
                    .map(device -> ModelOptions.builder()
                            .device(device)
                            .dtype(dtype)
                            .maxBatchSize(maxBatchSize)
                            .pageSize(pageSize)
                            .kvCacheFraction(kvCacheFraction)
                            .cudaGraphs(cudaGraphs)
                            .deterministic(deterministic)
                            .int8Weights(int8Weights)
                            .build())
                    .toList();
            ModelDirectory model = ModelDirectory.open(modelDirectory);
            Tokenizer bpe = BpeTokenizer.load(tokenizer == null ? tokenizerOf(model) : tokenizer);
            List<EngineFactory> engines = new ArrayList<>();
            for (int replica = 0; replica < options.size(); replica++) {
                ModelOptions own = options.get(replica);
                EngineOptions config = engine.apply(replica);
                engines.add(() -> new Engine(Gpt2.load(model, own), bpe, config));
            }
            return new TextGenerator(bpe, scheduler == null ? start(engines) : scheduler.create(engines.getFirst()));
        }

        private static Path tokenizerOf(ModelDirectory model) throws IOException {
            Path path = model.tokenizerDirectory(DEFAULT_TOKENIZER);
            if (!Files.isDirectory(path)) {
                throw new IOException(path.toAbsolutePath() + ": expected the tokenizer that " + model.path()
                        + " lacks, got nothing; set tokenizer to another directory or to a tokenizer.json");
            }
            return path;
        }

        private Scheduler start(List<EngineFactory> engines) throws IOException {
            ThreadFactory threads =
                    Thread.ofPlatform().name("engine-", 0).daemon(false).factory();
            QueueOptions limits = queue == null ? QueueOptions.defaults() : queue;
            List<ContinuousScheduler> replicas = new ArrayList<>();
            try {
                for (EngineFactory each : engines) {
                    replicas.add(new ContinuousScheduler(each, limits, threads));
                }
                return replicas.size() == 1 ? replicas.getFirst() : new ReplicaPool(replicas);
            } catch (IOException | RuntimeException | Error e) {
                for (ContinuousScheduler replica : replicas) {
                    try {
                        replica.close();
                    } catch (RuntimeException closing) {
                        e.addSuppressed(closing);
                    }
                }
                throw e;
            }
        }
    }
}
