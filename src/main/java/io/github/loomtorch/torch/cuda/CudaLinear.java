package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.Method;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * The layer norms and matrix products of GPT-2 on a GPU, in 16-bit elements: by the kernels of {@code linear.cu} for
 * few rows, by those of {@code wide.cu} for more where the GPU has what they need, else by cuBLAS. The weights that
 * follow a layer's norm take over its factors and offsets when this is made, so that only mean and deviation are left
 * of it, which our kernels find out beside the product. Confined to the engine thread.
 */
final class CudaLinear implements AutoCloseable {
    /** Most rows that are few: of a tile of the matrix units. Only they are multiplied by 8-bit weights. */
    static final int FEW_ROWS = 16;

    private static final int WIDE_ROWS = 384; // up to which wide.cu is faster than cuBLAS
    private static final int TILE_ROWS = 64; // of wide.cu
    private static final int TILE_K = 64;
    private static final int LARGEST_CLUSTER = 8;
    private static final int MANY_PIECES = 6; // of K that a block has at least, with many rows
    private static final int ONE_BLOCK_BYTES = 200 << 10; // of shared memory, where a multiprocessor has one block
    private static final int TWO_BLOCKS_BYTES = 105 << 10; // each, where it has two
    private static final int MAX_HEAD_BYTES =
            99 << 10; // of shared memory that a block can have on any GPU of compute capability 8.0 on

    /** The matrix products of a layer. The numbers were measured on GPT-2's shape, see docs/performance.md. */
    enum Product {
        QKV("qkv", "C", "3 * C", "PLAIN", "ln1", FEW_ROWS, 4, 96),
        PROJECTION("proj", "C", "C", "RESIDUAL", "", 64, 2, 48),
        INNER("fc", "C", "F", "ACTIVATED", "ln2", FEW_ROWS, 4, 96),
        OUTER("out", "F", "C", "RESIDUAL", "", FEW_ROWS, 1, 96);

        private final String
                norm; // of the rows that are multiplied: the prefix of its parameters; empty if there is none
        private final String weight;
        private final String bias;
        private final String k; // length of the sums, in terms of the kernels
        private final String n; // columns of the result
        private final String epilogue;
        private final int thinRows; // up to which linear.cu is used
        private final int
                fewTiles; // of 8 columns that a block of linear.cu makes, with few rows; with more, twice as many
        private final int columns; // that a block of wide.cu makes

        Product(
                String parameter,
                String k,
                String n,
                String epilogue,
                String norm,
                int thinRows,
                int fewTiles,
                int columns) {
            this.norm = norm;
            weight = parameter + "_w";
            bias = parameter + "_b";
            this.k = k;
            this.n = n;
            this.epilogue = epilogue;
            this.thinRows = thinRows;
            this.fewTiles = fewTiles;
            this.columns = columns;
        }

        boolean isNormed() {
            return !norm.isEmpty();
        }

        private boolean isResidual() {
            return epilogue.equals("RESIDUAL");
        }

        private int k(Gpt2Config config) {
            return this == OUTER ? config.innerSize() : config.hiddenSize();
        }

        private int n(Gpt2Config config) {
            return switch (this) {
                case QKV -> 3 * config.hiddenSize();
                case INNER -> config.innerSize();
                default -> config.hiddenSize();
            };
        }
    }

    /**
     * A product's kernel.
     *
     * @param wide whether it is of {@code wide.cu}
     * @param n columns of the result
     * @param columns that a block makes
     * @param rows that a block makes
     * @param split blocks that share K
     * @param definition as its file wants it
     */
    private record Shape(
            String name,
            boolean wide,
            int n,
            int columns,
            int rows,
            int split,
            int threads,
            int sharedBytes,
            String definition) {

        static Shape thin(Product product, Gpt2Config config, boolean few, boolean int8) {
            int steps = Math.ceilDiv(
                    product.k(config), 256); // a thread holds tiles x steps x 16 bytes of weights in its registers
            int tiles = Math.clamp(12 / steps, 1, few ? product.fewTiles : 2 * product.fewTiles);
            String name = name(product, few ? "few" : "some");
            String definition = String.format(
                    Locale.ROOT,
                    "THIN(%s, %s, %s, %d, %s, %b, %b)",
                    name,
                    product.k,
                    product.n,
                    tiles,
                    product.epilogue,
                    product.isNormed(),
                    few && int8);
            return new Shape(name, false, product.n(config), 8 * tiles, FEW_ROWS, 1, 256, 0, definition);
        }

        /** For so many tiles of rows, of which all blocks run at once if there are {@code blocks} at most. */
        static Shape wide(Product product, Gpt2Config config, int rowTiles, int blocks) {
            boolean many = rowTiles > 1;
            int columns = product.columns;
            int pieces = Math.ceilDiv(product.k(config), TILE_K);
            int tiles = rowTiles * Math.ceilDiv(product.n(config), columns);
            int split = 1;
            for (int more = 2; more <= LARGEST_CLUSTER; more++) {
                boolean even = pieces % more == 0 && columns % (8 * more) == 0;
                split = even && pieces / more >= (many ? MANY_PIECES : 1) && tiles * more <= blocks ? more : split;
            }
            int stageBytes = 2 * TILE_K * (columns + TILE_ROWS);
            int landingBytes = (split - 1) * columns * 4 * TILE_ROWS / split;
            int stages =
                    Math.min(pieces / split, ((many ? TWO_BLOCKS_BYTES : ONE_BLOCK_BYTES) - landingBytes) / stageBytes);
            String name = name(product, many ? "tiles" : "tile");
            String definition = String.format(
                    Locale.ROOT,
                    "WIDE(%s, %s, %s, %d, %d, %d, %s, %b)",
                    name,
                    product.k,
                    product.n,
                    columns,
                    split,
                    stages,
                    product.epilogue,
                    product.isNormed());
            return new Shape(
                    name,
                    true,
                    product.n(config),
                    columns,
                    TILE_ROWS,
                    split,
                    product.isNormed() ? 288 : 160,
                    1024 + stages * stageBytes + landingBytes,
                    definition);
        }

        private static String name(Product product, String size) {
            return product.name().toLowerCase(Locale.ROOT) + "_" + size;
        }
    }

    /**
     * Weights of 8 bits.
     *
     * @param bytes [N, K]
     * @param scales of the rows, [N] float32
     * @param factors address of those of the norm before, [K], which these weights do not hold, or 0
     * @param sums address of the sums of the rows, with scales and factors, [N] float32, or 0 without a norm
     */
    private record Int8(Tensor bytes, Tensor scales, long factors, long sums) {}

    /**
     * What a layer's product takes beside its rows.
     *
     * @param weights [N, K]
     * @param bias [N]
     * @param transposed the weights as [K, N]
     * @param sums of the rows of the weights, [N] float32
     * @param map of the weights; null without {@code wide.cu}
     * @param norm of the rows; null if there is none
     * @param int8 the weights in 8 bits; null without the option
     */
    private record Operands(
            Tensor weights, Tensor bias, Tensor transposed, Tensor sums, TensorMap map, Norm norm, Int8 int8) {}

    /** Addresses of a layer norm's factors and offsets, [C]. */
    private record Norm(long factors, long offsets) {}

    private final TorchScriptProgram program;
    private final Gpt2Config config;
    private final Method inner;
    private final Resources resources = new Resources();
    private final CudaKernels.Kernel layerNorm;
    private final CudaKernels.Kernel thinHead;
    private final int headBlocks;
    private final Map<Product, Shape> few = new EnumMap<>(Product.class);
    private final Map<Product, Shape> some =
            new EnumMap<>(Product.class); // more than few, up to the product's thinRows
    private final Map<Product, Shape> tile = new EnumMap<>(Product.class); // one of rows; empty without wide.cu
    private final Map<Product, Shape> tiles = new EnumMap<>(Product.class); // more than one
    private final Map<Shape, CudaKernels.Kernel> kernels = new HashMap<>();
    private final Map<Product, List<Operands>> operands = new EnumMap<>(Product.class); // by layer
    private final Map<Long, TensorMap> rowMaps = new HashMap<>(); // of what steps multiply, by its address
    private final Norm lastNorm;
    private final Tensor headWeights; // [VP, C]
    private final Tensor headTransposed; // [C, VP]
    private Int8 int8Head; // null without the option

    /** Whether the kernels are made for a model's sizes. */
    static boolean fits(Gpt2Config config) {
        return config.hiddenSize() % 32 == 0 && config.innerSize() % 32 == 0 && headBytes(config) <= MAX_HEAD_BYTES;
    }

    /**
     * Takes the program's weights over, and changes those of and after the layers' norms.
     *
     * @param architecture of the GPU, such as {@code sm_90}
     * @param multiplied what steps multiply, [rows, K] each
     * @param int8Weights whether few rows are multiplied by weights of 8 bits
     * @throws CudaKernels.Unavailable if the kernels cannot be had
     */
    CudaLinear(
            TorchScriptProgram program,
            CUstream_st stream,
            String architecture,
            Map<String, Integer> macros,
            List<Tensor> multiplied,
            boolean int8Weights) {
        this.program = program;
        config = program.config();
        inner = program.method("inner");
        boolean hopper = architecture.equals("sm_90");
        int multiprocessors =
                torch_cuda.getDeviceProperties(program.device().index()).multiProcessorCount();
        try {
            for (Product product : Product.values()) {
                few.put(product, Shape.thin(product, config, true, int8Weights));
                if (product.thinRows > FEW_ROWS) {
                    some.put(product, Shape.thin(product, config, false, false));
                }
                if (hopper) {
                    if (product.thinRows < TILE_ROWS) {
                        tile.put(product, Shape.wide(product, config, 1, multiprocessors));
                    }
                    tiles.put(product, Shape.wide(product, config, 4, 2 * multiprocessors));
                }
            }
            CudaKernels linear = load(
                    "linear.cu",
                    architecture,
                    stream,
                    macros,
                    "THIN_KERNELS",
                    List.of(few, some),
                    "-DINT8=" + int8Weights);
            layerNorm = linear.overlappingKernel("layer_norm");
            thinHead = linear.overlappingKernel("thin_head").withSharedBytes(headBytes(config));
            headBlocks = 2 * multiprocessors;
            if (hopper) {
                load("wide.cu", architecture + "a", stream, macros, "WIDE_KERNELS", List.of(tile, tiles));
            }
            lastNorm = new Norm(address(program.parameter("lnf_w")), address(program.parameter("lnf_b")));
            headWeights = kept(program.parameter(config.tieWordEmbeddings() ? "wte" : "lm_head"));
            headTransposed = kept(headWeights.t());
            if (hopper) {
                multiplied.forEach(rows -> rowMaps.put(address(rows), map(rows, TILE_ROWS)));
            }
            for (Product product : Product.values()) {
                List<Operands> layers = new ArrayList<>();
                for (int layer = 0; layer < config.layerCount(); layer++) {
                    layers.add(operands(product, layer, int8Weights));
                }
                operands.put(product, layers);
            }
            if (int8Weights) {
                int8Head = quantised(headWeights, List.of());
            }
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    private CudaKernels load(
            String file,
            String architecture,
            CUstream_st stream,
            Map<String, Integer> macros,
            String definitions,
            List<Map<Product, Shape>> shapes,
            String... options) {
        List<Shape> defined =
                shapes.stream().flatMap(some -> some.values().stream()).toList();
        List<String> all = new ArrayList<>(List.of(options));
        all.add("-D" + definitions + "="
                + defined.stream().map(Shape::definition).collect(Collectors.joining(" ")));
        CudaKernels loaded = CudaKernels.load(file, architecture, stream, macros, all.toArray(String[]::new));
        resources.onClose(loaded::close);
        defined.forEach(shape ->
                kernels.put(shape, loaded.overlappingKernel(shape.name()).withSharedBytes(shape.sharedBytes())));
        return loaded;
    }

    private TensorMap map(Tensor matrix, int boxRows) {
        TensorMap map = new TensorMap(matrix, program.dtype(), boxRows);
        resources.onClose(map::close);
        return map;
    }

    private Operands operands(Product product, int layer, boolean int8Weights) {
        try (TensorScope scope = new TensorScope()) {
            Tensor weights = kept(program.parameter(product.weight).select(0, layer));
            Tensor bias = kept(program.parameter(product.bias).select(0, layer));
            List<Tensor> factors = product.isNormed()
                    ? List.of(program.parameter(product.norm + "_w").select(0, layer))
                    : List.of();
            Int8 int8 = int8Weights ? quantised(weights, factors) : null;
            Norm norm = null;
            if (product.isNormed()) {
                Tensor offsets = program.parameter(product.norm + "_b").select(0, layer);
                takeOver(factors.get(0), offsets, weights, bias);
                norm = new Norm(address(factors.get(0)), address(offsets));
            }
            Tensor sums = kept(weights.to(ScalarType.Float).sum(1));
            return new Operands(
                    weights,
                    bias,
                    kept(weights.t()),
                    sums,
                    tiles.isEmpty() ? null : map(weights, product.columns),
                    norm,
                    int8);
        }
    }

    /**
     * {@code w (factor n + offset) + b} is {@code (w factor) n + (w offset + b)}: the norm is left with 1 and 0.
     * Computed in float32 and rounded, as the weights were once.
     */
    private static void takeOver(Tensor factors, Tensor offsets, Tensor weights, Tensor bias) {
        Tensor wide = weights.to(ScalarType.Float);
        bias.copy_(bias.to(ScalarType.Float).addmv(wide, offsets.to(ScalarType.Float)));
        weights.copy_(wide.mul_(factors.to(ScalarType.Float)));
        factors.fill_(new Scalar(1));
        offsets.zero_();
    }

    /** Bytes that 8-bit weights take, while they are made from 16-bit ones at most. */
    static long int8Bytes(Gpt2Config config) {
        long head = config.paddedVocabSize() * (long) config.hiddenSize();
        return config.parameterCount() + head + 3 * Float.BYTES * head; // the head last, by three tensors of float32
    }

    /**
     * Weights [N, K] rounded to 8 bits, so that the largest of a row is 127 times its scale; stored with 128 added.
     *
     * @param factors of the norm before, [K], if there is one
     */
    private Int8 quantised(Tensor weights, List<Tensor> factors) {
        try (TensorScope scope = new TensorScope()) {
            Tensor wide = weights.to(ScalarType.Float);
            Tensor scales = wide.abs()
                    .amax(new long[] {1}, true)
                    .div_(new Scalar(127))
                    .clamp_min(new Scalar(Float.MIN_NORMAL)); // [N, 1]
            Tensor rounded = wide.div(scales).round_();
            long ownFactors = 0;
            long sums = 0;
            for (Tensor own : factors) {
                ownFactors = address(kept(own.clone()));
                sums = address(kept(rounded.mv(own.to(ScalarType.Float)).mul_(scales.squeeze(1))));
            }
            return new Int8(kept(rounded.add_(new Scalar(128)).to(ScalarType.Byte)), kept(scales), ownFactors, sums);
        }
    }

    private static int headBytes(Gpt2Config config) {
        return 32 * (config.hiddenSize() + 32);
    }

    /**
     * A handle of our own: the one given may be of memory that is freed with the scope, as those of parameters and of
     * results in place.
     */
    private Tensor kept(Tensor tensor) {
        return resources.keep(new Tensor(tensor));
    }

    private static long address(Tensor tensor) {
        return tensor.data_ptr().address();
    }

    /** Whether a step of so many rows reads weights of 8 bits. */
    boolean isInt8(long rows) {
        return int8Head != null && rows <= FEW_ROWS;
    }

    /** The kernel for the first {@code count} rows; null where cuBLAS is faster. */
    private Shape shape(Product product, Tensor rows, int count) {
        if (count <= FEW_ROWS) {
            return few.get(product);
        }
        if (count <= product.thinRows) {
            return some.get(product);
        }
        boolean wide = !tiles.isEmpty() && count <= WIDE_ROWS && rowMaps.containsKey(address(rows));
        return wide ? (count <= TILE_ROWS ? tile : tiles).get(product) : null;
    }

    /** Whether a product that follows a norm takes the rows as they are; else they must be normed first. */
    boolean norms(Product product, Tensor rows, int count) {
        return product.isNormed() && shape(product, rows, count) != null;
    }

    /**
     * {@code out = x w^T + b}, with the activation if the product has one; a residual product adds that to {@code out}.
     *
     * @param x [M, K], normed unless {@link #norms} says that this is done here
     * @param out [M, N]
     * @return the result, which need not be {@code out} for {@link Product#INNER}
     */
    Tensor multiply(Product product, int layer, Tensor x, Tensor out, int count) {
        Operands with = operands.get(product).get(layer);
        Shape shape = shape(product, x, count);
        if (shape == null) {
            if (product == Product.INNER) {
                return inner.apply(new IValueVector(new IValue(x), new IValue((long) layer)))
                        .toTensor();
            }
            return torch.addmm_out(out, product.isResidual() ? out : with.bias(), x, with.transposed());
        }
        CudaKernels.Kernel kernel = kernels.get(shape);
        int gridX = Math.ceilDiv(shape.n(), shape.columns());
        int gridZ = Math.ceilDiv(count, shape.rows());
        if (shape.wide()) {
            kernel.launch(
                    gridX,
                    shape.split(),
                    gridZ,
                    shape.threads(),
                    rowMaps.get(address(x)).pointer(),
                    with.map().pointer(),
                    address(with.sums()),
                    address(with.bias()),
                    address(out),
                    count);
        } else if (isInt8(count)) {
            Int8 weights = with.int8();
            kernel.launch(
                    gridX,
                    1,
                    gridZ,
                    shape.threads(),
                    address(x),
                    address(weights.bytes()),
                    address(weights.scales()),
                    weights.factors(),
                    weights.sums(),
                    address(with.bias()),
                    address(out),
                    count);
        } else {
            kernel.launch(
                    gridX,
                    1,
                    gridZ,
                    shape.threads(),
                    address(x),
                    address(with.weights()),
                    0L,
                    0L,
                    address(with.sums()),
                    address(with.bias()),
                    address(out),
                    count);
        }
        return out;
    }

    /** The address of a bias that {@link #multiply} leaves to the next {@link #norm}, or 0. */
    long pendingBias(Product product, int layer, Tensor x, int count) {
        return product.isResidual() && shape(product, x, count) == null
                ? address(operands.get(product).get(layer).bias())
                : 0;
    }

    /**
     * {@code normed = norm(x)} by rows, before a product.
     *
     * @param pending address of a bias [C] that is added to {@code x} first, or 0
     */
    void norm(Product product, int layer, Tensor x, long pending, Tensor normed, int count) {
        norm(operands.get(product).get(layer).norm(), x, pending, normed, count);
    }

    /** The same before the head. */
    void lastNorm(Tensor x, long pending, Tensor normed, int count) {
        norm(lastNorm, x, pending, normed, count);
    }

    private void norm(Norm norm, Tensor x, long pending, Tensor normed, int count) {
        layerNorm.launch(
                Math.ceilDiv(count, 4),
                1,
                1,
                128,
                address(x),
                pending,
                norm.factors(),
                norm.offsets(),
                address(normed),
                count);
    }

    /** {@code logits = norm(x) w^T} for few rows. */
    void thinHead(Tensor x, Tensor logits, int count) {
        thinHead.launch(
                headBlocks,
                1,
                1,
                256,
                address(x),
                lastNorm.factors(),
                lastNorm.offsets(),
                int8Head == null ? address(headWeights) : address(int8Head.bytes()),
                int8Head == null ? 0L : address(int8Head.scales()),
                address(logits),
                count);
    }

    /** {@code logits = normed w^T}. */
    void head(Tensor normed, Tensor logits) {
        torch.mm_out(logits, normed, headTransposed);
    }

    @Override
    public void close() {
        resources.close();
    }
}
