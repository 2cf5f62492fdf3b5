package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.model.Gpt2Config;

/** The matrix products of a layer: {@code out [M, N] = x [M, K] w [N, K]^T + bias}. */
enum Product {
    QKV(StepPart.QKV, "qkv", Epilogue.BIAS, "ln1"),
    PROJECTION(StepPart.PROJECTION, "proj", Epilogue.RESIDUAL, ""),
    INNER(StepPart.INNER, "fc", Epilogue.ACTIVATION, "ln2"),
    OUTER(StepPart.OUTER, "out", Epilogue.RESIDUAL, "");

    /** What happens to the sums; {@code gemm.cuh} has the same names. */
    enum Epilogue {
        BIAS,
        ACTIVATION,
        RESIDUAL
    }

    private final StepPart part;
    private final String parameter;
    private final Epilogue epilogue;
    private final String norm;

    Product(StepPart part, String parameter, Epilogue epilogue, String norm) {
        this.part = part;
        this.parameter = parameter;
        this.epilogue = epilogue;
        this.norm = norm;
    }

    /** The part of a step that this is. */
    StepPart part() {
        return part;
    }

    /** The program's parameter with the weights of all layers, [L, N, K]. */
    String weight() {
        return parameter + "_w";
    }

    /** The program's parameter with the biases of all layers, [L, N]. */
    String bias() {
        return parameter + "_b";
    }

    Epilogue epilogue() {
        return epilogue;
    }

    /** Whether the rows are normed before. */
    boolean isNormed() {
        return !norm.isEmpty();
    }

    /** The program's parameter with the weights of the LayerNorm before, [L, K]; only if {@link #isNormed()}. */
    String normWeight() {
        return norm + "_w";
    }

    /** The program's parameter with the biases of the LayerNorm before, [L, K]; only if {@link #isNormed()}. */
    String normBias() {
        return norm + "_b";
    }

    /** Whether the product is added to what {@code out} holds. */
    boolean isResidual() {
        return epilogue == Epilogue.RESIDUAL;
    }

    /** K, the length of the sums. */
    int k(Gpt2Config config) {
        return this == OUTER ? config.innerSize() : config.hiddenSize();
    }

    /** N, the columns of the result. */
    int n(Gpt2Config config) {
        return switch (this) {
            case QKV -> 3 * config.hiddenSize();
            case INNER -> config.innerSize();
            case PROJECTION, OUTER -> config.hiddenSize();
        };
    }
}
