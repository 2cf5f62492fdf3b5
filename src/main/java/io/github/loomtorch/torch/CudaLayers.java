package io.github.loomtorch.torch;

import io.github.loomtorch.model.Gpt2Config;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.IntFunction;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.Method;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * GPT-2 from tokens to logits on a GPU: the kernels of {@code decode.cu} and {@code linear.cu}, cuBLAS where a product has many rows, ATen's
 * flash attention in a large prefill. In float32, or where the GPU or the model's sizes do not suit {@code linear.cu}, the program's own
 * methods stand in for its kernels. Confined to the engine thread.
 */
final class CudaLayers implements AutoCloseable {
    private static final int FEW_ROWS = 16; // of a tile of the matrix units
    private static final int MAX_SHARED_BYTES = 99 << 10; // that a block can have on any GPU of compute capability 8.0 on

    /** The kinds of work in a step. */
    enum Part {
        EMBEDDING,
        NORM,
        QKV,
        ATTENTION,
        PROJECTION,
        INNER,
        OUTER,
        HEAD,
        SAMPLING
    }

    /** The matrix products of a layer. The numbers were measured on GPT-2's shape, see docs/performance.md. */
    private enum Product {
        QKV(Part.QKV, "qkv", "C", "3 * C", "PLAIN", 4, 3, 1, 32, 96),
        PROJECTION(Part.PROJECTION, "proj", "C", "C", "RESIDUAL", 2, 3, 1, 16, 256),
        INNER(Part.INNER, "fc", "C", "F", "ACTIVATED", 4, 3, 1, 32, 96),
        OUTER(Part.OUTER, "out", "F", "C", "RESIDUAL", 1, 4, 4, 32, 64);

        final Part part;
        final String weight; // name of the parameter
        final String bias;
        final String k; // length of the sums, in terms of linear.cu
        final String n; // columns of the result
        final String epilogue;
        final int fewTiles; // of 8 columns that a block makes, with few rows
        final int manyTiles;
        final int manySplit; // blocks that share K
        final int manyRows; // that a block makes
        final int maxRows; // up to which our kernels are faster than cuBLAS

        Product(
                Part part,
                String parameter,
                String k,
                String n,
                String epilogue,
                int fewTiles,
                int manyTiles,
                int manySplit,
                int manyRows,
                int maxRows) {
            this.part = part;
            weight = parameter + "_w";
            bias = parameter + "_b";
            this.k = k;
            this.n = n;
            this.epilogue = epilogue;
            this.fewTiles = fewTiles;
            this.manyTiles = manyTiles;
            this.manySplit = manySplit;
            this.manyRows = manyRows;
            this.maxRows = maxRows;
        }
    }

    /** A product's kernel: a block makes {@code 8 tiles} columns of {@code rows} rows, from the {@code split}-th part of K. */
    private record Thin(String name, int n, int tiles, int split, int rows, String definition) {

        static Thin of(Product product, boolean few, Gpt2Config config, boolean clusters, boolean int8) {
            int k = product == Product.OUTER ? config.innerSize() : config.hiddenSize();
            int n = switch (product) {
                case QKV -> 3 * config.hiddenSize();
                case INNER -> config.innerSize();
                default -> config.hiddenSize();
            };
            int split = few || !clusters || k % (32 * product.manySplit) != 0 ? 1 : product.manySplit;
            int steps = Math.ceilDiv(k / split, 256); // a thread holds tiles x steps x 16 bytes of weights in its registers
            int tiles = Math.clamp(12 / steps, 1, few ? product.fewTiles : product.manyTiles);
            int rows = few ? FEW_ROWS : product.manyRows;
            String name = product.name().toLowerCase(Locale.ROOT) + (few ? "_few" : "_many");
            String definition = String.format(
                    Locale.ROOT, "THIN(%s, %s, %s, %d, %d, %d, %s, %b)", name, product.k, product.n, tiles, split, rows, product.epilogue,
                    few && int8);
            return new Thin(name, n, tiles, split, rows, definition);
        }
    }

    private final TorchScriptProgram program;
    private final Gpt2Config config;
    private final int elementBytes;
    private final TensorOptions elements;
    private final Deque<Runnable> closers = new ArrayDeque<>();
    private final CudaKernels.Kernel embed;
    private final CudaKernels.Kernel embedPrompt;
    private final CudaKernels.Kernel store;
    private final CudaKernels.Kernel attendFew;
    private final CudaKernels.Kernel attendMany;

    // without linear.cu
    private final Method qkv;
    private final Method finish;
    private final Method head;

    // with it
    private final boolean fused;
    private final Method attendPrompt;
    private final Method inner;
    private CudaKernels.Kernel layerNorm;
    private CudaKernels.Kernel thinHead;
    private int headBlocks;
    private final Map<Product, Thin> few = new EnumMap<>(Product.class);
    private final Map<Product, Thin> many = new EnumMap<>(Product.class);
    private final Map<String, CudaKernels.Kernel> products = new LinkedHashMap<>();
    private final Map<String, Long> addresses = new LinkedHashMap<>(); // of parameters
    private final Map<Product, List<Tensor>> transposed = new EnumMap<>(Product.class); // [K, N] of each layer
    private Tensor headTransposed; // [C, VP]
    private final Map<Product, List<Int8>> int8Weights = new EnumMap<>(Product.class); // of each layer; empty without the option
    private Int8 int8Head; // null without the option
    private Buffers stepBuffers;
    private Tensor stepAttended; // [maxRows, C]
    private Tensor stepLogits; // [maxRows, VP]
    private Part without; // left out, to measure what it takes

    /** Weights of 8 bits [N, K] with the scale of each row [N, 1] float32. */
    private record Int8(Tensor bytes, Tensor scales) {}

    /** Activations of {@code rows} rows. */
    private record Buffers(Tensor x, Tensor normed, Tensor qkv, Tensor inner) {

        Buffers first(long rows) {
            return new Buffers(
                    x.narrow(0, 0, rows), normed.narrow(0, 0, rows), qkv.narrow(0, 0, rows), inner.narrow(0, 0, rows));
        }
    }

    /**
     * For steps of up to so many rows.
     *
     * @param int8 whether few rows are multiplied by weights of 8 bits
     * @throws TorchException if {@code int8} is not possible here
     * @throws CudaKernels.Unavailable if the kernels cannot be had
     */
    CudaLayers(
            TorchScriptProgram program,
            CUstream_st stream,
            String architecture,
            Map<String, Integer> macros,
            int maxRows,
            boolean int8) {
        this.program = program;
        config = program.config();
        elementBytes = Libtorch.sizeBytes(program.dtype());
        elements = new TensorOptions(program.dtype()).device(new DeviceOptional(program.device())).retainReference();
        closers.push(elements::releaseReference);
        qkv = program.method("qkv");
        finish = program.method("finish");
        head = program.method("head");
        attendPrompt = program.method("attend");
        inner = program.method("inner");
        fused = program.flash()
                && config.hiddenSize() % 32 == 0
                && config.innerSize() % 32 == 0
                && headSharedBytes() <= MAX_SHARED_BYTES;
        if (int8 && !fused) {
            close();
            throw new TorchException("int8Weights needs float16 or bfloat16 on a GPU of compute capability 8.0 or later, a hidden size of at"
                    + " most 3072 and, like the inner size, divisible by 32, got " + program.dtype() + ", " + config.hiddenSize() + " and "
                    + config.innerSize());
        }
        try {
            CudaKernels decode = CudaKernels.load("decode.cu", architecture, stream, macros);
            closers.push(decode::close);
            embed = decode.kernel("embed");
            embedPrompt = decode.kernel("embed_prompt");
            store = decode.kernel("store");
            attendFew = decode.overlappingKernel("attention_few");
            attendMany = decode.overlappingKernel("attention_many");
            if (fused) {
                prepareFused(stream, architecture, macros, maxRows, int8);
            }
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    private void prepareFused(
            CUstream_st stream, String architecture, Map<String, Integer> macros, int maxRows, boolean int8) {
        boolean clusters = CudaKernels.isAtLeast90(architecture);
        for (Product product : Product.values()) {
            few.put(product, Thin.of(product, true, config, clusters, int8));
            many.put(product, Thin.of(product, false, config, clusters, int8));
        }
        String definitions = Stream.concat(few.values().stream(), many.values().stream())
                .map(Thin::definition)
                .collect(Collectors.joining(" "));
        CudaKernels linear = CudaKernels.load(
                "linear.cu", architecture, stream, macros, "-DINT8=" + int8, "-DTHIN_KERNELS=" + definitions);
        closers.push(linear::close);
        Stream.concat(few.values().stream(), many.values().stream())
                .forEach(thin -> products.put(thin.name(), linear.overlappingKernel(thin.name())));
        layerNorm = linear.overlappingKernel("layer_norm");
        thinHead = linear.overlappingKernel("thin_head").withSharedBytes(headSharedBytes());
        try (TensorScope scope = new TensorScope()) {
            headBlocks = 2 * torch_cuda.getDeviceProperties(program.device().index()).multiProcessorCount();
        }
        stepBuffers = new Buffers(
                kept(rows(maxRows, config.hiddenSize())),
                kept(rows(maxRows, config.hiddenSize())),
                kept(rows(maxRows, 3L * config.hiddenSize())),
                kept(rows(maxRows, config.innerSize())));
        stepAttended = kept(rows(maxRows, config.hiddenSize()));
        stepLogits = kept(rows(maxRows, TorchScriptExporter.paddedVocabSize(config)));
        for (Product product : Product.values()) {
            List<Tensor> layers = new ArrayList<>();
            for (int layer = 0; layer < config.layerCount(); layer++) {
                layers.add(kept(program.parameter(product.weight).select(0, layer).t()));
            }
            transposed.put(product, layers);
        }
        headTransposed = kept(program.parameter(headName()).t());
        if (int8) {
            for (Product product : Product.values()) {
                List<Int8> layers = new ArrayList<>();
                for (int layer = 0; layer < config.layerCount(); layer++) {
                    layers.add(quantised(program.parameter(product.weight).select(0, layer)));
                }
                int8Weights.put(product, layers);
            }
            int8Head = quantised(program.parameter(headName()));
        }
    }

    /** Bytes that 8-bit weights take, while they are made from 16-bit ones at most. */
    static long int8Bytes(Gpt2Config config) {
        long head = TorchScriptExporter.paddedVocabSize(config) * (long) config.hiddenSize();
        return config.parameterCount() + head + 3 * Float.BYTES * head; // the head last, by three tensors of float32
    }

    /** Weights [N, K] rounded to 8 bits, so that the largest of a row is 127 times its scale; stored with 128 added. */
    private Int8 quantised(Tensor weights) {
        try (TensorScope scope = new TensorScope()) {
            Tensor wide = weights.to(ScalarType.Float);
            Tensor scales = wide.abs().amax(new long[] {1}, true).div_(new Scalar(127)).clamp_min(new Scalar(Float.MIN_NORMAL)); // [N, 1]
            return new Int8(kept(wide.div(scales).round_().add_(new Scalar(128)).to(ScalarType.Byte)), kept(scales));
        }
    }

    private String headName() {
        return config.tieWordEmbeddings() ? "wte" : "lm_head";
    }

    private int headSharedBytes() {
        return 32 * (config.hiddenSize() + 32);
    }

    private Tensor rows(long rows, long columns) {
        return torch.empty(new long[] {rows, columns}, elements, null);
    }

    private Tensor kept(Tensor tensor) {
        Tensor own = new Tensor(tensor).retainReference();
        closers.push(own::releaseReference);
        return own;
    }

    /** Leaves a kind of work out of the steps that follow, whose results mean nothing then; null for none. */
    void without(Part part) {
        without = part;
    }

    boolean includes(Part part) {
        return part != without;
    }

    /** How often a part is in a step. */
    int launches(Part part) {
        return switch (part) {
            case EMBEDDING, HEAD, SAMPLING -> 1;
            case NORM -> 2 * config.layerCount() + 1;
            default -> config.layerCount();
        };
    }

    /** The fewest bytes that a part moves in a step of sequences of so many tokens. */
    long bytes(Part part, long rows, long contextLength) {
        long c = config.hiddenSize();
        long f = config.innerSize();
        long padded = TorchScriptExporter.paddedVocabSize(config);
        long once = switch (part) {
            case EMBEDDING -> 3 * c * rows;
            case NORM -> 2 * c * rows;
            case QKV -> weights(3 * c * c, rows) + 4 * c * rows;
            case ATTENTION -> (2 * (contextLength - 1) + 6) * c * rows;
            case PROJECTION -> weights(c * c, rows) + 3 * c * rows;
            case INNER -> weights(c * f, rows) + (c + f) * rows;
            case OUTER -> weights(c * f, rows) + (f + 2 * c) * rows;
            case HEAD -> weights(c * padded, rows) + (c + padded) * rows;
            case SAMPLING -> padded * rows;
        };
        return once * launches(part) * elementBytes;
    }

    /** How many elements take the memory that so many weights take. */
    private long weights(long count, long rows) {
        return int8Head != null && rows <= FEW_ROWS ? count / elementBytes : count;
    }

    /** Multiplications and additions of the matrix products of a prefill. */
    double operations(long prompts, long promptLength) {
        double c = config.hiddenSize();
        double perToken = 2 * (4 * c * c + 2 * c * config.innerSize()) + 2 * c * promptLength; // half of the scores are masked
        return prompts * (promptLength * perToken * config.layerCount() + 2 * c * config.vocabSize());
    }

    /** Whether steps allocate nothing and large prefills run here. */
    boolean isFused() {
        return fused;
    }

    /**
     * The first rows' logits [count, VP].
     *
     * @param sampled address of the tokens that the step before sampled
     */
    Tensor step(StepRows rows, int count, long sampled) {
        if (!fused) {
            return unfusedStep(rows, count, sampled);
        }
        Buffers buffers = stepBuffers.first(count);
        embed(rows, count, sampled, buffers.x());
        Tensor attended = stepAttended.narrow(0, 0, count);
        long pending = layers(buffers, count, layer -> {
            attend(rows, count, buffers.qkv(), layer, attended);
            return attended;
        });
        Tensor logits = stepLogits.narrow(0, 0, count);
        if (count <= FEW_ROWS) {
            if (includes(Part.HEAD)) {
                thinHead.launch(headBlocks, 1, 1, 256, headSharedBytes(), address(buffers.x()), address("lnf_w"), address("lnf_b"),
                        int8Head == null ? address(headName()) : address(int8Head.bytes()),
                        int8Head == null ? 0L : address(int8Head.scales()), address(logits), count);
            }
        } else {
            head(buffers.x(), buffers.normed(), count, pending, logits);
        }
        return logits;
    }

    private Tensor unfusedStep(StepRows rows, int count, long sampled) {
        Tensor x = rows(count, config.hiddenSize());
        embed(rows, count, sampled, x);
        for (int layer = 0; layer < config.layerCount(); layer++) {
            Tensor projected = qkv.apply(new IValueVector(new IValue(x), new IValue((long) layer))).toTensor(); // [rows, 3C]
            Tensor attended = rows(count, config.hiddenSize());
            attend(rows, count, projected, layer, attended);
            x = finish.apply(new IValueVector(new IValue(x), new IValue(attended), new IValue((long) layer))).toTensor();
        }
        return head.apply(new IValueVector(new IValue(x))).toTensor();
    }

    private void embed(StepRows rows, int count, long sampled, Tensor x) {
        if (includes(Part.EMBEDDING)) {
            embed.launch(count, 1, 1, 256, 0, rows.inputAddress(), sampled, address("wte"), address("wpe"), address(x));
        }
    }

    private void attend(StepRows rows, int count, Tensor qkv, int layer, Tensor attended) {
        if (!includes(Part.ATTENTION)) {
            return;
        }
        double scale = config.scaleAttnWeights() ? 1 / Math.sqrt(config.headSize()) : 1;
        int blocks = count * config.headCount();
        CudaKernels.Kernel kernel = blocks <= 768 ? attendFew : attendMany;
        kernel.launch(
                config.headCount(),
                count,
                1,
                blocks <= 192 ? 256 : blocks <= 768 ? 128 : 64,
                0,
                rows.inputAddress(),
                address(qkv),
                keys(layer),
                values(layer),
                (float) (config.scaleAttnByInverseLayerIdx() ? scale / (layer + 1) : scale),
                address(attended));
    }

    /** What all layers made of a prefill's tokens, [N, C], and the address of a bias that is still to be added to it, or 0. */
    record Prefilled(Tensor x, long pending) {}

    /**
     * All layers over the tokens of a prefill, for {@link #isFused()} only; owned by the caller's scope. It waits for nothing and is told
     * nothing but by {@code input}, so that it can be recorded. What padding yields means nothing, and nothing else depends on it.
     *
     * @param input as {@code shape} says, on the device
     */
    Prefilled prefill(PrefillShape shape, Tensor input) {
        int n = shape.tokens();
        Tensor x = rows(n, config.hiddenSize());
        Tensor activated = n <= Product.INNER.maxRows ? rows(n, config.innerSize()) : x; // the program makes its own
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
        embedPrompt.launch(n, 1, 1, 256, 0, ids, positions, address("wte"), address("wpe"), address(x));
        PointerScope[] scope = {new PointerScope()};
        try {
            long pending = layers(buffers, n, layer -> {
                scope[0].close(); // with what the layer before made, which is much
                scope[0] = new PointerScope();
                store.launch(n, 1, 1, 96, 0, address(buffers.qkv()), writeRows, keys(layer), values(layer));
                return attendPrompt
                        .apply(new IValueVector(new IValue[] {
                            new IValue(buffers.qkv()), readRows, newEnds, readEnds, longest, longestRead, cache, new IValue((long) layer)
                        }))
                        .toTensor();
            });
            return new Prefilled(x, pending);
        } finally {
            scope[0].close();
        }
    }

    /** Logits of some of a prefill's tokens, [M, VP], owned by the caller's scope; {@code last} [M] int32, on the device. */
    Tensor logits(Prefilled prefilled, Tensor last) {
        int count = (int) last.size(0);
        Tensor logits = rows(count, TorchScriptExporter.paddedVocabSize(config));
        if (count > 0) {
            head(prefilled.x().index_select(0, last), rows(count, config.hiddenSize()), count, prefilled.pending(), logits);
        }
        return logits;
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
            norm(buffers.x(), buffers.normed(), count, pending, address("ln1_w", layer), address("ln1_b", layer));
            multiply(Product.QKV, buffers.normed(), buffers.qkv(), count, layer);
            Tensor attended = attention.apply(layer);
            pending = multiply(Product.PROJECTION, attended, buffers.x(), count, layer);
            norm(buffers.x(), buffers.normed(), count, pending, address("ln2_w", layer), address("ln2_b", layer));
            Tensor activated = buffers.inner();
            if (count <= Product.INNER.maxRows) {
                multiply(Product.INNER, buffers.normed(), activated, count, layer);
            } else if (includes(Part.INNER)) {
                activated = inner.apply(new IValueVector(new IValue(buffers.normed()), new IValue((long) layer))).toTensor();
            }
            pending = multiply(Product.OUTER, activated, buffers.x(), count, layer);
        }
        return pending;
    }

    /** {@code out = x w^T + b}, or added to {@code out} if that is the residual; returns the address of a bias that is not in it yet, or 0. */
    private long multiply(Product product, Tensor x, Tensor out, int count, int layer) {
        boolean residual = product.epilogue.equals("RESIDUAL");
        boolean ours = count <= product.maxRows;
        if (includes(product.part)) {
            if (ours) {
                Thin thin = (count <= FEW_ROWS ? few : many).get(product);
                Int8 int8 = count <= FEW_ROWS && !int8Weights.isEmpty() ? int8Weights.get(product).get(layer) : null;
                products.get(thin.name())
                        .launch(
                                Math.ceilDiv(thin.n(), 8 * thin.tiles()),
                                thin.split(),
                                Math.ceilDiv(count, thin.rows()),
                                256,
                                0,
                                address(x),
                                int8 == null ? address(transposed.get(product).get(layer)) : address(int8.bytes()),
                                int8 == null ? 0L : address(int8.scales()),
                                address(product.bias, layer),
                                address(out),
                                count);
            } else {
                Tensor addend = residual ? out : program.parameter(product.bias).select(0, layer);
                torch.addmm_out(out, addend, x, transposed.get(product).get(layer));
            }
        }
        return ours || !residual ? 0 : address(product.bias, layer);
    }

    private void norm(Tensor x, Tensor normed, int count, long pending, long weight, long bias) {
        if (includes(Part.NORM)) {
            layerNorm.launch(
                    Math.ceilDiv(count, 4), 1, 1, 128, 0, address(x), pending, weight, bias, address(normed), count);
        }
    }

    private void head(Tensor x, Tensor normed, int count, long pending, Tensor logits) {
        norm(x, normed, count, pending, address("lnf_w"), address("lnf_b"));
        if (includes(Part.HEAD)) {
            torch.mm_out(logits, normed, headTransposed);
        }
    }

    private long keys(int layer) {
        return address(program.cache().tensor()) + elementBytes * program.cache().keysOffset(layer);
    }

    private long values(int layer) {
        return address(program.cache().tensor()) + elementBytes * program.cache().valuesOffset(layer);
    }

    private static long address(Tensor tensor) {
        return tensor.data_ptr().address();
    }

    /** Of one of the program's parameters. */
    private long address(String parameter) {
        return addresses.computeIfAbsent(parameter, name -> address(program.parameter(name)));
    }

    /** Of a layer's row of a parameter [L, ...]. */
    private long address(String parameter, int layer) {
        long base = address(parameter);
        return base + layer * addresses.computeIfAbsent(parameter + " stride", name -> {
            Tensor tensor = program.parameter(parameter);
            return elementBytes * tensor.numel() / tensor.size(0);
        });
    }

    @Override
    public void close() {
        while (!closers.isEmpty()) {
            closers.pop().run();
        }
    }
}
