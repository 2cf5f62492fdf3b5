package io.github.loomtorch.torch.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.torch.cuda.ProductKernel.Family;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(20)
class ProductKernelsTest {
    private static final GpuModel H100 = new GpuModel("sm_90", 132);
    private static final int MAX_SHARED_BYTES = 227 << 10; // of a block on an H100
    private static final int SM_SHARED_BYTES = 228 << 10;
    private static final int RESERVED_BYTES = 1 << 10; // of each block

    private static ProductKernels gpt2(GpuModel gpu) {
        return new ProductKernels(Gpt2Config.shape("gpt2"), gpu, false);
    }

    @ParameterizedTest
    @CsvSource({
        // product, rows, kernel on an H100
        "QKV, 1, qkv_skinny16",
        "QKV, 16, qkv_skinny16",
        "QKV, 17, qkv_wgmma64",
        "QKV, 64, qkv_wgmma64",
        "QKV, 65, qkv_wgmma",
        "QKV, 384, qkv_wgmma",
        "QKV, 385, cuBLAS",
        "PROJECTION, 16, projection_skinny16",
        "PROJECTION, 17, projection_skinny64",
        "PROJECTION, 64, projection_skinny64",
        "PROJECTION, 65, projection_wgmma",
        "INNER, 17, inner_wgmma64",
        "OUTER, 16, outer_skinny16",
        "OUTER, 65, outer_wgmma"
    })
    void chosenByTheNumberOfRowsOnAnH100(Product product, int rows, String expected) {
        assertEquals(
                expected,
                gpt2(H100).forRows(product, rows).map(ProductKernel::name).orElse("cuBLAS"));
    }

    @ParameterizedTest
    @CsvSource({"QKV, 16, qkv_skinny16", "QKV, 17, cuBLAS", "PROJECTION, 64, projection_skinny64", "OUTER, 65, cuBLAS"})
    void withoutWgmmaCublasTakesOverEarlier(Product product, int rows, String expected) {
        for (String architecture : new String[] {"sm_80", "sm_100", "sm_120"}) {
            ProductKernels kernels = gpt2(new GpuModel(architecture, 132));
            assertEquals(
                    expected,
                    kernels.forRows(product, rows).map(ProductKernel::name).orElse("cuBLAS"));
        }
    }

    /** As measured on an H100; the definitions are what the CUDA files take. */
    @Test
    void theKernelsOfGpt2OnAnH100() {
        assertEquals("""
                SKINNY_GEMM(qkv_skinny16, 768, 2304, 4, BIAS, true, false)
                SKINNY_GEMM(projection_skinny16, 768, 768, 2, RESIDUAL, false, false)
                SKINNY_GEMM(projection_skinny64, 768, 768, 4, RESIDUAL, false, false)
                SKINNY_GEMM(inner_skinny16, 768, 3072, 4, ACTIVATION, true, false)
                SKINNY_GEMM(outer_skinny16, 3072, 768, 1, RESIDUAL, false, false)
                """, definitions(gpt2(H100), Family.SKINNY));
        assertEquals("""
                WGMMA_GEMM(qkv_wgmma64, 768, 2304, 96, 4, 3, BIAS, true)
                WGMMA_GEMM(qkv_wgmma, 768, 2304, 96, 2, 4, BIAS, true)
                WGMMA_GEMM(projection_wgmma, 768, 768, 48, 2, 6, RESIDUAL, false)
                WGMMA_GEMM(inner_wgmma64, 768, 3072, 96, 4, 3, ACTIVATION, true)
                WGMMA_GEMM(inner_wgmma, 768, 3072, 96, 2, 4, ACTIVATION, true)
                WGMMA_GEMM(outer_wgmma64, 3072, 768, 96, 6, 8, RESIDUAL, false)
                WGMMA_GEMM(outer_wgmma, 3072, 768, 96, 6, 4, RESIDUAL, false)
                """, definitions(gpt2(H100), Family.WGMMA));
    }

    private static String definitions(ProductKernels kernels, Family family) {
        return kernels.of(family).stream()
                .map(kernel -> kernel.definition() + "\n")
                .collect(Collectors.joining());
    }

    @Test
    void onlyProductsOfAtMost16RowsReadInt8Weights() {
        ProductKernels kernels = new ProductKernels(Gpt2Config.shape("gpt2"), H100, true);
        for (Product product : Product.values()) {
            assertTrue(kernels.forRows(product, 16).orElseThrow().definition().endsWith(", true)"));
        }
        assertTrue(kernels.forRows(Product.PROJECTION, 17)
                .orElseThrow()
                .definition()
                .endsWith(", false)"));
    }

    /** What the kernels assert when they are compiled, and what an H100 has, for all published shapes. */
    @ParameterizedTest
    @ValueSource(strings = {"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2"})
    void wgmmaKernelsFitTheirGpu(String shape) {
        Gpt2Config config = Gpt2Config.shape(shape);
        for (int smCount : new int[] {78, 114, 132}) {
            ProductKernels kernels = new ProductKernels(config, new GpuModel("sm_90", smCount), false);
            for (Product product : Product.values()) {
                int steps = Math.ceilDiv(product.k(config), ProductKernel.WGMMA_K);
                for (int rows : new int[] {64, 65, 256}) {
                    ProductKernel kernel = kernels.forRows(product, rows).orElseThrow();
                    if (kernel.family() == Family.WGMMA) {
                        assertEquals(0, steps % kernel.split(), kernel::definition);
                        assertEquals(0, kernel.columns() % (8 * kernel.split()), kernel::definition);
                        assertTrue(kernel.split() <= 8, kernel::definition);
                        assertTrue(kernel.sharedBytes() <= MAX_SHARED_BYTES, kernel::definition);
                        if (rows > 64) { // two blocks an SM
                            assertTrue(
                                    2 * (kernel.sharedBytes() + RESERVED_BYTES) <= SM_SHARED_BYTES, kernel::definition);
                        } else if (kernel.split() > 1) { // all blocks at once
                            assertTrue(kernel.gridX() * kernel.split() <= smCount, kernel::definition);
                        }
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2"})
    void gridsCoverAllRowsAndColumns(String shape) {
        Gpt2Config config = Gpt2Config.shape(shape);
        ProductKernels kernels = new ProductKernels(config, H100, false);
        for (Product product : Product.values()) {
            for (int rows = 1; rows <= 384; rows++) {
                ProductKernel kernel = kernels.forRows(product, rows).orElseThrow();
                assertTrue(kernel.gridX() * kernel.columns() >= product.n(config));
                assertTrue((kernel.gridX() - 1) * kernel.columns() < product.n(config));
                assertTrue(kernel.gridZ(rows) * kernel.rows() >= rows);
                assertTrue((kernel.gridZ(rows) - 1) * kernel.rows() < rows);
            }
        }
    }
}
