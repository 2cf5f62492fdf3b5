package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.cuda.LinearWeights.Int8;
import io.github.loomtorch.torch.cuda.LinearWeights.Norm;
import io.github.loomtorch.torch.cuda.LinearWeights.Operands;
import io.github.loomtorch.torch.cuda.ProductKernel.Family;
import io.github.loomtorch.torch.natives.Resources;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.Method;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The norms, matrix products and head of GPT-2 on a GPU, in 16-bit elements, by the kernels that {@link ProductKernels}
 * chooses, else by cuBLAS. Confined to the engine thread.
 */
final class CudaLinear implements AutoCloseable {
    /** Most rows of a skinny product and of {@link #fewRowsHead}. Only they use 8-bit weights. */
    static final int FEW_ROWS = ProductKernel.SKINNY_ROWS;

    private static final int NORM_WARPS = 4; // of a block, a row each
    private static final int HEAD_BLOCKS = 2; // for each SM: as many run at once

    private final KernelSet set;
    private final Method inner;
    private final Resources resources = new Resources();
    private final CudaKernels.Kernel layerNorm;
    private final CudaKernels.Kernel lmHead;
    private final Map<ProductKernel, CudaKernels.Kernel> kernels = new HashMap<>();
    private final LinearWeights weights;
    private final Map<Long, TensorMap> rowMaps = new HashMap<>(); // of the rows that steps multiply, by their address

    /**
     * Takes the program's weights over: see {@link LinearWeights}.
     *
     * @param rows that steps multiply, [rows, K] each
     * @throws KernelsUnavailableException if the kernels cannot be compiled
     */
    CudaLinear(TorchScriptProgram program, CudaKernels.Loader loader, List<Tensor> rows) {
        set = loader.set();
        inner = program.method("inner");
        boolean wgmma = set.gpu().isHopper();
        try {
            layerNorm = load(loader, set.layerNorm()).overlappingKernel("layer_norm");
            lmHead = load(loader, set.lmHeadModule())
                    .overlappingKernel("lm_head")
                    .withSharedBytes(set.lmHead().sharedBytes());
            loadProducts(Family.SKINNY, load(loader, set.skinnyGemm()));
            if (wgmma) {
                loadProducts(Family.WGMMA, load(loader, set.wgmmaGemm()));
                for (Tensor matrix : rows) {
                    TensorMap map = new TensorMap(matrix, program.dtype(), ProductKernel.WGMMA_ROWS);
                    resources.onClose(map::close);
                    rowMaps.put(address(matrix), map);
                }
            }
            weights = new LinearWeights(program, wgmma, set.int8Weights());
            resources.onClose(weights::close);
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

    private void loadProducts(Family family, CudaKernels loaded) {
        for (ProductKernel kernel : set.products().of(family)) {
            kernels.put(kernel, loaded.overlappingKernel(kernel.name()).withSharedBytes(kernel.sharedBytes()));
        }
    }

    private static long address(Tensor tensor) {
        return tensor.data_ptr().address();
    }

    /** Whether a step of so many rows reads 8-bit weights. */
    boolean isInt8(long rows) {
        return set.int8Weights() && rows <= FEW_ROWS;
    }

    /** The kernel for the first {@code count} rows; empty where cuBLAS computes the product. */
    private Optional<ProductKernel> kernel(Product product, Tensor rows, int count) {
        return set.products()
                .forRows(product, count)
                .filter(kernel -> kernel.family() != Family.WGMMA || rowMaps.containsKey(address(rows)));
    }

    /** Whether a product that follows a norm takes the rows as they are; else they must be normed first. */
    boolean norms(Product product, Tensor rows, int count) {
        return product.isNormed() && kernel(product, rows, count).isPresent();
    }

    /**
     * {@code out = x w^T + b}, with the activation if the product has one; a residual product adds that to {@code out}.
     *
     * @param x [M, K], normed unless {@link #norms} says that this is done here
     * @param out [M, N]
     * @return the result, which need not be {@code out} for {@link Product#INNER}
     */
    Tensor multiply(Product product, int layer, Tensor x, Tensor out, int count) {
        Operands with = weights.of(product, layer);
        Optional<ProductKernel> chosen = kernel(product, x, count);
        if (chosen.isEmpty()) {
            return multiplyByCublas(product, layer, with, x, out);
        }
        ProductKernel kernel = chosen.get();
        switch (kernel.family()) {
            case SKINNY -> launchSkinny(kernel, with, x, out, count);
            case WGMMA -> launchWgmma(kernel, with, x, out, count);
        }
        return out;
    }

    private Tensor multiplyByCublas(Product product, int layer, Operands with, Tensor x, Tensor out) {
        if (product == Product.INNER) {
            return inner.apply(new IValueVector(new IValue(x), new IValue((long) layer)))
                    .toTensor();
        }
        return torch.addmm_out(out, product.isResidual() ? out : with.bias(), x, with.transposed());
    }

    private void launchSkinny(ProductKernel kernel, Operands with, Tensor x, Tensor out, int count) {
        Int8 operands = isInt8(count)
                ? with.int8().orElseThrow()
                : new Int8(address(with.weights()), 0, 0, with.sums()); // without scales, the norm's weight folded
        Objects.requireNonNull(kernels.get(kernel))
                .launch(
                        kernel.gridX(),
                        1,
                        kernel.gridZ(count),
                        kernel.threads(),
                        address(x),
                        operands.bytes(),
                        operands.scales(),
                        operands.normWeight(),
                        operands.sums(),
                        address(with.bias()),
                        address(out),
                        count);
    }

    private void launchWgmma(ProductKernel kernel, Operands with, Tensor x, Tensor out, int count) {
        Objects.requireNonNull(kernels.get(kernel))
                .launch(
                        kernel.gridX(),
                        kernel.split(),
                        kernel.gridZ(count),
                        kernel.threads(),
                        Objects.requireNonNull(rowMaps.get(address(x))).pointer(),
                        with.map().orElseThrow().pointer(),
                        with.sums(),
                        address(with.bias()),
                        address(out),
                        count);
    }

    /** The address of a bias that {@link #multiply} leaves to the next {@link #norm}, or 0. */
    long pendingBias(Product product, int layer, Tensor x, int count) {
        return product.isResidual() && kernel(product, x, count).isEmpty()
                ? address(weights.of(product, layer).bias())
                : 0;
    }

    /**
     * {@code normed = norm(x)} by rows, before a product.
     *
     * @param pending address of a bias [C] that is added to {@code x} first, or 0
     */
    void norm(Product product, int layer, Tensor x, long pending, Tensor normed, int count) {
        norm(weights.of(product, layer).norm().orElseThrow(), x, pending, normed, count);
    }

    /** The same before the head. */
    void lastNorm(Tensor x, long pending, Tensor normed, int count) {
        norm(weights.lastNorm(), x, pending, normed, count);
    }

    private void norm(Norm norm, Tensor x, long pending, Tensor normed, int count) {
        layerNorm.launch(
                Math.ceilDiv(count, NORM_WARPS),
                1,
                1,
                32 * NORM_WARPS,
                address(x),
                pending,
                norm.weight(),
                norm.bias(),
                address(normed),
                count);
    }

    /** {@code logits = norm(x) w^T} for at most {@link #FEW_ROWS} rows. */
    void fewRowsHead(Tensor x, Tensor logits, int count) {
        Norm norm = weights.lastNorm();
        lmHead.launch(
                HEAD_BLOCKS * set.gpu().smCount(),
                1,
                1,
                LmHeadShape.THREADS,
                address(x),
                norm.weight(),
                norm.bias(),
                weights.int8Head().map(Int8::bytes).orElseGet(() -> address(weights.head())),
                weights.int8Head().map(Int8::scales).orElse(0L),
                address(logits),
                count);
    }

    /** {@code logits = normed w^T}. */
    void head(Tensor normed, Tensor logits) {
        torch.mm_out(logits, normed, weights.headTransposed());
    }

    /** {@code normed w^T} in float32, [M, VP], which rounding to 16 bits would change by hundredths. */
    Tensor wideHead(Tensor normed) {
        return torch.mm(normed, weights.headTransposed(), ScalarType.Float);
    }

    @Override
    public void close() {
        resources.close();
    }
}
