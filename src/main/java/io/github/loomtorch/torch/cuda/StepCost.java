package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;

/**
 * What the parts of a step must do at least: pure arithmetic.
 *
 * @param config of the model
 * @param elementBytes of an element, 2 or 4
 * @param int8Weights whether products of few rows read 8-bit weights
 */
record StepCost(Gpt2Config config, int elementBytes, boolean int8Weights) {

    /**
     * The fewest bytes that a part moves, in one launch.
     *
     * @param rows sequences
     * @param contextLength tokens of each
     */
    long bytes(StepPart part, int rows, long contextLength) {
        long c = config.hiddenSize();
        long f = config.innerSize();
        long padded = config.paddedVocabSize();
        long elements = switch (part) {
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
        return elements * elementBytes;
    }

    /** How many elements take the memory that so many weights take. */
    private long weights(long count, int rows) {
        return int8Weights && rows <= CudaLinear.FEW_ROWS ? count / elementBytes : count;
    }

    /** Multiplications and additions of the matrix products of a prefill of prompts of equal length. */
    double operations(long prompts, long promptLength) {
        double c = config.hiddenSize();
        double attention = 2 * c * promptLength; // half of the scores are masked
        double perToken = 2 * (4 * c * c + 2 * c * config.innerSize()) + attention;
        return prompts * (promptLength * perToken * config.layerCount() + 2 * c * config.vocabSize());
    }
}
