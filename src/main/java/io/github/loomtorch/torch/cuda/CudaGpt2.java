package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Cuda;
import io.github.loomtorch.torch.natives.Libtorch;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.Gpt2;
import io.github.loomtorch.torch.program.KvCache;
import io.github.loomtorch.torch.program.PrefillProfile;
import io.github.loomtorch.torch.program.PrefillShape;
import io.github.loomtorch.torch.program.StepProfile;
import io.github.loomtorch.torch.program.TorchScriptGpt2;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.nio.IntBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.BiConsumer;
import org.bytedeco.cuda.cudart.CUevent_st;
import org.bytedeco.cuda.cudart.CUgraphExec_st;
import org.bytedeco.cuda.cudart.CUgraph_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.cuda.DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair;
import org.bytedeco.pytorch.cuda.MemPool;
import org.bytedeco.pytorch.cuda.StreamFilter;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * GPT-2 on a GPU. A step, from its rows on the device to its sampled tokens in host memory, is recorded once for each
 * number of rows and kind of attention as a CUDA graph and replayed: one launch, after the copy of the rows. A row is
 * one token: a sequence's next in decode, or one of a small chunk in prefill. The layers of a large prefill are
 * recorded for some numbers of tokens, and replayed with padding, if all its sequences start in it; any other is
 * launched operator by operator. Both sample by the same kernel. All is done in order by one stream, and the host waits
 * for none of it, so a step can be launched while the one before is in flight: the device knows the tokens that the
 * host does not know yet. Only the large prefills of a model without kernels for its products wait. Confined to the
 * engine thread.
 */
public final class CudaGpt2 extends Gpt2 {
    private static final Logger LOG = LoggerFactory.getLogger(CudaGpt2.class);
    /** Prompt tokens that a step's graph computes beside a full batch; more are faster as a prefill. */
    private static final int PREFILL_ROWS = 512;
    /** Most tokens of a prefill that is recorded: what an engine has computed in a step unless told otherwise. */
    private static final int RECORDED_TOKENS = 2048;

    private final Gpt2Config config;
    private final CUstream_st stream;
    private final CudaLayers layers;
    private final DeviceSampler sampler;
    private final int maxRows;
    private final StepRows rows;
    private final StepRows prefillRows; // the last tokens of a large prefill
    private final Staging prefillInput; // PrefillShape's ints
    private final TreeMap<Integer, Map<AttentionChoice.Kind, CUgraphExec_st>> graphs =
            new TreeMap<>(); // by number of rows
    private final List<PrefillGraph> prefillGraphs = new ArrayList<>(); // the first that has room is the best
    private final List<Step> steps; // two, in flight by turns
    private final Deque<Step> inFlight = new ArrayDeque<>();
    private Step finished; // last
    private final DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair poolId;
    private final StreamFilter ownStream;
    private final Resources resources = new Resources();
    private boolean lost;

    /** The layers of a prefill, recorded; its input, [ints] int32, which several share, and what they leave. */
    private record PrefillGraph(
            PrefillShape shape, Tensor input, CUgraphExec_st exec, CudaLayers.Prefilled prefilled) {}

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

    /** On this GPU with kernels of our own; without them, and with a warning, if they cannot be had. */
    public static Gpt2 create(TorchScriptProgram program, ModelOptions options) {
        int vector = 16 / Libtorch.sizeBytes(program.dtype());
        int lanes = program.config().headSize() / vector; // threads that hold one row of a head
        if (program.config().headSize() % vector != 0 || lanes > 32 || Integer.bitCount(lanes) != 1) {
            LOG.warn(
                    "head size {} is not one that the CUDA kernels are made for; the model runs without them, slower",
                    program.config().headSize());
            return new TorchScriptGpt2(program, options);
        }
        String architecture = architecture(program);
        Map<String, Integer> macros = macros(program);
        try {
            return new CudaGpt2(program, options, architecture, macros);
        } catch (CudaKernels.Unavailable e) {
            LOG.warn("{}; the model runs without kernels of its own, slower", e.getMessage());
            return new TorchScriptGpt2(program, options);
        }
    }

    /** GPU memory to leave free for what the model allocates once it is loaded: the 8-bit weights. */
    public static long reservedBytes(Gpt2Config config, ModelOptions options) {
        return options.int8Weights() ? CudaLinear.int8Bytes(config) : 0;
    }

    private static String architecture(TorchScriptProgram program) {
        try (TensorScope scope = new TensorScope()) {
            var properties = torch_cuda.getDeviceProperties(program.device().index());
            return "sm_" + properties.major() + properties.minor();
        }
    }

    static Map<String, Integer> macros(TorchScriptProgram program) {
        Gpt2Config config = program.config();
        Map<String, Integer> macros = new LinkedHashMap<>(StepInput.macros(
                KvCache.pagesPerSequence(config, program.cache().pageSize())));
        macros.put("ELEMENT_BITS", 8 * Libtorch.sizeBytes(program.dtype()));
        if (program.dtype() == ScalarType.BFloat16) {
            macros.put("BRAIN", 1);
        }
        macros.put("C", config.hiddenSize());
        macros.put("D", config.headSize());
        macros.put("PAGE", program.cache().pageSize());
        macros.put("F", config.innerSize());
        macros.put("ACTIVATION", config.activation().ordinal());
        macros.put("EPSILON_BITS", Float.floatToIntBits((float) config.layerNormEpsilon()));
        macros.put("V", config.vocabSize());
        macros.put("VP", config.paddedVocabSize());
        return macros;
    }

    private CudaGpt2(
            TorchScriptProgram program, ModelOptions options, String architecture, Map<String, Integer> macros) {
        super(program, options);
        config = program.config();
        int rowSize = StepInput.rowSize(KvCache.pagesPerSequence(config, options.pageSize()));
        int batch = options.maxBatchSize();
        maxRows = options.deterministic() ? batch : batch + PREFILL_ROWS;
        try (TensorScope scope = new TensorScope()) {
            program.configureThread();
            stream = resources.keep(program.stream().stream());
            layers = new CudaLayers(
                    program, stream, architecture, macros, maxRows, options.int8Weights(), options.deterministic());
            resources.onClose(layers::close);
            sampler = new DeviceSampler(batch, config.vocabSize(), program.device(), stream, architecture, macros);
            resources.onClose(sampler::close);
            rows = new StepRows(maxRows, rowSize, options.pageSize(), layers.attentionPlan(), program.device(), stream);
            resources.onClose(rows::close);
            prefillRows = new StepRows(batch, rowSize, options.pageSize(), null, program.device(), stream);
            resources.onClose(prefillRows::close);
            prefillInput = new Staging(stream);
            resources.onClose(prefillInput::close);
            steps = List.of(new Step(0), new Step(1));
            finished = steps.get(1);
            // The presets take the id, two integers, for a type whose deallocator would crash: it is never freed.
            poolId = resources.keep(new MemPool()).id().retainReference();
            poolId.deallocate(false);
            ownStream = resources.keep(new StreamFilter() {
                @Override
                public boolean call(Pointer other) {
                    return other.address() == stream.address();
                }
            });
            warmUpPrefill();
            if (options.cudaGraphs()) {
                recordPrefills();
                recordGraphs(
                        options.deterministic()
                                ? List.of(maxRows)
                                : recordedRows(batch, maxRows).reversed());
            }
        } catch (RuntimeException | Error e) {
            closeOwn();
            throw e;
        }
    }

    /** 1, 2, 4, 8, then in steps of a quarter of the power of two below, up to {@code max}. */
    static List<Integer> rowCounts(int max) {
        List<Integer> sizes = new ArrayList<>();
        for (int size = 1; size < max; size += size < 8 ? size : Integer.highestOneBit(size) / 4) {
            sizes.add(size);
        }
        sizes.add(max);
        return sizes;
    }

    /**
     * Of the graphs: {@link #rowCounts}, and a full batch, which is most frequent under load and the last with rows of
     * decodes alone.
     */
    static List<Integer> recordedRows(int batch, int max) {
        TreeSet<Integer> sizes = new TreeSet<>(rowCounts(max));
        sizes.add(batch);
        return List.copyOf(sizes);
    }

    /** Largest first, so that the smaller ones find room in the memory pool. */
    private void recordGraphs(List<Integer> rowCounts) {
        long start = System.nanoTime();
        for (int count : rowCounts) {
            try (TensorScope scope = new TensorScope()) {
                Map<AttentionChoice.Kind, CUgraphExec_st> byKind = new EnumMap<>(AttentionChoice.Kind.class);
                for (AttentionChoice.Kind kind : kinds(count)) {
                    step(
                            count,
                            kind); // the first run of a shape allocates workspaces and picks algorithms, which cannot
                    // be recorded
                    synchronize();
                    byKind.put(kind, record(() -> step(count, kind)));
                }
                graphs.put(count, byKind);
            }
        }
        int recorded = graphs.values().stream().mapToInt(Map::size).sum();
        LOG.info("recorded {} graphs in {} ms", recorded, (System.nanoTime() - start) / 1_000_000);
    }

    /** Has libraries load and choose what a large prefill needs, which would delay the first. */
    private void warmUpPrefill() {
        if (!layers.isFused()) {
            return;
        }
        int longest = Math.min(
                config.contextLength(),
                program.cache().pageCount() * program.cache().pageSize());
        for (int length = PREFILL_ROWS; length <= longest; length *= 2) {
            try (TensorScope scope = new TensorScope()) {
                prefillMadeUp(1, length);
            }
        }
        synchronize();
    }

    /** As {@link #recordGraphs}. Padding is at most a quarter of more than {@link #PREFILL_ROWS} tokens. */
    private void recordPrefills() {
        if (!layers.isFused() || options.deterministic()) {
            return;
        }
        long start = System.nanoTime();
        int most = Math.min(
                RECORDED_TOKENS, program.cache().pageCount() * program.cache().pageSize());
        List<Integer> tokenCounts =
                rowCounts(most).stream().filter(count -> count > PREFILL_ROWS).toList();
        List<PrefillShape> shapes = PrefillShape.recorded(tokenCounts, config.contextLength());
        if (shapes.isEmpty()) {
            return;
        }
        Tensor input = resources.keep(
                inputRoom(shapes.stream().mapToInt(PrefillShape::ints).max().getAsInt()));
        input.zero_(); // no sequences, and tokens that exist
        for (PrefillShape shape : shapes.reversed()) {
            try (TensorScope scope = new TensorScope()) {
                layers.prefill(shape, input);
                synchronize();
                CudaLayers.Prefilled[] prefilled = new CudaLayers.Prefilled[1];
                CUgraphExec_st exec = record(() -> prefilled[0] = layers.prefill(shape, input));
                resources.keep(prefilled[0].x());
                prefillGraphs.addFirst(new PrefillGraph(shape, input, exec, prefilled[0]));
            }
        }
        LOG.info("recorded {} prefills in {} ms", shapes.size(), (System.nanoTime() - start) / 1_000_000);
    }

    /** Records what {@code work} launches. */
    private CUgraphExec_st record(Runnable work) {
        byte device = program.device().index();
        CUgraph_st graph = new CUgraph_st();
        boolean complete = false;
        torch_cuda.beginAllocateToPool(device, poolId, ownStream);
        resources.onClose(() -> torch_cuda.getAllocator().releasePool(device, poolId));
        try {
            Cuda.check(
                    cudart.cudaStreamBeginCapture(stream, cudart.cudaStreamCaptureModeThreadLocal),
                    "cudaStreamBeginCapture");
            try {
                work.run();
                complete = true;
            } finally {
                int ended = cudart.cudaStreamEndCapture(stream, graph);
                if (complete) {
                    Cuda.check(ended, "cudaStreamEndCapture");
                } else {
                    cudart.cudaGraphDestroy(graph);
                }
            }
        } finally {
            torch_cuda.endAllocateToPool(device, poolId);
        }
        CUgraphExec_st exec = new CUgraphExec_st();
        int instantiated = cudart.cudaGraphInstantiate(exec, graph, 0);
        cudart.cudaGraphDestroy(graph);
        Cuda.check(instantiated, "cudaGraphInstantiate");
        resources.onClose(() -> cudart.cudaGraphExecDestroy(exec));
        return exec;
    }

    /** All kinds of attention that steps of so many rows have. */
    private Set<AttentionChoice.Kind> kinds(int count) {
        return options.deterministic()
                ? Set.of(kind(List.of(), count))
                : layers.attentionChoice().kinds(count, maxBatchSize());
    }

    private AttentionChoice.Kind kind(List<Chunk> chunks, int count) {
        AttentionChoice choice = layers.attentionChoice();
        return options.deterministic() ? choice.kind(count, false, 1) : choice.kind(chunks, count); // one way always
    }

    /** A step of the first {@code count} rows, from those on the device to the tokens in host memory. */
    private void step(int count, AttentionChoice.Kind kind) {
        Tensor logits = layers.step(rows, count, kind, sampler.tokensAddress()); // [count, VP]
        if (layers.includes(CudaLayers.Part.SAMPLING)) {
            sampler.launch(rows, count, logits);
        }
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

    private void synchronize() {
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
        Integer recorded = graphs.ceilingKey(rowCount);
        int count = recorded != null ? recorded : options.deterministic() ? maxRows : rowCount;
        AttentionChoice.Kind kind = kind(step.stepping, count);
        step.rows.upload(count, kind.isPlanned());
        if (recorded != null) {
            Cuda.check(cudart.cudaGraphLaunch(graphs.get(count).get(kind), stream), "cudaGraphLaunch");
            return;
        }
        try (TensorScope scope = new TensorScope()) {
            step(count, kind);
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
            return program.prefill(chunks);
        }
        int sampling = chunks.stream()
                .mapToInt(chunk -> chunk.wantedPositions().size())
                .sum();
        return prefill(PrefillShape.of(chunks), sampling, (shape, buffer) -> shape.put(buffer, chunks, pageSize()));
    }

    /**
     * Computes made-up prompts, into the first rows of the cache: for warming up and for measuring, while no sequence
     * runs.
     */
    private Tensor prefillMadeUp(int prompts, int promptLength) {
        return prefill(
                PrefillShape.of(prompts, promptLength),
                prompts,
                (shape, buffer) -> shape.putMadeUp(buffer, prompts, promptLength, config.vocabSize()));
    }

    private Tensor prefill(PrefillShape exact, int sampling, BiConsumer<PrefillShape, IntBuffer> put) {
        PrefillGraph graph = prefillGraphs.stream()
                .filter(recorded -> recorded.shape().hasRoomFor(exact))
                .findFirst()
                .orElse(null);
        PrefillShape shape = graph == null ? exact : graph.shape();
        Tensor input = graph == null ? inputRoom(shape.ints()) : graph.input();
        prefillInput.upload(input.data_ptr(), 4L * shape.ints(), bytes -> put.accept(shape, bytes.asIntBuffer()));
        CudaLayers.Prefilled prefilled;
        if (graph == null) {
            prefilled = layers.prefill(shape, input);
        } else {
            Cuda.check(cudart.cudaGraphLaunch(graph.exec(), stream), "cudaGraphLaunch");
            prefilled = graph.prefilled();
        }
        return layers.logits(prefilled, input.narrow(0, shape.lastAt(), sampling));
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
    public StepProfile profileStep(int batchSize, int contextLength) {
        requireProfiling(batchSize, maxBatchSize(), "batchSize");
        requireProfiling(contextLength, contextLength(), "contextLength");
        beginProfiling();
        finished.rows.fillMadeUp(batchSize, contextLength, pageCount());
        List<StepProfile.Part> parts = new ArrayList<>();
        double whole = stepMicros(batchSize, contextLength, null);
        for (CudaLayers.Part part : CudaLayers.Part.values()) {
            parts.add(new StepProfile.Part(
                    part.name().toLowerCase(Locale.ROOT),
                    layers.launches(part, batchSize),
                    Math.max(0, whole - stepMicros(batchSize, contextLength, part)),
                    layers.bytes(part, batchSize, contextLength)));
        }
        return new StepProfile(batchSize, contextLength, whole, copyBytesPerSecond(), parts);
    }

    private double stepMicros(int count, int contextLength, CudaLayers.Part without) {
        try (TensorScope scope = new TensorScope()) {
            layers.without(without);
            AttentionChoice.Kind kind = layers.attentionChoice().kind(count, false, contextLength);
            finished.rows.upload(count, kind.isPlanned());
            step(count, kind);
            synchronize();
            CUgraphExec_st graph = record(() -> step(count, kind));
            return medianMicros(50, () -> {
                finished.rows.upload(count, kind.isPlanned());
                Cuda.check(cudart.cudaGraphLaunch(graph, stream), "cudaGraphLaunch");
            });
        } finally {
            layers.without(null);
        }
    }

    @Override
    public PrefillProfile profilePrefill(int prompts, int promptLength) {
        requireProfiling(promptLength, contextLength(), "promptLength");
        requireProfiling(prompts, pageCount() * pageSize() / promptLength, "prompts");
        beginProfiling();
        double micros = medianMicros(1, () -> {
            try (TensorScope scope = new TensorScope()) {
                prefillMadeUp(prompts, promptLength);
            }
        });
        try (TensorScope scope = new TensorScope()) {
            long size = 8192;
            TensorOptions elements = new TensorOptions(program.dtype()).device(new DeviceOptional(program.device()));
            Tensor a = torch.randn(new long[] {size, size}, elements);
            Tensor b = torch.randn(new long[] {size, size}, elements);
            Tensor product = torch.empty(new long[] {size, size}, elements, null);
            double matmulMicros = medianMicros(5, () -> torch.mm_out(product, a, b));
            return new PrefillProfile(
                    prompts,
                    promptLength,
                    micros,
                    layers.operations(prompts, promptLength),
                    2e6 * size * size * size / matmulMicros);
        }
    }

    private void requireProfiling(int value, int most, String name) {
        if (!options.cudaGraphs()) {
            throw new TorchException("profiling replays CUDA graphs, got cudaGraphs=false");
        }
        if (!layers.isFused()) {
            super.profileStep(1, 1); // says why not
        }
        if (value < 1 || value > most) {
            throw new IllegalArgumentException(name + " must be in [1, " + most + "], got " + value);
        }
    }

    private void beginProfiling() {
        program.configureThread();
        synchronize();
    }

    private double copyBytesPerSecond() {
        try (TensorScope scope = new TensorScope()) {
            long bytes = 1L << 29;
            TensorOptions options = new TensorOptions(ScalarType.Float).device(new DeviceOptional(program.device()));
            Tensor from = torch.randn(new long[] {bytes / 4}, options);
            Tensor to = torch.empty(new long[] {bytes / 4}, options, null);
            return 2e6 * bytes / medianMicros(5, () -> to.copy_(from));
        }
    }

    /** Of one of {@code repeats} in a row on the device, the median of 11 such rows after a few to warm up. */
    private double medianMicros(int repeats, Runnable work) {
        double[] times = new double[11];
        for (int i = -100 / repeats; i < times.length; i++) {
            synchronize();
            Cuda.check(cudart.cudaEventRecord(finished.begun, stream), "cudaEventRecord");
            for (int repeat = 0; repeat < repeats; repeat++) {
                work.run();
            }
            Cuda.check(cudart.cudaEventRecord(finished.done, stream), "cudaEventRecord");
            synchronize();
            if (i >= 0) {
                times[i] = deviceNanos() / 1e3 / repeats;
            }
        }
        Arrays.sort(times);
        return times[times.length / 2];
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
