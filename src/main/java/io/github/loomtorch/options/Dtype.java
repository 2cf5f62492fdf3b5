package io.github.loomtorch.options;

/** The number format that a model computes in. */
public enum Dtype {
    /** float16 on CUDA; on a CPU bfloat16 if it has AVX512-BF16 or AMX, else float32. */
    AUTO,
    /** 32 bits: the reference. */
    FLOAT32,
    /** IEEE half precision. */
    FLOAT16,
    /** The upper half of a float32. */
    BFLOAT16
}
