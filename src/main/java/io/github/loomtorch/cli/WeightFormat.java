package io.github.loomtorch.cli;

/** How weights are kept. An enum, as picocli takes no value of an option of type boolean but true and false. */
enum WeightFormat {
    /** In the type that the model computes in. */
    DTYPE,
    /** Quantized to 8 bits. */
    INT8
}
