package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.torch.cuda.ProductKernel.Family;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * Which kernel computes a product of how many rows, for a model on a GPU: pure arithmetic. Up to 16 rows, and for the
 * projection up to 64, {@code gemm_skinny.cu}; on Hopper {@code gemm_wgmma.cu} from there up to 384 rows; else cuBLAS.
 * The limits were measured on GPT-2's shape. Immutable.
 */
final class ProductKernels {
    /** Rows up to which {@code gemm_wgmma.cu} is faster than cuBLAS. */
    private static final int MAX_WGMMA_ROWS = 384;
    /** Rows for which {@code gemm_wgmma.cu} with several row tiles is laid out. */
    private static final int SEVERAL_TILES = 4;

    /**
     * The kernels of one product, by rising number of rows.
     *
     * @param steps kernels with the most rows of each, ascending
     */
    private record Choice(List<Step> steps) {
        private record Step(int maxRows, ProductKernel kernel) {}

        Optional<ProductKernel> forRows(int rows) {
            return steps.stream()
                    .filter(step -> rows <= step.maxRows())
                    .findFirst()
                    .map(Step::kernel);
        }
    }

    private final Map<Product, Choice> choices = new EnumMap<>(Product.class);

    /**
     * Chooses.
     *
     * @param int8 whether products of at most 16 rows use 8-bit weights
     */
    ProductKernels(Gpt2Config config, GpuModel gpu, boolean int8) {
        for (Product product : Product.values()) {
            List<Choice.Step> steps = new ArrayList<>();
            int maxTiles = skinnyTiles(product);
            int skinnyRows = product == Product.PROJECTION ? ProductKernel.WGMMA_ROWS : ProductKernel.SKINNY_ROWS;
            steps.add(new Choice.Step(
                    ProductKernel.SKINNY_ROWS, ProductKernel.skinny(product, config, "skinny16", maxTiles, int8)));
            if (skinnyRows > ProductKernel.SKINNY_ROWS) {
                steps.add(new Choice.Step(
                        skinnyRows, ProductKernel.skinny(product, config, "skinny64", 2 * maxTiles, false)));
            }
            if (gpu.isHopper()) {
                int columns = wgmmaColumns(product);
                int blocks = gpu.smCount();
                if (skinnyRows < ProductKernel.WGMMA_ROWS) {
                    steps.add(new Choice.Step(
                            ProductKernel.WGMMA_ROWS,
                            ProductKernel.wgmma(product, config, "wgmma64", columns, 1, blocks)));
                }
                steps.add(new Choice.Step(
                        MAX_WGMMA_ROWS,
                        ProductKernel.wgmma(product, config, "wgmma", columns, SEVERAL_TILES, 2 * blocks)));
            }
            choices.put(product, new Choice(List.copyOf(steps)));
        }
    }

    /**
     * Most tiles of 8 columns of a block of {@code gemm_skinny.cu} with at most 16 rows; with more rows twice as many.
     */
    private static int skinnyTiles(Product product) {
        return switch (product) {
            case QKV, INNER -> 4;
            case PROJECTION -> 2;
            case OUTER -> 1;
        };
    }

    /** Columns of a block of {@code gemm_wgmma.cu}. */
    static int wgmmaColumns(Product product) {
        return product == Product.PROJECTION ? 48 : 96;
    }

    /** The kernel for so many rows; empty where cuBLAS is faster. */
    Optional<ProductKernel> forRows(Product product, int rows) {
        return Objects.requireNonNull(choices.get(product)).forRows(rows);
    }

    /** All kernels of a file. */
    List<ProductKernel> of(Family family) {
        return choices.values().stream()
                .flatMap(choice -> choice.steps().stream())
                .map(Choice.Step::kernel)
                .filter(kernel -> kernel.family() == family)
                .toList();
    }

    /** The same as the file's {@code LT_KERNELS}. */
    String definitions(Family family) {
        return of(family).stream().map(ProductKernel::definition).collect(Collectors.joining(" "));
    }
}
