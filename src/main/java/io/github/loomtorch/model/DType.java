package io.github.loomtorch.model;

/** The element types of stored tensors. Weights are F32, F16, BF16 or F64. */
public enum DType {
    /** Boolean in one byte. */
    BOOL(1),
    /** Unsigned 8-bit integer. */
    U8(1),
    /** Signed 8-bit integer. */
    I8(1),
    /** 8-bit float, 5 bits of exponent. */
    F8_E5M2(1),
    /** 8-bit float, 4 bits of exponent. */
    F8_E4M3(1),
    /** 8-bit power of two. */
    F8_E8M0(1),
    /** Signed 16-bit integer. */
    I16(2),
    /** Unsigned 16-bit integer. */
    U16(2),
    /** IEEE 754 half precision. */
    F16(2),
    /** The upper half of an F32. */
    BF16(2),
    /** Signed 32-bit integer. */
    I32(4),
    /** Unsigned 32-bit integer. */
    U32(4),
    /** IEEE 754 single precision. */
    F32(4),
    /** Two F32: a complex number. */
    C64(8),
    /** IEEE 754 double precision. */
    F64(8),
    /** Signed 64-bit integer. */
    I64(8),
    /** Unsigned 64-bit integer. */
    U64(8);

    private final int sizeBytes;

    DType(int sizeBytes) {
        this.sizeBytes = sizeBytes;
    }

    /**
     * The size of one element.
     *
     * @return bytes: 1, 2, 4 or 8
     */
    public int sizeBytes() {
        return sizeBytes;
    }
}
