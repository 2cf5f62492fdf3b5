package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.natives.CacheFolder;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.KvCache;
import io.github.loomtorch.torch.program.LibtorchGpt2;
import io.github.loomtorch.torch.program.TorchScriptGpt2;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import org.bytedeco.cuda.cudart.CUevent_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
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
public final class CudaGpt2 extends LibtorchGpt2 {
    private static final Logger LOG = LoggerFactory.getLogger(CudaGpt2.class);
    /** Most prompt tokens of a step beside a full batch; more are faster as a large prefill. */
    private static final int PREFILL_ROWS = 512;
    /** Most positions of a chunk that are sampled: after the last token and after 32 candidates. */
    private static final int SAMPLED_POSITIONS = 33;

    private final KernelSet kernels;
    private final CUstream_st stream;
    private final CudaLayers layers;
    private final DeviceSampler sampler;
    private final int maxRows;
    private final StepRows rows;
    private final StepRows prefillRows; // the tokens of a large prefill that are sampled after
    private final CudaPrefill prefill;
    private final CudaScorer scorer;
    private final GraphRecorder recorder;
    private StepGraphs graphs = new StepGraphs();
    private final List<Step> steps; // two, in flight by turns
    private final Deque<Step> inFlight = new ArrayDeque<>();
    private Step finished; // last
    private final Resources resources = new Resources();
    private boolean lost;

    /** What one step in flight needs for itself. */
    private final class Step {
        final StepRows.Host rows;
        final StepRows.Host prefillRows;
        final CudaScorer.Batch scores; // of rows
        final CudaScorer.Batch prefillScores;
        final CUevent_st begun = new CUevent_st();
        final CUevent_st done = new CUevent_st();
        List<Chunk> stepChunks = List.of(); // in rows
        List<Chunk> prefillChunks = List.of(); // as a large prefill

        Step(int index) {
            rows = CudaGpt2.this.rows.host(index);
            prefillRows = CudaGpt2.this.prefillRows.host(index);
            scores = scorer.batch();
            prefillScores = scorer.batch();
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
            int sampled = options.deterministic() ? batch : batch * SAMPLED_POSITIONS;
            prefillRows =
                    new StepRows(sampled, rowSize, options.pageSize(), Optional.empty(), program.device(), stream);
            resources.onClose(prefillRows::close);
            prefill = new CudaPrefill(program, layers, stream);
            resources.onClose(prefill::close);
            scorer = new CudaScorer(layers, program.device(), loader, options.deterministic());
            resources.onClose(scorer::close);
            steps = List.of(new Step(0), new Step(1));
            finished = steps.get(1);
            recorder = new GraphRecorder(program.device().index(), stream);
            resources.onClose(recorder::close);
            prefill.warmUp(PREFILL_ROWS, this::synchronize);
            if (options.cudaGraphs()) {
                if (layers.isFused() && !options.deterministic()) {
                    prefill.record(recorder, PREFILL_ROWS, this::synchronize);
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

    /**
     * Launches a step of the first {@code count} rows, from those on the device to the tokens in host memory; returns
     * the address of its logits.
     */
    long launchStep(int count, AttentionChoice.Kind kind) {
        Tensor logits = layers.step(rows, count, kind, sampler.tokensAddress()); // [count, VP]
        if (layers.includes(StepPart.SAMPLING)) {
            sampler.launch(rows, count, logits);
        }
        return logits.data_ptr().address();
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
    public void wordStarts(boolean[] table) {
        program.configureThread();
        scorer.wordStarts(table);
    }

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
        int inGraph = 0;
        int rowCount = 0;
        while (inGraph < chunks.size()
                && rowCount + chunks.get(inGraph).count() <= maxRows
                && isSmall(chunks.get(inGraph))) {
            rowCount += chunks.get(inGraph++).count();
        }
        step.scores.rows().clear();
        step.prefillScores.rows().clear();
        step.stepChunks = chunks.subList(0, inGraph);
        step.prefillChunks = chunks.subList(inGraph, chunks.size());
        if (!step.stepChunks.isEmpty()) {
            step.rows.fill(step.stepChunks, sampler::prepare);
        }
        Cuda.check(cudart.cudaEventRecord(step.begun, stream), "cudaEventRecord");
        if (!step.stepChunks.isEmpty()) {
            launchStep(step, rowCount);
        }
        if (!step.prefillChunks.isEmpty()) {
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
     * Whether a chunk goes by the graph if there is room: a decode, with its candidates; or a prefill that is no longer
     * than worth it, but none of a deterministic model.
     */
    private boolean isSmall(Chunk chunk) {
        return options.deterministic()
                ? StepInput.firstSampled(chunk) == chunk.start() || chunk.count() == 1
                : chunk.count() <= PREFILL_ROWS;
    }

    /** The kernel for many decode rows takes only one of each sequence. */
    @Override
    public int maxDecodeRows() {
        return !options.deterministic()
                ? Integer.MAX_VALUE
                : kind(List.of(), maxRows) == AttentionChoice.Kind.PAGED ? maxRows : 0;
    }

    private void launchStep(Step step, int rowCount) {
        OptionalInt recorded = graphs.rowsFor(rowCount);
        int count = recorded.orElse(options.deterministic() ? maxRows : rowCount);
        AttentionChoice.Kind kind = kind(step.stepChunks, count);
        step.rows.upload(count, kind.isPlanned());
        step.scores.rows().addTokens(step.stepChunks);
        if (recorded.isPresent() && step.scores.isEmpty()) {
            graphs.launch(count, kind);
            return;
        }
        try (TensorScope scope = new TensorScope()) {
            long logits = recorded.isPresent() ? graphs.launch(count, kind) : launchStep(count, kind);
            if (step.scores.isEmpty()) {
                return;
            }
            if (scorer.isWide()) {
                scorer.launchHidden(step.scores, layers.stepHidden());
            } else {
                scorer.launchLogits(step.scores, logits);
            }
        }
    }

    private void launchPrefill(Step step) {
        int[] sampled = step.prefillScores.rows().addWanted(step.prefillChunks);
        try (TensorScope scope = new TensorScope()) {
            Tensor rows = prefill.indices(sampled);
            if (options.deterministic()) {
                Tensor logits = prefillEach(step.prefillChunks);
                sample(step, logits.index_select(0, rows));
                if (!step.prefillScores.isEmpty()) {
                    scorer.launchLogits(step.prefillScores, logits.data_ptr().address());
                }
                return;
            }
            CudaLayers.Hidden hidden = prefill.hidden(step.prefillChunks);
            sample(step, layers.logits(hidden.select(rows)));
            if (!step.prefillScores.isEmpty()) {
                scorer.launchHidden(step.prefillScores, hidden);
            }
        }
    }

    /** Logits after each chunk, computed by itself, [M, VP] as if together. */
    private Tensor prefillEach(List<Chunk> chunks) {
        TensorVector logits = new TensorVector();
        chunks.forEach(chunk -> logits.push_back(layers.logits(prefill.hidden(List.of(chunk)))));
        return torch.cat(logits, 0);
    }

    /** Samples a large prefill; {@code logits} [rows, VP] dtype. */
    private void sample(Step step, Tensor logits) {
        int count = (int) logits.size(0);
        if (count > 0) {
            step.prefillRows.fillSampled(step.prefillChunks, sampler::prepare);
            step.prefillRows.upload(count, false);
            sampler.launch(prefillRows, count, logits);
        }
    }

    CudaPrefill prefill() {
        return prefill;
    }

    CudaScorer scorer() {
        return scorer;
    }

    @Override
    public void await() {
        Step step = inFlight.remove();
        try {
            Cuda.check(cudart.cudaEventSynchronize(step.done), "cudaEventSynchronize");
            finished = step;
            int firstRow = 0;
            for (Chunk chunk : step.stepChunks) {
                for (WantedPosition wanted : chunk.wantedPositions()) {
                    if (!wanted.isScored()) {
                        sampler.take(chunk, wanted, step.rows, firstRow + wanted.position() - chunk.start());
                    }
                }
                firstRow += chunk.count();
            }
            int row = 0;
            for (Chunk chunk : step.prefillChunks) {
                for (WantedPosition wanted : chunk.wantedPositions()) {
                    if (!wanted.isScored()) {
                        sampler.take(chunk, wanted, step.prefillRows, row++);
                    }
                }
            }
            step.scores.take();
            step.prefillScores.take();
        } catch (RuntimeException e) {
            throw lossOrFailure("await", step.stepChunks.size() + step.prefillChunks.size(), e);
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
