package io.github.loomtorch.torch.cpu;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.model.CheckpointTensor;
import io.github.loomtorch.model.DType;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.model.Gpt2Weights;
import io.github.loomtorch.model.StackedWeights;
import io.github.loomtorch.options.Dtype;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.gpt2.Gpt2;
import io.github.loomtorch.torch.gpt2.HostSampler;
import io.github.loomtorch.torch.natives.CpuThreads;
import io.github.loomtorch.torch.natives.Failures;
import io.github.loomtorch.torch.natives.Processor;
import java.io.IOException;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.List;

/**
 * GPT-2 on a CPU by the C library: a step is one call of it, sampling and scoring are done in Java. Results depend on
 * nothing but the sequence, bit for bit, and not on how it is cut into chunks either. So this is deterministic without
 * being {@link #deterministic()}, which would cost prefix caching and speculation. Confined to the engine thread.
 */
public final class CpuGpt2 extends Gpt2 {
    /** By their numbers in the library. */
    private static final List<String> PARAMETERS = List.of(
            "wte", "wpe", "lnf_w", "lnf_b", "lm_head", "ln1_w", "ln1_b", "qkv_w", "qkv_b", "proj_w", "proj_b", "ln2_w",
            "ln2_b", "fc_w", "fc_b", "out_w", "out_b");

    /** By their numbers in the library. */
    private static final List<DType> DTYPES = List.of(DType.F32, DType.F16, DType.BF16, DType.F64);

    /** Rows of logits at once, so that a prefill that wants all its positions takes little memory. */
    private static final int HEAD_ROWS = 128;

    private static final long MAX_HEAD_BYTES = 1 << 26;

    private final Dtype dtype;
    private final int threads;
    private final int pageCount;
    private final StepPlan plan;
    private final HostSampler sampler;
    private final int headRows;
    private ByteBuffer logitsBytes = ByteBuffer.allocateDirect(0);
    private FloatBuffer logits = logitsBytes.asFloatBuffer(); // the same memory
    private int logitsFirst; // of the wanted rows whose logits are there
    private int logitsEnd;
    private List<Chunk> launched = List.of();
    private long model; // 0 when closed

    private CpuGpt2(Gpt2Config config, ModelOptions options, int instructionSet) {
        super(config, options);
        dtype = Processor.dtype(options.dtype(), options.int8Weights());
        threads = CpuThreads.count(options.threads());
        pageCount =
                Math.multiplyExact(options.maxBatchSize(), Math.ceilDiv(config.contextLength(), options.pageSize()));
        plan = new StepPlan(options.pageSize());
        sampler = new HostSampler(config.vocabSize());
        headRows = Math.clamp(MAX_HEAD_BYTES / rowBytes(), 1, HEAD_ROWS);
        model = CpuKernels.create(sizes(instructionSet), (float) config.layerNormEpsilon(), scoreScales());
        if (model == 0) {
            throw outOfMemory("allocating the model");
        }
    }

    /**
     * Loads a model.
     *
     * @param weights of the model; each is mapped while it is copied
     * @param options dtype not float16
     * @return the model, to be closed by the caller
     * @throws IOException if a file cannot be read
     * @throws TorchException if memory runs out, or there are no such weights for the dtype
     */
    public static CpuGpt2 load(Gpt2Weights weights, ModelOptions options) throws IOException {
        return load(weights, options, CpuKernels.bestInstructionSet());
    }

    /** The same with an instruction set that need not be the processor's best. */
    static CpuGpt2 load(Gpt2Weights weights, ModelOptions options, int instructionSet) throws IOException {
        CpuGpt2 gpt2 = new CpuGpt2(weights.config(), options, instructionSet);
        try {
            gpt2.load(weights);
            return gpt2;
        } catch (IOException | RuntimeException | Error e) {
            gpt2.close();
            throw e;
        }
    }

    private void load(Gpt2Weights weights) throws IOException {
        for (String name : StackedWeights.shapes(config).keySet()) {
            int layers = StackedWeights.isOfLayers(name) ? config.layerCount() : 1;
            for (int layer = 0; layer < layers; layer++) {
                load(name, layer, weights.get(StackedWeights.checkpointName(name, layer)));
            }
        }
    }

    private void load(String name, int layer, CheckpointTensor weight) throws IOException {
        boolean isMatrix = StackedWeights.isOfLayers(name) && weight.shape().length == 2;
        boolean outFirst = isMatrix && !weight.isContiguous();
        ByteBuffer elements = (outFirst ? weight.transposed() : weight).data();
        try {
            int parameter = PARAMETERS.indexOf(name);
            if (!CpuKernels.load(model, parameter, layer, elements, DTYPES.indexOf(weight.dtype()), outFirst)) {
                throw outOfMemory("loading " + name);
            }
        } finally {
            Reference.reachabilityFence(elements);
        }
    }

    private int[] sizes(int instructionSet) {
        return new int[] {
            config.vocabSize(),
            config.contextLength(),
            config.hiddenSize(),
            config.layerCount(),
            config.headCount(),
            config.innerSize(),
            options.pageSize(),
            pageCount,
            config.tieWordEmbeddings() ? 1 : 0,
            options.int8Weights() ? 2 : dtype == Dtype.BFLOAT16 ? 1 : 0,
            config.activation().ordinal(),
            threads,
            instructionSet
        };
    }

    private float[] scoreScales() {
        float[] scales = new float[config.layerCount()];
        double scale = config.scaleAttnWeights() ? 1 / Math.sqrt(config.headSize()) : 1;
        for (int layer = 0; layer < scales.length; layer++) {
            scales[layer] = (float) (config.scaleAttnByInverseLayerIdx() ? scale / (layer + 1) : scale);
        }
        return scales;
    }

    private static TorchException outOfMemory(String operation) {
        return Failures.explain(operation, new IllegalStateException("out of memory"));
    }

    private long rowBytes() {
        return (long) Float.BYTES * config.paddedVocabSize();
    }

    @Override
    public String device() {
        return "cpu";
    }

    @Override
    public String hardware() {
        return Processor.describe() + ", " + threads + " threads, " + CpuKernels.instructions();
    }

    @Override
    public Dtype dtype() {
        return dtype;
    }

    @Override
    public int pageCount() {
        return pageCount;
    }

    @Override
    public void wordStarts(boolean[] table) {
        sampler.wordStarts(table);
    }

    @Override
    public void launch(List<Chunk> chunks) {
        launched = chunks;
    }

    @Override
    public void await() {
        List<Chunk> chunks = launched;
        plan.set(chunks);
        int rows = step(plan.array(), plan.length());
        if (rows < 0) {
            int decodes = decodes(chunks);
            String phase = decodes == 0 ? "prefill" : decodes == chunks.size() ? "decode" : "mixed";
            throw failure(phase, chunks.size(), new IllegalStateException("out of memory"));
        }
        int row = 0;
        for (Chunk chunk : chunks) {
            for (WantedPosition wanted : chunk.wantedPositions()) {
                sampler.take(chunk, wanted, logits(row++, rows));
            }
        }
    }

    /** Computes a step; returns the number of its wanted rows, or -1 if memory ran out. */
    int step(int[] numbers, int length) {
        logitsEnd = 0;
        return CpuKernels.step(open(), numbers, length);
    }

    /**
     * Logits of a wanted row of the last step, of {@code rows}. They are computed for several rows at once, so rows are
     * asked for in ascending order.
     *
     * @return [V] from the buffer's position on, until the next call
     */
    FloatBuffer logits(int row, int rows) {
        if (row >= logitsEnd) {
            int count = Math.min(headRows, rows - row);
            if (count > logitsBytes.capacity() / rowBytes()) {
                int capacity = Math.max(count, Math.min(headRows, options.maxBatchSize()));
                logitsBytes = ByteBuffer.allocateDirect(Math.toIntExact(capacity * rowBytes()))
                        .order(ByteOrder.nativeOrder());
                logits = logitsBytes.asFloatBuffer();
            }
            CpuKernels.logits(open(), row, count, logitsBytes);
            logitsFirst = row;
            logitsEnd = row + count;
        }
        return logits.position((row - logitsFirst) * config.paddedVocabSize());
    }

    Gpt2Config config() {
        return config;
    }

    /** Bytes of weights that a step reads. */
    long weightBytes() {
        return CpuKernels.weightBytes(open());
    }

    /** Reads the memory of the weights once, by all threads; returns bytes in a second. */
    double readBandwidth() {
        return CpuKernels.readBandwidth(open());
    }

    private long open() {
        if (model == 0) {
            throw new IllegalStateException("model is closed");
        }
        return model;
    }

    @Override
    public void close() {
        if (model != 0) {
            CpuKernels.close(model);
            model = 0;
        }
    }
}
