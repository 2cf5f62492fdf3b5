package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.program.PrefillShape;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.util.List;
import java.util.Optional;
import java.util.function.IntFunction;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.Method;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;

/**
 * GPT-2 from tokens to logits on a GPU: our kernels, cuBLAS, and ATen's flash attention in a large prefill. In float32,
 * or where {@link KernelSet#isFused()} says no, the program's own methods compute norms, products and head. Confined to
 * the engine thread.
 */
final class CudaLayers implements AutoCloseable {
    private final TorchScriptProgram program;
    private final Gpt2Config config;
    private final TensorOptions elements;
    private final Resources resources = new Resources();
    private final CudaKernels.Kernel embedDecode;
    private final CudaKernels.Kernel embedPrefill;
    private final CudaKernels.Kernel writeKvCache;
    private final CudaAttention attention;
    private final long wte; // address
    private final long wpe;

    // without CudaLinear
    private final Method qkv;
    private final Method finish;
    private final Method head;

    // with it; the last four only where it is fused
    private final boolean fused;
    private final Method attendPrompt;

    @SuppressWarnings("NullAway.Init")
    private CudaLinear linear;

    @SuppressWarnings("NullAway.Init")
    private Buffers stepBuffers;

    @SuppressWarnings("NullAway.Init")
    private Tensor stepAttended; // [maxRows, C]

    @SuppressWarnings("NullAway.Init")
    private Tensor stepLogits; // [maxRows, VP]

    private Optional<StepPart> without = Optional.empty(); // left out, to measure what it takes

    /** Activations of {@code rows} rows. */
    private record Buffers(Tensor x, Tensor normed, Tensor qkv, Tensor inner) {

        Buffers first(long rows) {
            return new Buffers(
                    x.narrow(0, 0, rows), normed.narrow(0, 0, rows), qkv.narrow(0, 0, rows), inner.narrow(0, 0, rows));
        }
    }

    /**
     * Loads the kernels for steps of at most {@code maxRows} rows.
     *
     * @param deterministic whether no row's attention may depend on what other rows there are
     * @throws TorchException if 8-bit weights are not possible here
     * @throws KernelsUnavailableException if the kernels cannot be compiled
     */
    CudaLayers(TorchScriptProgram program, CudaKernels.Loader loader, int maxRows, boolean deterministic) {
        this.program = program;
        config = program.config();
        KernelSet set = loader.set();
        fused = set.isFused();
        if (set.int8Weights() && !fused) {
            throw new TorchException(
                    "int8Weights needs float16 or bfloat16 on a GPU of compute capability 8.0 or later, a hidden size of at"
                            + " most 3072 and, like the inner size, divisible by 32, got " + program.dtype() + ", "
                            + config.hiddenSize() + " and "
                            + config.innerSize());
        }
        try {
            elements = resources.keep(new TensorOptions(program.dtype()).device(new DeviceOptional(program.device())));
            qkv = program.method("qkv");
            finish = program.method("finish");
            head = program.method("head");
            attendPrompt = program.method("attend");
            wte = address(program.parameter("wte"));
            wpe = address(program.parameter("wpe"));
            CudaKernels embedding = load(loader, set.embedding());
            embedDecode = embedding.kernel("embed_decode");
            embedPrefill = embedding.kernel("embed_prefill");
            writeKvCache = load(loader, set.kvCache()).kernel("write_kv_cache");
            attention = new CudaAttention(program, loader, maxRows, deterministic);
            resources.onClose(attention::close);
            if (fused) {
                stepBuffers = new Buffers(
                        resources.keep(rows(maxRows, config.hiddenSize())),
                        resources.keep(rows(maxRows, config.hiddenSize())),
                        resources.keep(rows(maxRows, 3L * config.hiddenSize())),
                        resources.keep(rows(maxRows, config.innerSize())));
                stepAttended = resources.keep(rows(maxRows, config.hiddenSize()));
                stepLogits = resources.keep(rows(maxRows, config.paddedVocabSize()));
                linear = new CudaLinear(program, loader, List.of(stepBuffers.x(), stepAttended, stepBuffers.inner()));
                resources.onClose(linear::close);
            }
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    private CudaKernels load(CudaKernels.Loader loader, KernelModule module) {
        CudaKernels loaded = loader.load(module);
        resources.onClose(loaded::close);
        return loaded;
    }

    private Tensor rows(long rows, long columns) {
        return torch.empty(new long[] {rows, columns}, elements, null);
    }

    /** Runs work that leaves a part out of steps, whose results mean nothing then: to measure what the part takes. */
    void without(Optional<StepPart> part, Runnable work) {
        without = part;
        try {
            work.run();
        } finally {
            without = Optional.empty();
        }
    }

    boolean includes(StepPart part) {
        return without.isEmpty() || without.get() != part;
    }

    /** How often a step of so many rows launches a part; only if {@link #isFused()}. */
    int launches(StepPart part, int rows) {
        return switch (part) {
            case EMBEDDING, HEAD, SAMPLING -> 1;
            case NORM ->
                (rows <= CudaLinear.FEW_ROWS ? 0 : 1)
                        + (linear.norms(Product.QKV, stepBuffers.x(), rows) ? 0 : config.layerCount())
                        + (linear.norms(Product.INNER, stepBuffers.x(), rows) ? 0 : config.layerCount());
            case QKV, ATTENTION, PROJECTION, INNER, OUTER -> config.layerCount();
        };
    }

    /** Which attention kernels a step uses. */
    AttentionChoice attentionChoice() {
        return attention.choice();
    }

    /** The plan that a step's rows are uploaded with, if there is a kernel that follows one. */
    Optional<AttentionPlan> attentionPlan() {
        return attention.plan();
    }

    /** Whether steps allocate nothing and large prefills run here. */
    boolean isFused() {
        return fused;
    }

    /**
     * The first rows' logits [count, VP].
     *
     * @param kind of attention
     * @param sampled address of the tokens that the step before sampled
     */
    Tensor step(StepRows rows, int count, AttentionChoice.Kind kind, long sampled) {
        if (!fused) {
            return unfusedStep(rows, count, kind, sampled);
        }
        Buffers buffers = stepBuffers.first(count);
        embed(rows, count, sampled, buffers.x());
        Tensor attended = stepAttended.narrow(0, 0, count);
        long pending = layers(buffers, count, layer -> {
            attend(rows, count, kind, buffers.qkv(), layer, attended);
            return attended;
        });
        Tensor logits = stepLogits.narrow(0, 0, count);
        if (count > CudaLinear.FEW_ROWS) {
            head(buffers.x(), buffers.normed(), count, pending, logits);
        } else if (includes(StepPart.HEAD)) {
            linear.fewRowsHead(buffers.x(), logits, count);
        }
        return logits;
    }

    private Tensor unfusedStep(StepRows rows, int count, AttentionChoice.Kind kind, long sampled) {
        Tensor x = rows(count, config.hiddenSize());
        embed(rows, count, sampled, x);
        for (int layer = 0; layer < config.layerCount(); layer++) {
            Tensor projected = qkv.apply(new IValueVector(new IValue(x), new IValue((long) layer)))
                    .toTensor(); // [rows, 3C]
            Tensor attended = rows(count, config.hiddenSize());
            attend(rows, count, kind, projected, layer, attended);
            x = finish.apply(new IValueVector(new IValue(x), new IValue(attended), new IValue((long) layer)))
                    .toTensor();
        }
        return head.apply(new IValueVector(new IValue(x))).toTensor();
    }

    private void embed(StepRows rows, int count, long sampled, Tensor x) {
        if (includes(StepPart.EMBEDDING)) {
            embedDecode.launch(count, 1, 1, 256, rows.inputAddress(), sampled, wte, wpe, address(x));
        }
    }

    private void attend(StepRows rows, int count, AttentionChoice.Kind kind, Tensor qkv, int layer, Tensor attended) {
        if (!includes(StepPart.ATTENTION)) {
            return;
        }
        attention.launch(kind, layer, count, rows.inputAddress(), address(qkv), address(attended));
    }

    /**
     * What all layers made of rows: hidden states [M, C], and the address of a bias that is still to be added to them,
     * or 0. The norm of the head adds it in place, so that hidden states with a bias can be used once.
     */
    record Hidden(Tensor x, long pending) {

        /** A copy of some rows; {@code rows} [N] int32, on the device. */
        Hidden select(Tensor rows) {
            return new Hidden(x.index_select(0, rows), pending);
        }
    }

    /**
     * All layers over the tokens of a prefill, for {@link #isFused()} only; owned by the caller's scope. It waits for
     * nothing and reads all its arguments from {@code input}, so that it can be recorded. Results of padding mean
     * nothing, and nothing else depends on them.
     *
     * @param input as {@code shape} says, on the device
     */
    Hidden prefill(PrefillShape shape, Tensor input) {
        int n = shape.tokens();
        Tensor x = rows(n, config.hiddenSize());
        Tensor activated = linear.norms(Product.INNER, x, n) ? rows(n, config.innerSize()) : x; // cuBLAS makes its own
        Buffers buffers = new Buffers(x, rows(n, config.hiddenSize()), rows(n, 3L * config.hiddenSize()), activated);
        long ids = address(input);
        long positions = ids + (long) Integer.BYTES * shape.positionsAt();
        long writeRows = ids + (long) Integer.BYTES * shape.writeRowsAt();
        IValue readRows = new IValue(input.narrow(0, shape.readRowsAt(), shape.readRows()));
        IValue newEnds = new IValue(input.narrow(0, shape.newEndsAt(), shape.sequences() + 1L));
        IValue readEnds = new IValue(input.narrow(0, shape.readEndsAt(), shape.sequences() + 1L));
        IValue longest = new IValue((long) shape.longest());
        IValue longestRead = new IValue((long) shape.longestRead());
        IValue cache = new IValue(program.cache().tensor());
        embedPrefill.launch(n, 1, 1, 256, ids, positions, wte, wpe, address(x));
        PointerScope[] scope = {new PointerScope()};
        try {
            long pending = layers(buffers, n, layer -> {
                scope[0].close(); // with what the layer before made, which is much
                scope[0] = new PointerScope();
                writeKvCache.launch(
                        n,
                        1,
                        1,
                        96,
                        address(buffers.qkv()),
                        writeRows,
                        program.cache().keysAddress(layer),
                        program.cache().valuesAddress(layer));
                return attendPrompt
                        .apply(new IValueVector(new IValue[] {
                            new IValue(buffers.qkv()),
                            readRows,
                            newEnds,
                            readEnds,
                            longest,
                            longestRead,
                            cache,
                            new IValue((long) layer)
                        }))
                        .toTensor();
            });
            return new Hidden(x, pending);
        } finally {
            scope[0].close();
        }
    }

    /** Of all rows of the last step, where {@link #isFused()}; its head has added what was pending. */
    Hidden stepHidden() {
        return new Hidden(stepBuffers.x(), 0);
    }

    /** Logits of hidden states, [M, VP] dtype, owned by the caller's scope. */
    Tensor logits(Hidden hidden) {
        if (!fused) {
            return program.head(hidden.x());
        }
        int count = (int) hidden.x().size(0);
        Tensor logits = rows(count, config.paddedVocabSize());
        if (count > 0) {
            head(hidden.x(), rows(count, config.hiddenSize()), count, hidden.pending(), logits);
        }
        return logits;
    }

    /** The same for scores: in float32 where {@link #isFused()}, and never by 8-bit weights. */
    Tensor scoreLogits(Hidden hidden) {
        return fused ? linear.wideHead(normed(hidden)) : logits(hidden);
    }

    /** Hidden states after the last norm, [M, C], where {@link #isFused()}. */
    Tensor normed(Hidden hidden) {
        int count = (int) hidden.x().size(0);
        Tensor normed = rows(count, config.hiddenSize());
        linear.lastNorm(hidden.x(), hidden.pending(), normed, count);
        return normed;
    }

    /**
     * All layers over {@code buffers.x()}.
     *
     * @param attention of a layer, to what is in {@code buffers.qkv()}; [M, C]
     * @return the address of a bias that is still to be added to {@code x}, or 0
     */
    private long layers(Buffers buffers, int count, IntFunction<Tensor> attention) {
        long pending = 0;
        for (int layer = 0; layer < config.layerCount(); layer++) {
            multiply(Product.QKV, layer, input(Product.QKV, layer, buffers, count, pending), buffers.qkv(), count);
            Tensor attended = attention.apply(layer);
            multiply(Product.PROJECTION, layer, attended, buffers.x(), count);
            pending = linear.pendingBias(Product.PROJECTION, layer, attended, count);
            Tensor activated = multiply(
                    Product.INNER, layer, input(Product.INNER, layer, buffers, count, pending), buffers.inner(), count);
            multiply(Product.OUTER, layer, activated, buffers.x(), count);
            pending = linear.pendingBias(Product.OUTER, layer, activated, count);
        }
        return pending;
    }

    /** What a product that follows a norm multiplies: the rows themselves, or normed. */
    private Tensor input(Product product, int layer, Buffers buffers, int count, long pending) {
        if (linear.norms(product, buffers.x(), count)) {
            assert pending == 0;
            return buffers.x();
        }
        if (includes(StepPart.NORM)) {
            linear.norm(product, layer, buffers.x(), pending, buffers.normed(), count);
        }
        return buffers.normed();
    }

    private Tensor multiply(Product product, int layer, Tensor x, Tensor out, int count) {
        return includes(product.part()) ? linear.multiply(product, layer, x, out, count) : out;
    }

    private void head(Tensor x, Tensor normed, int count, long pending, Tensor logits) {
        if (includes(StepPart.NORM)) {
            linear.lastNorm(x, pending, normed, count);
        }
        if (includes(StepPart.HEAD)) {
            linear.head(normed, logits);
        }
    }

    private static long address(Tensor tensor) {
        return tensor.data_ptr().address();
    }

    @Override
    public void close() {
        resources.close();
    }
}
