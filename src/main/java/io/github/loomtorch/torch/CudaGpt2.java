package io.github.loomtorch.torch;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.request.SamplingParams;
import java.nio.IntBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.BiConsumer;
import java.util.function.Supplier;
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
 * GPT-2 on a GPU. A step, from the copy of its rows to the device to its sampled tokens in host memory, is recorded once for each number of
 * rows as a CUDA graph and replayed: one launch. A row is one token: a sequence's next in decode, or one of a small chunk in prefill. The
 * layers of a large prefill are recorded for some numbers of tokens, and replayed with padding, if all its sequences start in it; any other is
 * launched operator by operator. Both sample by the same kernel. Confined to the engine thread.
 */
final class CudaGpt2 extends Gpt2 {
    private static final Logger LOG = LoggerFactory.getLogger(CudaGpt2.class);
    /** Prompt tokens that a step's graph computes beside a full batch; more are faster as a prefill. */
    private static final int PREFILL_ROWS = 512;
    /** Most tokens of a prefill that is recorded: what an engine has computed in a step unless told otherwise. */
    private static final int RECORDED_TOKENS = 2048;
    /** Up to so many sequences, the step after a step is launched before the host knows its tokens. */
    private static final int ROWS_AHEAD = 8;

    private final Gpt2Config config;
    private final CUstream_st stream;
    private final CudaLayers layers;
    private final DeviceSampler sampler;
    private final int maxRows;
    private final Lane usual; // for any step
    private final Lane other; // for steps of at most ROWS_AHEAD rows, beside one in `usual`
    private final StepRows prefillRows; // the last tokens of a large prefill
    private final PrefillInput prefillInput;
    private final List<PrefillGraph> prefillGraphs = new ArrayList<>(); // the first that has room is the best
    private Tensor recordedInput; // of a prefill by a graph
    private final DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair poolId;
    private final StreamFilter ownStream;
    private final Deque<Runnable> closers = new ArrayDeque<>(); // of all that was made so far, the last made first
    private boolean lost;

    private Lane lane; // of the step in flight
    private Ahead ahead; // null if there is none
    private List<Chunk> stepping = List.of(); // in rows
    private List<Chunk> prefilling = List.of(); // as a large prefill
    private Tensor stepLogits;
    private Tensor prefillLogits;
    private final List<Tensor> held = new ArrayList<>(); // logits of a step in flight that no graph holds

    /** What was recorded, and what it leaves: the logits of a step. */
    private record Graph(CUgraphExec_st exec, Tensor logits) {}

    /** The layers of a prefill, recorded, and what they leave. */
    private record PrefillGraph(PrefillShape shape, CUgraphExec_st exec, CudaLayers.Prefilled prefilled) {}

    /** What one step in flight needs for itself. */
    private final class Lane {
        final StepRows rows;
        final TreeMap<Integer, Graph> graphs = new TreeMap<>(); // by number of rows
        final CUevent_st started = new CUevent_st();
        final CUevent_st finished = new CUevent_st();

        Lane(int maxRows, int rowSize) {
            rows = new StepRows(maxRows, rowSize, options.pageSize(), program.device(), stream);
            closers.push(rows::close);
            Cuda.check(cudart.cudaEventCreate(started), "cudaEventCreate");
            closers.push(() -> cudart.cudaEventDestroy(started));
            Cuda.check(cudart.cudaEventCreate(finished), "cudaEventCreate");
            closers.push(() -> cudart.cudaEventDestroy(finished));
        }

        /** For so many rows; null if none is recorded. */
        Graph graph(int rowCount) {
            Map.Entry<Integer, Graph> recorded = graphs.ceilingEntry(rowCount);
            return recorded == null ? null : recorded.getValue();
        }
    }

    /** A step in flight that the engine has not asked for yet: for one more token of each of these chunks' sequences. */
    private record Ahead(Lane lane, Graph graph, List<Chunk> before) {

        boolean isFor(List<Chunk> chunks) {
            if (chunks.size() != before.size()) {
                return false;
            }
            for (int row = 0; row < chunks.size(); row++) {
                Chunk chunk = chunks.get(row);
                if (chunk.count() != 1 || chunk.sequence() != before.get(row).sequence() || !lane.rows.isFor(row, chunk)) {
                    return false;
                }
            }
            return true;
        }
    }

    /** On this GPU with kernels of our own; without them, and with a warning, if they cannot be had. */
    static Gpt2 create(TorchScriptProgram program, TorchOptions options) {
        int vector = 16 / Libtorch.sizeBytes(program.dtype());
        int lanes = program.config().headSize() / vector; // threads that hold one row of a head
        if (program.config().headSize() % vector != 0 || lanes > 32 || Integer.bitCount(lanes) != 1) {
            LOG.warn("head size {} is not one that the CUDA kernels are made for; the model runs without them, slower",
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

    private static String architecture(TorchScriptProgram program) {
        try (TensorScope scope = new TensorScope()) {
            var properties = torch_cuda.getDeviceProperties(program.device().index());
            return "sm_" + properties.major() + properties.minor();
        }
    }

    static Map<String, Integer> macros(TorchScriptProgram program) {
        Gpt2Config config = program.config();
        Map<String, Integer> macros = new LinkedHashMap<>(StepInput.macros(KvCache.pagesPerSequence(config, program.cache().pageSize())));
        macros.put("ELEMENT_BITS", 8 * Libtorch.sizeBytes(program.dtype()));
        if (program.dtype() == ScalarType.BFloat16) {
            macros.put("BRAIN", 1);
        }
        macros.put("C", config.hiddenSize());
        macros.put("H", config.headCount());
        macros.put("D", config.headSize());
        macros.put("PAGE", program.cache().pageSize());
        macros.put("F", config.innerSize());
        macros.put("ACTIVATION", config.activation().ordinal());
        macros.put("EPSILON_BITS", Float.floatToIntBits((float) config.layerNormEpsilon()));
        macros.put("V", config.vocabSize());
        macros.put("VP", TorchScriptExporter.paddedVocabSize(config));
        return macros;
    }

    private CudaGpt2(
            TorchScriptProgram program,
            TorchOptions options,
            String architecture,
            Map<String, Integer> macros) {
        super(program, options);
        config = program.config();
        int rowSize = StepInput.rowSize(KvCache.pagesPerSequence(config, options.pageSize()));
        int batch = options.maxBatchSize();
        maxRows = options.deterministic() ? batch : batch + PREFILL_ROWS;
        try (TensorScope scope = new TensorScope()) {
            program.configureThread();
            stream = keep(program.stream().stream());
            layers = new CudaLayers(program, stream, architecture, macros, maxRows, options.int8Weights());
            closers.push(layers::close);
            sampler = new DeviceSampler(batch, maxRows, config.vocabSize(), program.device(), stream, architecture, macros);
            closers.push(sampler::close);
            usual = new Lane(maxRows, rowSize);
            other = new Lane(Math.min(ROWS_AHEAD, maxRows), rowSize);
            lane = usual;
            prefillRows = new StepRows(batch, rowSize, options.pageSize(), program.device(), stream);
            closers.push(prefillRows::close);
            prefillInput = new PrefillInput(program.device(), stream);
            closers.push(prefillInput::close);
            // The presets take the id, two integers, for a type whose deallocator would crash: it is never freed.
            poolId = keep(new MemPool()).id().retainReference();
            poolId.deallocate(false);
            ownStream = keep(new StreamFilter() {
                @Override
                public boolean call(Pointer other) {
                    return other.address() == stream.address();
                }
            });
            warmUpPrefill();
            if (options.cudaGraphs()) {
                recordPrefills();
                List<Integer> rowCounts = options.deterministic() ? List.of(maxRows) : rowCounts(maxRows).reversed();
                recordGraphs(usual, rowCounts);
                recordGraphs(other, rowCounts.stream().filter(count -> count <= ROWS_AHEAD).toList());
            }
        } catch (RuntimeException e) {
            closeOwn();
            throw e;
        }
    }

    private <P extends Pointer> P keep(P pointer) {
        pointer.retainReference();
        closers.push(pointer::releaseReference);
        return pointer;
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

    /** Largest first, so that the smaller ones find room in the memory pool. */
    private void recordGraphs(Lane lane, List<Integer> rowCounts) {
        long start = System.nanoTime();
        for (int count : rowCounts) {
            try (TensorScope scope = new TensorScope()) {
                step(lane.rows, count); // the first run of a shape allocates workspaces and picks algorithms, which cannot be recorded
                synchronize();
                lane.graphs.put(count, record(lane.rows, count));
            }
        }
        LOG.info("recorded {} graphs in {} ms", rowCounts.size(), (System.nanoTime() - start) / 1_000_000);
    }

    /** Has libraries load and choose what a large prefill needs, which would delay the first. */
    private void warmUpPrefill() {
        if (!layers.isFused()) {
            return;
        }
        int longest = Math.min(config.contextLength(), program.cache().pageCount() * program.cache().pageSize());
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
        int most = Math.min(RECORDED_TOKENS, program.cache().pageCount() * program.cache().pageSize());
        List<PrefillShape> shapes = PrefillShape.recorded(PREFILL_ROWS, most, config.contextLength());
        if (shapes.isEmpty()) {
            return;
        }
        recordedInput = keep(prefillInput.room(shapes.stream().mapToInt(PrefillShape::ints).max().getAsInt()));
        recordedInput.zero_(); // no sequences, and tokens that exist
        for (PrefillShape shape : shapes.reversed()) {
            try (TensorScope scope = new TensorScope()) {
                long pending = layers.prefill(shape, recordedInput).pending();
                synchronize();
                Graph graph = record(() -> layers.prefill(shape, recordedInput).x());
                prefillGraphs.addFirst(new PrefillGraph(shape, graph.exec(), new CudaLayers.Prefilled(graph.logits(), pending)));
            }
        }
        LOG.info("recorded {} prefills in {} ms", shapes.size(), (System.nanoTime() - start) / 1_000_000);
    }

    private Graph record(StepRows rows, int count) {
        return record(() -> step(rows, count));
    }

    /** Records what {@code work} launches, with the tensor that it returns. */
    private Graph record(Supplier<Tensor> work) {
        byte device = program.device().index();
        CUgraph_st graph = new CUgraph_st();
        Tensor logits = null;
        torch_cuda.beginAllocateToPool(device, poolId, ownStream);
        closers.push(() -> torch_cuda.getAllocator().releasePool(device, poolId));
        try {
            Cuda.check(cudart.cudaStreamBeginCapture(stream, cudart.cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
            try {
                logits = own(work.get());
            } finally {
                int ended = cudart.cudaStreamEndCapture(stream, graph);
                if (logits == null) {
                    cudart.cudaGraphDestroy(graph);
                } else {
                    closers.push(logits::releaseReference);
                    Cuda.check(ended, "cudaStreamEndCapture");
                }
            }
        } finally {
            torch_cuda.endAllocateToPool(device, poolId);
        }
        CUgraphExec_st exec = new CUgraphExec_st();
        int instantiated = cudart.cudaGraphInstantiate(exec, graph, 0);
        cudart.cudaGraphDestroy(graph);
        Cuda.check(instantiated, "cudaGraphInstantiate");
        closers.push(() -> cudart.cudaGraphExecDestroy(exec));
        return new Graph(exec, logits);
    }

    /** A step of the first {@code count} rows, from the copy to the device to the tokens in host memory; returns its logits [count, VP]. */
    private Tensor step(StepRows rows, int count) {
        rows.upload(count);
        Tensor logits = layers.step(rows, count, sampler.tokensAddress());
        if (layers.includes(CudaLayers.Part.SAMPLING)) {
            sampler.launch(rows, count, logits);
        }
        return logits;
    }

    @Override
    public void launch(List<Chunk> chunks) {
        try {
            program.configureThread();
            Ahead launched = ahead;
            ahead = null;
            if (launched != null && launched.isFor(chunks)) {
                lane = launched.lane();
                stepLogits = launched.graph().logits();
                stepping = chunks;
                prefilling = List.of();
            } else {
                if (launched != null) {
                    synchronize(); // it ends unasked for; what it wrote lies behind the ends of its sequences
                }
                launchUsual(chunks);
            }
            launchAhead();
        } catch (RuntimeException e) {
            cudart.cudaStreamSynchronize(stream); // what was launched must not outlive its pages and rows
            releaseLogits();
            throw lossOrFailure("launch", chunks.size(), e);
        }
    }

    private void launchUsual(List<Chunk> chunks) {
        int inGraph = 0;
        int rowCount = 0;
        while (inGraph < chunks.size() && rowCount + chunks.get(inGraph).count() <= maxRows && isSmall(chunks.get(inGraph))) {
            rowCount += chunks.get(inGraph++).count();
        }
        stepping = chunks.subList(0, inGraph);
        prefilling = chunks.subList(inGraph, chunks.size());
        lane = usual;
        if (!stepping.isEmpty()) {
            lane.rows.fill(stepping, sampler::prepare);
        }
        Cuda.check(cudart.cudaEventRecord(lane.started, stream), "cudaEventRecord");
        if (!stepping.isEmpty()) {
            launchStep(rowCount);
        }
        if (!prefilling.isEmpty()) {
            launchPrefill();
        }
        Cuda.check(cudart.cudaEventRecord(lane.finished, stream), "cudaEventRecord");
    }

    /**
     * Launches the step that most probably follows, so that the GPU need not wait for the host to learn a token only to hand it back: one
     * more token for each sequence of this step. A sequence that ends unforeseen, or a new one, costs the time of that step.
     */
    private void launchAhead() {
        if (!prefilling.isEmpty() || stepping.size() > ROWS_AHEAD || !stepping.stream().allMatch(this::goesOn)) {
            return;
        }
        Lane next = lane == usual ? other : usual;
        Graph graph = next.graph(options.deterministic() ? maxRows : stepping.size());
        if (graph == null) {
            return;
        }
        next.rows.fillNext(lane.rows, stepping);
        Cuda.check(cudart.cudaEventRecord(next.started, stream), "cudaEventRecord");
        Cuda.check(cudart.cudaGraphLaunch(graph.exec(), stream), "cudaGraphLaunch");
        Cuda.check(cudart.cudaEventRecord(next.finished, stream), "cudaEventRecord");
        ahead = new Ahead(next, graph, List.copyOf(stepping));
    }

    /** Whether a sequence can be foreseen to go on after a chunk, in the same page and without counting tokens. */
    private boolean goesOn(Chunk chunk) {
        Sequence sequence = chunk.sequence();
        SamplingParams params = sequence.sampling();
        return chunk.count() == 1
                && chunk.samples()
                && !sequence.isCancelled()
                && sequence.length() + 1 < sequence.maxLength()
                && sequence.length() % pageSize() != 0
                && params.repetitionPenalty() == 1
                && params.presencePenalty() == 0
                && params.frequencyPenalty() == 0;
    }

    private void synchronize() {
        Cuda.check(cudart.cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    }

    /** An error that stays when the stream is asked again, unlike a lack of memory, ends the use of the device by this process. */
    private TorchException lossOrFailure(String phase, int sequences, RuntimeException e) {
        ahead = null;
        lost = cudart.cudaStreamSynchronize(stream) != cudart.cudaSuccess;
        return failure(phase, sequences, e);
    }

    @Override
    public boolean isLost() {
        return lost;
    }

    /** Whether a chunk goes by the graph if there is room: the one token of a decode, or a prefill that is no longer than worth it. */
    private boolean isSmall(Chunk chunk) {
        return chunk.count() == 1 || chunk.count() <= PREFILL_ROWS && !options.deterministic();
    }

    private void launchStep(int rowCount) {
        Graph graph = lane.graph(rowCount);
        if (graph != null) {
            stepLogits = graph.logits();
            Cuda.check(cudart.cudaGraphLaunch(graph.exec(), stream), "cudaGraphLaunch");
            return;
        }
        try (TensorScope scope = new TensorScope()) {
            stepLogits = hold(step(lane.rows, options.deterministic() ? maxRows : rowCount));
        }
    }

    private void launchPrefill() {
        try (TensorScope scope = new TensorScope()) {
            Tensor logits = options.deterministic() ? prefillEach(prefilling) : prefill(prefilling);
            List<Chunk> sampling = prefilling.stream().filter(Chunk::samples).toList();
            if (!sampling.isEmpty()) {
                prefillRows.fillLast(sampling, sampler::prepare);
                prefillRows.upload(sampling.size());
                sampler.launch(prefillRows, sampling.size(), logits);
                prefillLogits = hold(logits);
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
        int sampling = (int) chunks.stream().filter(Chunk::samples).count();
        return prefill(PrefillShape.of(chunks), sampling, (shape, buffer) -> shape.put(buffer, chunks, pageSize()));
    }

    /** Computes made-up prompts, into the first rows of the cache: for warming up and for measuring, while no sequence runs. */
    private Tensor prefillMadeUp(int prompts, int promptLength) {
        return prefill(
                PrefillShape.of(prompts, promptLength),
                prompts,
                (shape, buffer) -> shape.putMadeUp(buffer, prompts, promptLength, config.vocabSize()));
    }

    private Tensor prefill(PrefillShape exact, int sampling, BiConsumer<PrefillShape, IntBuffer> put) {
        PrefillGraph graph =
                prefillGraphs.stream().filter(recorded -> recorded.shape().hasRoomFor(exact)).findFirst().orElse(null);
        PrefillShape shape = graph == null ? exact : graph.shape();
        Tensor input = graph == null ? prefillInput.room(shape.ints()) : recordedInput;
        prefillInput.upload(shape.ints(), buffer -> put.accept(shape, buffer), input);
        CudaLayers.Prefilled prefilled;
        if (graph == null) {
            prefilled = layers.prefill(shape, input);
        } else {
            Cuda.check(cudart.cudaGraphLaunch(graph.exec(), stream), "cudaGraphLaunch");
            prefilled = graph.prefilled();
        }
        return layers.logits(prefilled, input.narrow(0, shape.lastAt(), sampling));
    }

    private Tensor hold(Tensor logits) {
        Tensor own = own(logits);
        held.add(own);
        return own;
    }

    /** A reference of its own to a tensor that a method returned, which belongs to the method's result. */
    private static Tensor own(Tensor tensor) {
        return new Tensor(tensor).retainReference();
    }

    private void releaseLogits() {
        held.forEach(Pointer::releaseReference);
        held.clear();
    }

    @Override
    public void await() {
        try {
            Cuda.check(cudart.cudaEventSynchronize(lane.finished), "cudaEventSynchronize");
            if (ahead != null && hasUnusableRow()) {
                repeatStep();
            }
            int row = 0;
            for (Chunk chunk : stepping) {
                row += chunk.count();
                if (chunk.samples()) {
                    sampler.take(chunk, lane.rows, row - 1, stepLogits);
                }
            }
            row = 0;
            for (Chunk chunk : prefilling) {
                if (chunk.samples()) {
                    sampler.take(chunk, prefillRows, row++, prefillLogits);
                }
            }
        } catch (RuntimeException e) {
            throw lossOrFailure("await", stepping.size() + prefilling.size(), e);
        } finally {
            releaseLogits();
        }
    }

    private boolean hasUnusableRow() {
        for (int row = 0; row < stepping.size(); row++) {
            if (lane.rows.result(row, 0) < 0) {
                return true;
            }
        }
        return false;
    }

    /** Computes the logits of the step again, which those of the step ahead have replaced; it has no state that would change. */
    private void repeatStep() {
        ahead = null;
        synchronize();
        lane.rows.putTokens(stepping);
        launchStep(stepping.size());
        synchronize();
    }

    @Override
    public StepProfile profileStep(int batchSize, int contextLength) {
        requireProfiling(batchSize, maxBatchSize(), "batchSize");
        requireProfiling(contextLength, contextLength(), "contextLength");
        beginProfiling();
        usual.rows.fillMadeUp(batchSize, contextLength, pageCount());
        List<StepProfile.Part> parts = new ArrayList<>();
        double whole = stepMicros(batchSize, null);
        for (CudaLayers.Part part : CudaLayers.Part.values()) {
            parts.add(new StepProfile.Part(
                    part.name().toLowerCase(Locale.ROOT),
                    layers.launches(part),
                    Math.max(0, whole - stepMicros(batchSize, part)),
                    layers.bytes(part, batchSize, contextLength)));
        }
        return new StepProfile(batchSize, contextLength, whole, copyBytesPerSecond(), parts);
    }

    private double stepMicros(int count, CudaLayers.Part without) {
        try (TensorScope scope = new TensorScope()) {
            layers.without(without);
            step(usual.rows, count);
            synchronize();
            Graph graph = record(usual.rows, count);
            return medianMicros(50, () -> Cuda.check(cudart.cudaGraphLaunch(graph.exec(), stream), "cudaGraphLaunch"));
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
                    prompts, promptLength, micros, layers.operations(prompts, promptLength), 2e6 * size * size * size / matmulMicros);
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
        ahead = null;
        lane = usual;
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
            Cuda.check(cudart.cudaEventRecord(usual.started, stream), "cudaEventRecord");
            for (int repeat = 0; repeat < repeats; repeat++) {
                work.run();
            }
            Cuda.check(cudart.cudaEventRecord(usual.finished, stream), "cudaEventRecord");
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
        return cudart.cudaEventElapsedTime(millis, lane.started, lane.finished) == cudart.cudaSuccess ? (long) (millis[0] * 1e6) : 0;
    }

    @Override
    public void close() {
        cudart.cudaStreamSynchronize(stream); // a step may be ahead
        closeOwn();
        super.close();
    }

    private void closeOwn() {
        while (!closers.isEmpty()) {
            closers.pop().run();
        }
    }
}
