package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.CacheFolder;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.Gpt2;
import io.github.loomtorch.torch.program.KvCache;
import io.github.loomtorch.torch.program.PrefillShape;
import io.github.loomtorch.torch.program.TorchScriptGpt2;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.nio.IntBuffer;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.function.BiConsumer;
import org.bytedeco.cuda.cudart.CUevent_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * GPT-2 on a GPU. A step begins with the upload of its rows; the rest, down to the sampled tokens in host memory, is
 * one launch of a recorded CUDA graph ({@link StepGraphs}). A row is one token: a sequence's next in decode, or one of
 * a small prefill chunk. A large prefill is computed apart, also by graphs where all its sequences start in it
 * ({@link PrefillGraphs}). Both sample by the same kernel. One stream does everything in order, and the host waits for
 * none of it, so a step can be launched while the previous one is in flight: the device knows the tokens that the host
 * does not know yet. Only the large prefills of a model without kernels for its products wait. Confined to the engine
 * thread.
 */
public final class CudaGpt2 extends Gpt2 {
    private static final Logger LOG = LoggerFactory.getLogger(CudaGpt2.class);
    /** Most prompt tokens of a step beside a full batch; more are faster as a large prefill. */
    private static final int PREFILL_ROWS = 512;
    /** Most tokens of a recorded prefill: an engine's default limit for a step. */
    private static final int RECORDED_TOKENS = 2048;

    private final Gpt2Config config;
    private final KernelSet kernels;
    private final CUstream_st stream;
    private final CudaLayers layers;
    private final DeviceSampler sampler;
    private final int maxRows;
    private final StepRows rows;
    private final StepRows prefillRows; // the last tokens of a large prefill
    private final Staging prefillInput; // PrefillShape's ints
    private final GraphRecorder recorder;
    private StepGraphs graphs = new StepGraphs();
    private PrefillGraphs prefillGraphs = new PrefillGraphs();
    private final List<Step> steps; // two, in flight by turns
    private final Deque<Step> inFlight = new ArrayDeque<>();
    private Step finished; // last
    private final Resources resources = new Resources();
    private boolean lost;

    /** What one step in flight needs for itself. */
    private final class Step {
        final StepRows.Host rows;
        final StepRows.Host prefillRows;
        final CUevent_st begun = new CUevent_st();
        final CUevent_st done = new CUevent_st();
        List<Chunk> stepping = List.of(); // in rows
        List<Chunk> prefilling = List.of(); // as a large prefill

        Step(int index) {
            rows = CudaGpt2.this.rows.host(index);
            prefillRows = CudaGpt2.this.prefillRows.host(index);
            Cuda.check(cudart.cudaEventCreate(begun), "cudaEventCreate");
            resources.onClose(() -> cudart.cudaEventDestroy(begun));
            Cuda.check(cudart.cudaEventCreate(done), "cudaEventCreate");
            resources.onClose(() -> cudart.cudaEventDestroy(done));
        }
    }

    /** On this GPU with kernels of our own; without them, and with a warning, if there are none for it. */
    public static Gpt2 create(TorchScriptProgram program, ModelOptions options) {
        KernelSet kernels = kernels(program, options);
        if (!kernels.isSupported()) {
            LOG.warn(
                    "head size {} is not one that the CUDA kernels are made for; the model runs without them, slower",
                    program.config().headSize());
            return new TorchScriptGpt2(program, options);
        }
        try {
            return new CudaGpt2(program, options, kernels);
        } catch (KernelsUnavailableException e) {
            LOG.warn("{}; the model runs without kernels of its own, slower", e.getMessage());
            return new TorchScriptGpt2(program, options);
        }
    }

    /** GPU memory to leave free for what the model allocates once it is loaded: the 8-bit weights. */
    public static long reservedBytes(Gpt2Config config, ModelOptions options) {
        return options.int8Weights() ? LinearWeights.int8Bytes(config) : 0;
    }

    /** The kernels for a program on its GPU. */
    static KernelSet kernels(TorchScriptProgram program, ModelOptions options) {
        return new KernelSet(
                program.config(),
                Libtorch.dtype(program.dtype()),
                program.cache().pageSize(),
                options.int8Weights(),
                CudaKernels.gpu(program.device()));
    }

    private CudaGpt2(TorchScriptProgram program, ModelOptions options, KernelSet kernels) {
        super(program, options);
        this.kernels = kernels;
        config = program.config();
        int rowSize = StepInput.rowSize(KvCache.pagesPerSequence(config, options.pageSize()));
        int batch = options.maxBatchSize();
        maxRows = options.deterministic() ? batch : batch + PREFILL_ROWS;
        try (TensorScope scope = new TensorScope()) {
            program.configureThread();
            stream = resources.keep(program.stream().stream());
            var loader = new CudaKernels.Loader(
                    kernels, new KernelCache(options.cacheFolder().orElseGet(CacheFolder::path)), stream);
            layers = new CudaLayers(program, loader, maxRows, options.deterministic());
            resources.onClose(layers::close);
            sampler = new DeviceSampler(batch, program.device(), loader);
            resources.onClose(sampler::close);
            rows = new StepRows(maxRows, rowSize, options.pageSize(), layers.attentionPlan(), program.device(), stream);
            resources.onClose(rows::close);
            prefillRows = new StepRows(batch, rowSize, options.pageSize(), Optional.empty(), program.device(), stream);
            resources.onClose(prefillRows::close);
            prefillInput = new Staging(stream);
            resources.onClose(prefillInput::close);
            steps = List.of(new Step(0), new Step(1));
            finished = steps.get(1);
            recorder = new GraphRecorder(program.device().index(), stream);
            resources.onClose(recorder::close);
            warmUpPrefill();
            if (options.cudaGraphs()) {
                if (layers.isFused() && !options.deterministic()) {
                    prefillGraphs =
                            new PrefillGraphs(recorder, layers, this::synchronize, recordedPrefills(), this::inputRoom);
                }
                graphs = new StepGraphs(recorder, this::launchStep, this::synchronize, recordedRows(), this::kinds);
            }
        } catch (RuntimeException | Error e) {
            closeOwn();
            throw e;
        }
    }

    private List<Integer> recordedRows() {
        return options.deterministic() ? List.of(maxRows) : StepGraphs.recordedRows(options.maxBatchSize(), maxRows);
    }

    private int cacheTokens() {
        return program.cache().pageCount() * program.cache().pageSize();
    }

    /** Padding is at most a quarter of a prefill. */
    private List<PrefillShape> recordedPrefills() {
        int max = Math.min(RECORDED_TOKENS, cacheTokens());
        List<Integer> tokenCounts = StepGraphs.rowCounts(max).stream()
                .filter(count -> count > PREFILL_ROWS)
                .toList();
        return PrefillShape.recorded(tokenCounts, config.contextLength());
    }

    /** Has libraries load and choose what a large prefill needs, which would delay the first. */
    private void warmUpPrefill() {
        if (!layers.isFused()) {
            return;
        }
        int longest = Math.min(config.contextLength(), cacheTokens());
        for (int length = PREFILL_ROWS; length <= longest; length *= 2) {
            try (TensorScope scope = new TensorScope()) {
                prefillSynthetic(1, length);
            }
        }
        synchronize();
    }

    /** All kinds of attention that steps of so many rows have. */
    private Set<AttentionChoice.Kind> kinds(int count) {
        return options.deterministic()
                ? Set.of(kind(List.of(), count))
                : layers.attentionChoice().kinds(count, maxBatchSize());
    }

    private AttentionChoice.Kind kind(List<Chunk> chunks, int count) {
        AttentionChoice choice = layers.attentionChoice();
        return options.deterministic() ? choice.decode(count, 1) : choice.kind(chunks, count); // always the same
    }

    /** Launches a step of the first {@code count} rows, from those on the device to the tokens in host memory. */
    void launchStep(int count, AttentionChoice.Kind kind) {
        Tensor logits = layers.step(rows, count, kind, sampler.tokensAddress()); // [count, VP]
        if (layers.includes(StepPart.SAMPLING)) {
            sampler.launch(rows, count, logits);
        }
    }

    KernelSet kernels() {
        return kernels;
    }

    CudaLayers layers() {
        return layers;
    }

    CUstream_st stream() {
        return stream;
    }

    ScalarType elementType() {
        return program.dtype();
    }

    Device torchDevice() {
        return program.device();
    }

    boolean recordsGraphs() {
        return options.cudaGraphs();
    }

    void configureThread() {
        program.configureThread();
    }

    GraphRecorder recorder() {
        return recorder;
    }

    /** Fills the first rows with as many synthetic sequences of {@code length} tokens, while no sequence runs. */
    void fillSynthetic(int count, int length) {
        finished.rows.fillSynthetic(count, length, pageCount());
    }

    /** Copies the rows to the device, once all before on the stream is done. */
    void upload(int count, AttentionChoice.Kind kind) {
        finished.rows.upload(count, kind.isPlanned());
    }

    @Override
    public void wordStarts(boolean[] table) {}

    @Override
    public boolean runsAhead() {
        return true;
    }

    @Override
    public void launch(List<Chunk> chunks) {
        Step step = inFlight.peek() == steps.get(0) ? steps.get(1) : steps.get(0);
        try {
            program.configureThread();
            launch(step, chunks);
        } catch (RuntimeException e) {
            throw lossOrFailure(
                    "launch",
                    chunks.size(),
                    e); // what was launched has ended then, and does not outlive its pages and rows
        } catch (Error e) {
            cudart.cudaStreamSynchronize(stream); // here too
            throw e;
        }
        inFlight.add(step);
    }

    private void launch(Step step, List<Chunk> chunks) {
        if (chunks.stream()
                .anyMatch(chunk -> chunk.sequence().sampling().promptScoring().isPresent())) {
            throw new UnsupportedOperationException("scores are not computed on CUDA yet");
        }
        int inGraph = 0;
        int rowCount = 0;
        while (inGraph < chunks.size()
                && rowCount + chunks.get(inGraph).count() <= maxRows
                && isSmall(chunks.get(inGraph))) {
            rowCount += chunks.get(inGraph++).count();
        }
        step.stepping = chunks.subList(0, inGraph);
        step.prefilling = chunks.subList(inGraph, chunks.size());
        if (!step.stepping.isEmpty()) {
            step.rows.fill(step.stepping, sampler::prepare);
        }
        Cuda.check(cudart.cudaEventRecord(step.begun, stream), "cudaEventRecord");
        if (!step.stepping.isEmpty()) {
            launchStep(step, rowCount);
        }
        if (!step.prefilling.isEmpty()) {
            launchPrefill(step);
        }
        Cuda.check(cudart.cudaEventRecord(step.done, stream), "cudaEventRecord");
    }

    /** Waits for the stream. */
    void synchronize() {
        Cuda.check(cudart.cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    }

    /**
     * An error that stays when the stream is asked again, unlike a lack of memory, ends the use of the device by this
     * process.
     */
    private TorchException lossOrFailure(String phase, int sequences, RuntimeException e) {
        lost = cudart.cudaStreamSynchronize(stream) != cudart.cudaSuccess;
        return failure(phase, sequences, e);
    }

    @Override
    public boolean isLost() {
        return lost;
    }

    /**
     * Whether a chunk goes by the graph if there is room: the one token of a decode, or a prefill that is no longer
     * than worth it.
     */
    private boolean isSmall(Chunk chunk) {
        return chunk.count() == 1 || chunk.count() <= PREFILL_ROWS && !options.deterministic();
    }

    private void launchStep(Step step, int rowCount) {
        OptionalInt recorded = graphs.rowsFor(rowCount);
        int count = recorded.orElse(options.deterministic() ? maxRows : rowCount);
        AttentionChoice.Kind kind = kind(step.stepping, count);
        step.rows.upload(count, kind.isPlanned());
        if (recorded.isPresent()) {
            graphs.launch(count, kind);
            return;
        }
        try (TensorScope scope = new TensorScope()) {
            launchStep(count, kind);
        }
    }

    private void launchPrefill(Step step) {
        try (TensorScope scope = new TensorScope()) {
            Tensor logits = options.deterministic() ? prefillEach(step.prefilling) : prefill(step.prefilling);
            List<Chunk> sampling = step.prefilling.stream()
                    .filter(chunk -> !chunk.wantedPositions().isEmpty())
                    .toList();
            if (!sampling.isEmpty()) {
                step.prefillRows.fillLast(sampling, sampler::prepare);
                step.prefillRows.upload(sampling.size(), false);
                sampler.launch(prefillRows, sampling.size(), logits);
            }
        }
    }

    /** Each chunk by itself; [M, VP] as if together. */
    private Tensor prefillEach(List<Chunk> chunks) {
        TensorVector logits = new TensorVector();
        chunks.forEach(chunk -> logits.push_back(prefill(List.of(chunk))));
        return torch.cat(logits, 0);
    }

    /** Logits after the chunks that sample, [M, VP]; owned by the caller's scope. */
    private Tensor prefill(List<Chunk> chunks) {
        if (!layers.isFused()) {
            return program.head(program.prefill(chunks));
        }
        int sampling = chunks.stream()
                .mapToInt(chunk -> chunk.wantedPositions().size())
                .sum();
        return prefill(PrefillShape.of(chunks), sampling, (shape, buffer) -> shape.put(buffer, chunks, pageSize()));
    }

    /**
     * Computes synthetic prompts, into the first rows of the cache: to warm up and to measure, while no sequence runs.
     */
    Tensor prefillSynthetic(int prompts, int promptLength) {
        return prefill(
                PrefillShape.of(prompts, promptLength),
                prompts,
                (shape, buffer) -> shape.putSynthetic(buffer, prompts, promptLength, config.vocabSize()));
    }

    private Tensor prefill(PrefillShape exact, int sampling, BiConsumer<PrefillShape, IntBuffer> put) {
        Optional<PrefillGraphs.Recorded> recorded = prefillGraphs.forShape(exact);
        PrefillShape shape = recorded.map(PrefillGraphs.Recorded::shape).orElse(exact);
        Tensor input = recorded.map(PrefillGraphs.Recorded::input).orElseGet(() -> inputRoom(exact.ints()));
        prefillInput.upload(input.data_ptr(), 4L * shape.ints(), bytes -> put.accept(shape, bytes.asIntBuffer()));
        CudaLayers.Prefilled prefilled;
        if (recorded.isPresent()) {
            recorded.get().graph().launch();
            prefilled = recorded.get().result();
        } else {
            prefilled = layers.prefill(shape, input);
        }
        return layers.logits(prefilled, input.narrow(0, shape.wantedAt(), sampling));
    }

    /** Room on the device for a prefill's input, [ints] int32, owned by the caller's scope. */
    private Tensor inputRoom(int ints) {
        TensorOptions options = new TensorOptions(ScalarType.Int).device(new DeviceOptional(program.device()));
        return torch.empty(new long[] {ints}, options, null);
    }

    @Override
    public void await() {
        Step step = inFlight.remove();
        try {
            Cuda.check(cudart.cudaEventSynchronize(step.done), "cudaEventSynchronize");
            finished = step;
            int firstRow = 0;
            for (Chunk chunk : step.stepping) {
                for (WantedPosition wanted : chunk.wantedPositions()) {
                    sampler.take(chunk, wanted, step.rows, firstRow + wanted.position() - chunk.start());
                }
                firstRow += chunk.count();
            }
            int row = 0;
            for (Chunk chunk : step.prefilling) {
                for (WantedPosition wanted : chunk.wantedPositions()) {
                    sampler.take(chunk, wanted, step.prefillRows, row++);
                }
            }
        } catch (RuntimeException e) {
            throw lossOrFailure("await", step.stepping.size() + step.prefilling.size(), e);
        }
    }

    @Override
    public long deviceNanos() {
        float[] millis = new float[1];
        return cudart.cudaEventElapsedTime(millis, finished.begun, finished.done) == cudart.cudaSuccess
                ? (long) (millis[0] * 1e6)
                : 0;
    }

    @Override
    public void close() {
        closeOwn();
        super.close();
    }

    private void closeOwn() {
        cudart.cudaStreamSynchronize(program.stream().stream()); // a step may be in flight
        resources.close();
    }
}
