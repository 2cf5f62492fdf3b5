package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The weights of a model's products and head, as the kernels take them. At construction each layer's LayerNorm weight
 * and bias are folded into the matrix that follows, in the program's own parameters. At run time only each row's mean
 * and standard deviation remain of the norm, which the kernels compute beside the product. Confined to the engine
 * thread.
 */
final class LinearWeights implements AutoCloseable {
    /**
     * Addresses of a LayerNorm's weight and bias, [C].
     *
     * @param weight all ones where it is folded into a matrix
     * @param bias all zeros there
     */
    record Norm(long weight, long bias) {}

    /**
     * 8-bit weights.
     *
     * @param bytes address of [N, K] uint8, 128 added
     * @param scales address of the rows' scales, [N] float32
     * @param normWeight address of the weight of the norm before, [K], which these weights do not hold; 0 without a
     *     norm
     * @param sums address of the sums of the rows, with scales and norm, [N] float32; 0 without a norm
     */
    record Int8(long bytes, long scales, long normWeight, long sums) {}

    /**
     * What a layer's product takes beside its rows.
     *
     * @param weights [N, K]
     * @param bias [N]
     * @param transposed the weights as [K, N]
     * @param sums address of the sums of the rows of the weights, [N] float32
     * @param map of the weights, where {@code gemm_wgmma.cu} is used
     * @param norm of the rows, if there is one
     * @param int8 the weights in 8 bits, with that option
     */
    record Operands(
            Tensor weights,
            Tensor bias,
            Tensor transposed,
            long sums,
            Optional<TensorMap> map,
            Optional<Norm> norm,
            Optional<Int8> int8) {}

    private final TorchScriptProgram program;
    private final Resources resources = new Resources();
    private final Map<Product, List<Operands>> operands = new EnumMap<>(Product.class); // by layer
    private final Norm lastNorm;
    private final Tensor head; // [VP, C]
    private final Tensor headTransposed; // [C, VP]
    private final Optional<Int8> int8Head;

    /**
     * Folds the program's norms into its weights.
     *
     * @param wgmma whether {@code gemm_wgmma.cu} is used
     * @param int8 whether to make 8-bit weights too
     */
    LinearWeights(TorchScriptProgram program, boolean wgmma, boolean int8) {
        this.program = program;
        Gpt2Config config = program.config();
        try (TensorScope scope = new TensorScope()) {
            lastNorm = new Norm(address(program.parameter("lnf_w")), address(program.parameter("lnf_b")));
            head = kept(program.parameter(config.tieWordEmbeddings() ? "wte" : "lm_head"));
            headTransposed = kept(head.t());
            for (Product product : Product.values()) {
                List<Operands> layers = new ArrayList<>();
                for (int layer = 0; layer < config.layerCount(); layer++) {
                    layers.add(operands(product, layer, wgmma, int8));
                }
                operands.put(product, layers);
            }
            int8Head = int8 ? Optional.of(quantized(head, List.of())) : Optional.empty();
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    private Operands operands(Product product, int layer, boolean wgmma, boolean int8) {
        try (TensorScope scope = new TensorScope()) {
            Tensor weights = kept(program.parameter(product.weight()).select(0, layer));
            Tensor bias = kept(program.parameter(product.bias()).select(0, layer));
            Optional<Norm> norm = Optional.empty();
            Optional<Int8> bytes = Optional.empty();
            if (product.isNormed()) {
                Tensor normWeight = program.parameter(product.normWeight()).select(0, layer);
                Tensor normBias = program.parameter(product.normBias()).select(0, layer);
                bytes = int8 ? Optional.of(quantized(weights, List.of(normWeight))) : bytes;
                fold(normWeight, normBias, weights, bias);
                norm = Optional.of(new Norm(address(normWeight), address(normBias)));
            } else if (int8) {
                bytes = Optional.of(quantized(weights, List.of()));
            }
            long sums = address(kept(weights.to(ScalarType.Float).sum(1)));
            return new Operands(
                    weights,
                    bias,
                    kept(weights.t()),
                    sums,
                    wgmma ? Optional.of(map(weights, ProductKernels.wgmmaColumns(product))) : Optional.empty(),
                    norm,
                    bytes);
        }
    }

    /**
     * {@code w (weight n + bias) + b} is {@code (w weight) n + (w bias + b)}: the norm is left with 1 and 0. Computed
     * in float32 and rounded, as the weights were once.
     */
    private static void fold(Tensor normWeight, Tensor normBias, Tensor weights, Tensor bias) {
        Tensor wide = weights.to(ScalarType.Float);
        bias.copy_(bias.to(ScalarType.Float).addmv(wide, normBias.to(ScalarType.Float)));
        weights.copy_(wide.mul_(normWeight.to(ScalarType.Float)));
        normWeight.fill_(new Scalar(1));
        normBias.zero_();
    }

    /**
     * Weights [N, K] rounded to 8 bits, so that the largest of a row is 127 times its scale.
     *
     * @param normWeights of the norm before, [K], if there is one
     */
    private Int8 quantized(Tensor weights, List<Tensor> normWeights) {
        try (TensorScope scope = new TensorScope()) {
            Tensor wide = weights.to(ScalarType.Float);
            Tensor scales = wide.abs()
                    .amax(new long[] {1}, true)
                    .div_(new Scalar(127))
                    .clamp_min(new Scalar(Float.MIN_NORMAL)); // [N, 1]
            Tensor rounded = wide.div(scales).round_();
            long normWeight = 0;
            long sums = 0;
            for (Tensor own : normWeights) {
                normWeight = address(kept(own.clone()));
                sums = address(kept(rounded.mv(own.to(ScalarType.Float)).mul_(scales.squeeze(1))));
            }
            Tensor bytes = kept(rounded.add_(new Scalar(128)).to(ScalarType.Byte));
            return new Int8(address(bytes), address(kept(scales)), normWeight, sums);
        }
    }

    /** Bytes of GPU memory that 8-bit weights take, with what is needed to make them from 16-bit ones. */
    static long int8Bytes(Gpt2Config config) {
        long head = config.paddedVocabSize() * (long) config.hiddenSize();
        return config.parameterCount() + head + 3 * Float.BYTES * head; // the head last, by three tensors of float32
    }

    private TensorMap map(Tensor matrix, int boxRows) {
        TensorMap map = new TensorMap(matrix, program.dtype(), boxRows);
        resources.onClose(map::close);
        return map;
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

    /** Those of a layer's product. */
    Operands of(Product product, int layer) {
        return Objects.requireNonNull(operands.get(product)).get(layer);
    }

    /** The norm before the head. */
    Norm lastNorm() {
        return lastNorm;
    }

    /** The head's weights, [VP, C]. */
    Tensor head() {
        return head;
    }

    /** The same as [C, VP]. */
    Tensor headTransposed() {
        return headTransposed;
    }

    /** The head's 8-bit weights, with that option. */
    Optional<Int8> int8Head() {
        return int8Head;
    }

    @Override
    public void close() {
        resources.close();
    }
}
