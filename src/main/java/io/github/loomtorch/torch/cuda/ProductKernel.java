package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;
import java.util.Locale;

/**
 * A kernel for one matrix product: pure arithmetic, the numbers measured on GPT-2's shape (see docs/experiments.md).
 *
 * @param name of the kernel
 * @param family the file that has it
 * @param n columns of the result
 * @param columns of a block
 * @param rows of a block
 * @param split blocks of a cluster among which K is divided (split-K)
 * @param threads of a block
 * @param sharedBytes dynamic shared memory of a block
 * @param definition as {@code LT_KERNELS} of the file takes it
 */
record ProductKernel(
        String name,
        Family family,
        int n,
        int columns,
        int rows,
        int split,
        int threads,
        int sharedBytes,
        String definition) {
    /** Rows of a block of {@code gemm_skinny.cu}. Only products of at most so many rows use 8-bit weights. */
    static final int SKINNY_ROWS = 16;

    static final int SKINNY_WARPS = 8;

    /** Rows of a block of {@code gemm_wgmma.cu}. */
    static final int WGMMA_ROWS = 64;
    /** Elements of K of a stage of its pipeline. */
    static final int WGMMA_K = 64;

    static final int WGMMA_WARPS = 4;
    /** The multiplying warps and the producer. */
    static final int WGMMA_THREADS = 32 * (WGMMA_WARPS + 1);
    /** The same and two threads for the statistics of each row. */
    static final int WGMMA_NORMED_THREADS = WGMMA_THREADS + 2 * WGMMA_ROWS;

    private static final int MMA_COLUMNS = 8;
    private static final int WEIGHT_REGISTERS = 12; // of 16 bytes a thread, which hold the weights
    private static final int MAX_CLUSTER = 8;
    private static final int MIN_STEPS = 6; // of K a block, with several row tiles
    private static final int ALIGNMENT_BYTES = 1024; // of the swizzled stages
    private static final int ONE_BLOCK_BYTES = 200 << 10; // of shared memory, with one block an SM
    private static final int TWO_BLOCKS_BYTES = 105 << 10; // with two

    /** The files of the products. */
    enum Family {
        SKINNY,
        WGMMA
    }

    /**
     * For at most {@link #SKINNY_ROWS} rows, or a few times more.
     *
     * @param maxTiles of 8 columns a block
     * @param int8 whether the weights are 8-bit
     */
    static ProductKernel skinny(Product product, Gpt2Config config, String suffix, int maxTiles, boolean int8) {
        int steps = Math.ceilDiv(product.k(config), 32 * SKINNY_WARPS); // of a thread, 16 bytes of weights a tile each
        int tiles = Math.clamp(WEIGHT_REGISTERS / steps, 1, maxTiles);
        String name = name(product, suffix);
        String definition = String.format(
                Locale.ROOT,
                "SKINNY_GEMM(%s, %d, %d, %d, %s, %b, %b)",
                name,
                product.k(config),
                product.n(config),
                tiles,
                product.epilogue(),
                product.isNormed(),
                int8);
        return new ProductKernel(
                name,
                Family.SKINNY,
                product.n(config),
                MMA_COLUMNS * tiles,
                SKINNY_ROWS,
                1,
                32 * SKINNY_WARPS,
                0,
                definition);
    }

    /**
     * For {@code rowTiles} tiles of {@link #WGMMA_ROWS} rows: K is split among as many blocks as possible, so long as
     * no more than {@code maxBlocks} blocks are needed, which all run at once.
     *
     * @param columns of a block, 48 or 96
     */
    static ProductKernel wgmma(
            Product product, Gpt2Config config, String suffix, int columns, int rowTiles, int maxBlocks) {
        boolean several = rowTiles > 1;
        int steps = Math.ceilDiv(product.k(config), WGMMA_K);
        int tiles = rowTiles * Math.ceilDiv(product.n(config), columns);
        int split = 1;
        for (int more = 2; more <= MAX_CLUSTER; more++) {
            boolean even = steps % more == 0 && columns % (MMA_COLUMNS * more) == 0;
            boolean worth = steps / more >= (several ? MIN_STEPS : 1);
            split = even && worth && tiles * more <= maxBlocks ? more : split;
        }
        int stageBytes = 2 * WGMMA_K * (columns + WGMMA_ROWS);
        int sumBytes = (split - 1) * columns * Float.BYTES * WGMMA_ROWS / split;
        int stages = Math.min(steps / split, ((several ? TWO_BLOCKS_BYTES : ONE_BLOCK_BYTES) - sumBytes) / stageBytes);
        String name = name(product, suffix);
        String definition = String.format(
                Locale.ROOT,
                "WGMMA_GEMM(%s, %d, %d, %d, %d, %d, %s, %b)",
                name,
                product.k(config),
                product.n(config),
                columns,
                split,
                stages,
                product.epilogue(),
                product.isNormed());
        return new ProductKernel(
                name,
                Family.WGMMA,
                product.n(config),
                columns,
                WGMMA_ROWS,
                split,
                product.isNormed() ? WGMMA_NORMED_THREADS : WGMMA_THREADS,
                ALIGNMENT_BYTES + stages * stageBytes + sumBytes,
                definition);
    }

    private static String name(Product product, String suffix) {
        return product.name().toLowerCase(Locale.ROOT) + "_" + suffix;
    }

    /** Blocks in x, y and z for so many rows. */
    int gridX() {
        return Math.ceilDiv(n, columns);
    }

    int gridZ(int count) {
        return Math.ceilDiv(count, rows);
    }
}
