package io.github.loomtorch.torch;

import org.bytedeco.pytorch.global.torch.ScalarType;

/** The number format that a model computes in. */
public enum Dtype {
    /** float16 on CUDA; on a CPU bfloat16 if it has AVX512-BF16 or AMX, else float32. */
    AUTO,
    /** 32 bits: the reference. */
    FLOAT32,
    /** IEEE half precision. */
    FLOAT16,
    /** The upper half of a float32. */
    BFLOAT16;

    ScalarType resolve(boolean cuda) {
        return switch (this) {
            case FLOAT32 -> ScalarType.Float;
            case FLOAT16 -> ScalarType.Half;
            case BFLOAT16 -> ScalarType.BFloat16;
            case AUTO -> cuda ? ScalarType.Half : Libtorch.cpuHasBfloat16() ? ScalarType.BFloat16 : ScalarType.Float;
        };
    }
}
