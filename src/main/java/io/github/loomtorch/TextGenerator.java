package io.github.loomtorch;

import io.github.loomtorch.engine.Engine;
import io.github.loomtorch.hub.Hub;
import io.github.loomtorch.hub.HubProgress;
import io.github.loomtorch.model.EmbeddedModel;
import io.github.loomtorch.model.ModelDirectory;
import io.github.loomtorch.options.EngineOptions;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.options.QueueOptions;
import io.github.loomtorch.options.SchedulerOptions;
import io.github.loomtorch.options.ScoreOptions;
import io.github.loomtorch.request.ChoiceScore;
import io.github.loomtorch.request.Completion;
import io.github.loomtorch.request.Generation;
import io.github.loomtorch.request.GenerationRequest;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.Scheduler;
import io.github.loomtorch.request.TextScore;
import io.github.loomtorch.request.TokenListener;
import io.github.loomtorch.scheduler.EngineFactory;
import io.github.loomtorch.scheduler.Schedulers;
import io.github.loomtorch.tokenizer.BpeTokenizer;
import io.github.loomtorch.tokenizer.Tokenizer;
import io.github.loomtorch.torch.Gpt2Loader;
import io.github.loomtorch.torch.natives.CacheFolder;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/**
 * Text in, text out: a model directory made ready to serve many threads at once.
 *
 * <pre>{@code
 * try (TextGenerator gpt2 = TextGenerator.load(Path.of("my-gpt2"))) {
 *     System.out.println(gpt2.generate("Once upon a time", SamplingParams.creative()).text());
 * }
 * }</pre>
 *
 * <p>Whatever loads throws {@link io.github.loomtorch.request.TorchException} if libtorch is missing or memory runs
 * out. Whatever submits throws {@link IllegalArgumentException} if the prompt is empty or the model cannot serve the
 * request, such as one longer than its context; {@link IllegalStateException} if the generator is closed or its devices
 * are lost, {@link RejectedExecutionException} if the queue is full, and {@link CancellationException} if it is
 * interrupted while it waits for room in a queue that blocks. Whatever waits for a result throws
 * {@link CompletionException} if the request failed, with its cause, and {@link CancellationException} if it is
 * interrupted.
 *
 * <p>Thread-safe; made for callers on virtual threads, which wait without holding a platform thread.
 */
public final class TextGenerator implements AutoCloseable {
    private final Tokenizer tokenizer;
    private final Scheduler scheduler;
    private final TextScorer scorer;
    private final long maxPromptCharacters;

    private TextGenerator(Tokenizer tokenizer, Scheduler scheduler, TextScorer scorer, long maxPromptCharacters) {
        this.scorer = scorer;
        this.tokenizer = tokenizer;
        this.scheduler = scheduler;
        this.maxPromptCharacters = maxPromptCharacters;
    }

    /**
     * Loads a model with the usual options: the first GPU if there is one, continuous batching.
     *
     * @param modelDirectory {@code config.json} and {@code model.safetensors} or {@code model.ts}, and the tokenizer's
     *     files; without any of those, GPT-2's own tokenizer is taken
     * @return a generator, to be closed
     * @throws IOException if a file is missing or malformed
     */
    public static TextGenerator load(Path modelDirectory) throws IOException {
        return builder(modelDirectory).build();
    }

    /**
     * Loads a model by name with the usual options. What is missing of it is downloaded from the Hugging Face hub into
     * the cache that Python uses too, as its environment variables say: {@code HF_HOME}, {@code HF_TOKEN} and others.
     *
     * @param model a directory that exists, or a path that is absolute or begins with {@code ./} or {@code ../}; else a
     *     name such as {@code openai-community/gpt2}, maybe with {@code @} and a branch, a tag or a commit
     * @return a generator, to be closed
     * @throws IOException if a file is missing or malformed, or cannot be downloaded
     */
    public static TextGenerator load(String model) throws IOException {
        return builder(model).build();
    }

    /**
     * Loads the embedded model, a small one that tells tales, with the usual options. It is in the jar with the
     * classifier {@code tales}, and is unpacked once: into the folder that the system property {@code loomtorch.cache}
     * or the environment variable {@code LOOMTORCH_CACHE} names, by default {@code ~/.cache/loomtorch}.
     *
     * @return a generator, to be closed
     * @throws IOException if that jar is neither on the class path nor a module that is resolved, or the model cannot
     *     be unpacked
     */
    public static TextGenerator tales() throws IOException {
        return load(EmbeddedModel.unpack(TextGenerator.class.getClassLoader(), CacheFolder.path()));
    }

    /**
     * {@return a builder that starts from the options of {@link #load(Path)}}
     *
     * @param modelDirectory see {@link #load(Path)}
     */
    public static Builder builder(Path modelDirectory) {
        return new Builder(modelDirectory);
    }

    /**
     * {@return a builder that starts from the options of {@link #load(String)}, after the download}
     *
     * @param model see {@link #load(String)}
     * @throws IOException if the model cannot be downloaded
     */
    public static Builder builder(String model) throws IOException {
        return builder(Hub.locate(model, HubProgress.NONE));
    }

    /**
     * {@return the new tokens that continue a prompt, and their text, when all are there}
     *
     * @param prompt at least one character
     * @param sampling how
     */
    public Completion generate(String prompt, SamplingParams sampling) {
        return generate(request(prompt, sampling));
    }

    /**
     * {@return the generation that continues a prompt, without waiting for it}
     *
     * @param prompt at least one character
     * @param sampling how
     */
    public Generation submit(String prompt, SamplingParams sampling) {
        return scheduler.submit(request(prompt, sampling));
    }

    /**
     * {@return the generation that continues a prompt, without waiting for it; the listener sees the tokens as they
     * come}
     *
     * @param prompt at least one character
     * @param sampling how
     * @param listener sees the tokens
     */
    public Generation submit(String prompt, SamplingParams sampling, TokenListener listener) {
        return scheduler.submit(request(prompt, sampling), listener);
    }

    /**
     * {@return the new tokens of a request and their text, when all are there}
     *
     * @param request what to generate, with its priority and timeout
     */
    public Completion generate(GenerationRequest request) {
        Generation generation = submit(request);
        scheduler.flush(); // a naive scheduler would wait for its batch to fill
        return generation.join();
    }

    /**
     * Runs several requests together and waits for all results; they may be more than the queue has room for. If one is
     * refused or fails, the others are cancelled.
     *
     * @param requests what to generate
     * @return one completion for each request, in the order of the requests
     * @throws java.util.concurrent.RejectedExecutionException if the queue is full of other calls' requests, and
     *     rejects
     */
    public List<Completion> generateAll(List<GenerationRequest> requests) {
        RequestGroup group = new RequestGroup(scheduler);
        try {
            List<Generation> generations = requests.stream().map(group::submit).toList();
            scheduler.flush();
            return generations.stream().map(Generation::join).toList();
        } catch (RuntimeException e) {
            group.cancel();
            throw e;
        }
    }

    /**
     * {@return the generation of a request, without waiting for it}
     *
     * @param request what to generate, with its priority and timeout
     */
    public Generation submit(GenerationRequest request) {
        return scheduler.submit(request);
    }

    /**
     * {@return the generation of a request, without waiting for it; the listener sees the tokens as they come}
     *
     * @param request what to generate, with its priority and timeout
     * @param listener sees the tokens
     */
    public Generation submit(GenerationRequest request, TokenListener listener) {
        return scheduler.submit(request, listener);
    }

    /**
     * {@return a request, to which a priority and a timeout can be added} Special tokens in the prompt are plain text.
     *
     * @param prompt at least one character
     * @param sampling how to continue it
     * @throws IllegalArgumentException if the prompt is empty or has more characters than
     *     {@link io.github.loomtorch.options.RequestLimits#maxPromptCharactersPerToken()} allows
     */
    public GenerationRequest request(String prompt, SamplingParams sampling) {
        if (prompt.isEmpty()) {
            throw new IllegalArgumentException("prompt must not be empty");
        }
        if (prompt.length() > maxPromptCharacters) {
            throw new IllegalArgumentException(
                    "prompt must have at most " + maxPromptCharacters + " characters, got " + prompt.length());
        }
        return new GenerationRequest(tokenizer.encode(prompt), sampling);
    }

    /**
     * Scores a text and waits for the result: the log-probability of each token after those before. A text longer than
     * the model's context is scored in overlapping windows, see {@link ScoreOptions#stride()}.
     *
     * @param text at least two tokens, or one with {@link ScoreOptions#endOfTextInFront()}; of any length
     * @param options what to report
     * @return the score
     * @throws IllegalArgumentException if the text is too short, or an option does not fit the model
     */
    public TextScore score(String text, ScoreOptions options) {
        return scorer.join(submitScore(text, options));
    }

    /**
     * {@return the score of token ids, as {@link #score(String, ScoreOptions)} scores a text}
     *
     * @param ids of the tokenizer, {@code [0, V)}
     * @param options what to report
     * @throws IllegalArgumentException if an id is out of range, there are too few, or an option does not fit the model
     */
    public TextScore score(int[] ids, ScoreOptions options) {
        return scorer.join(scorer.submit(ids, options));
    }

    /**
     * {@return the scoring of a text, without waiting for its end} A text with more windows than the queue has room for
     * waits until the queue has the last of them.
     *
     * @param text as for {@link #score(String, ScoreOptions)}
     * @param options what to report
     * @throws IllegalArgumentException if the text is too short, or an option does not fit the model
     * @throws java.util.concurrent.RejectedExecutionException if the queue is full of other calls' requests, and
     *     rejects
     */
    public Scoring submitScore(String text, ScoreOptions options) {
        return scorer.submit(text, options);
    }

    /**
     * Scores texts together and waits for all results; they may be more than the queue has room for. If one is refused
     * or fails, the others are cancelled.
     *
     * @param texts as for {@link #score(String, ScoreOptions)}
     * @param options what to report
     * @return one score for each text, in the order of the texts
     * @throws IllegalArgumentException if a text is too short, or an option does not fit the model
     * @throws java.util.concurrent.RejectedExecutionException if the queue is full of other calls' requests, and
     *     rejects
     */
    public List<TextScore> scoreAll(List<String> texts, ScoreOptions options) {
        return scorer.scoreAll(texts, options);
    }

    /**
     * Scores a continuation of a prompt. Both are encoded together, as EleutherAI's harness does: spaces at the end of
     * the prompt count as the continuation's, and of a prompt too long for the context only the end is read.
     *
     * @param prompt any; instead of an empty one the end-of-text token is taken
     * @param continuation at least one character
     * @param options what to report
     * @return the score of the continuation's tokens alone
     * @throws IllegalArgumentException if the continuation is empty or longer than the context
     */
    public TextScore scoreContinuation(String prompt, String continuation, ScoreOptions options) {
        return scorer.join(submitContinuation(prompt, continuation, options));
    }

    /**
     * {@return the scoring of a continuation, without waiting for it; see {@link #scoreContinuation}}
     *
     * @param prompt any; instead of an empty one the end-of-text token is taken
     * @param continuation at least one character
     * @param options what to report
     */
    public Scoring submitContinuation(String prompt, String continuation, ScoreOptions options) {
        return scorer.submitContinuation(prompt, continuation, options);
    }

    /**
     * {@return the scores of several continuations of one prompt, in their order, with ranks}
     *
     * @param prompt as for {@link #scoreContinuation}
     * @param choices at least one continuation
     * @throws IllegalArgumentException if a continuation is empty or longer than the context
     */
    public List<ChoiceScore> choose(String prompt, List<String> choices) {
        return scorer.choose(prompt, choices);
    }

    /** {@return the model's tokenizer, thread-safe} */
    public Tokenizer tokenizer() {
        return tokenizer;
    }

    /** {@return what runs the requests, for those made of token ids; owned by this generator} */
    public Scheduler scheduler() {
        return scheduler;
    }

    /** Takes no more requests, finishes those in flight and frees the model. Idempotent. */
    @Override
    public void close() {
        scheduler.close();
    }

    /** Collects the options of a generator; {@link #build()} checks them and loads the model. Not thread-safe. */
    public static final class Builder {
        private final Path modelDirectory;
        private @Nullable Path tokenizer;
        private ModelOptions model = ModelOptions.defaults();
        private @Nullable List<String> devices; // null: the model's device
        private IntFunction<EngineOptions> engine = replica -> EngineOptions.defaults();
        private SchedulerOptions scheduler = SchedulerOptions.continuous(QueueOptions.defaults());

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
         * Sets where and how the model runs; {@link ModelOptions#defaults()} unless set.
         *
         * @param model device, dtype, batch size and more
         * @return this
         */
        public Builder model(ModelOptions model) {
            this.model = model;
            return this;
        }

        /**
         * Runs a replica of the model on each of several devices, in place of {@link ModelOptions#device()}. A request
         * goes to the replica with the fewest outstanding tokens; only a continuous scheduler runs several. A device
         * that is named twice has two replicas, which share its memory.
         *
         * @param devices at least one of {@code auto}, {@code cpu}, {@code cuda} and {@code cuda:n}
         * @return this
         */
        public Builder devices(String... devices) {
            this.devices = List.of(devices);
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
         * Chooses the scheduler and its queue; continuous batching with {@link QueueOptions#defaults()} unless set.
         * With a naive scheduler {@code generate} and {@code generateAll} run what has gathered at once, and whoever
         * submits has to flush {@link TextGenerator#scheduler()}.
         *
         * @param scheduler which scheduler; a naive one runs on one device only
         * @return this
         */
        public Builder scheduler(SchedulerOptions scheduler) {
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
            List<String> devices = this.devices == null ? List.of(model.device()) : this.devices;
            if (devices.isEmpty()) {
                throw new IllegalArgumentException("devices must name at least one, got none");
            }
            if (devices.size() > 1 && !(scheduler instanceof SchedulerOptions.Continuous)) {
                throw new IllegalArgumentException("scheduler must be continuous to run on several devices, got "
                        + scheduler + " for " + devices.size() + " devices");
            }
            List<ModelOptions> options = Gpt2Loader.replicas(model, devices);
            ModelDirectory directory = ModelDirectory.open(modelDirectory);
            int contextLength = directory.config().contextLength();
            Tokenizer bpe = tokenizer == null
                    ? BpeTokenizer.ofModel(directory.path(), directory.config().vocabSize())
                    : BpeTokenizer.load(tokenizer);
            List<EngineFactory> engines = new ArrayList<>();
            long maxPromptCharacters = Long.MAX_VALUE;
            for (int replica = 0; replica < options.size(); replica++) {
                ModelOptions own = options.get(replica);
                EngineOptions config = engine.apply(replica);
                int perToken = config.limits().maxPromptCharactersPerToken();
                maxPromptCharacters = Math.min(maxPromptCharacters, (long) perToken * contextLength);
                engines.add(() -> new Engine(Gpt2Loader.load(directory, own), bpe, config));
            }
            Scheduler started = Schedulers.start(scheduler, engines);
            TextScorer scorer = new TextScorer(
                    bpe, started, contextLength, directory.config().endOfTextIds());
            return new TextGenerator(bpe, started, scorer, maxPromptCharacters);
        }
    }
}
