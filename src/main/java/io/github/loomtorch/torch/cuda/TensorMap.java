package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.Cuda;
import org.bytedeco.cuda.cudart.CUtensorMap;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A tensor map: the description of a matrix by which TMA (compute capability 9.0) copies boxes of it to shared memory,
 * in the layout of {@code gemm_wgmma.cu}. It is in host memory, as kernels take it by value. Confined to the engine
 * thread.
 */
final class TensorMap implements AutoCloseable {
    private static final int BYTES = 128;
    private static final int ALIGNMENT = 64; // that the driver asks for
    private static final int BOX_COLUMNS = ProductKernel.WGMMA_K; // 128 bytes, the span of the swizzle

    private final BytePointer memory = new BytePointer(BYTES + ALIGNMENT).retainReference();

    /**
     * Describes a matrix.
     *
     * @param matrix [rows, columns] of 16-bit elements, contiguous, columns divisible by 8
     * @param dtype of the matrix
     * @param boxRows rows that are copied at once, at most 256
     * @throws TorchException if CUDA refuses
     */
    TensorMap(Tensor matrix, ScalarType dtype, int boxRows) {
        long rows = matrix.size(0);
        long columns = matrix.size(1);
        try (PointerScope scope = new PointerScope()) {
            Cuda.check(
                    cudart.cuTensorMapEncodeTiled(
                            new CUtensorMap(pointer()),
                            dtype == ScalarType.BFloat16
                                    ? cudart.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                    : cudart.CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                            2,
                            matrix.data_ptr(),
                            new long[] {columns, rows},
                            new long[] {2 * columns},
                            new int[] {BOX_COLUMNS, boxRows},
                            new int[] {1, 1},
                            cudart.CU_TENSOR_MAP_INTERLEAVE_NONE,
                            cudart.CU_TENSOR_MAP_SWIZZLE_128B,
                            cudart.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                            cudart.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                    "cuTensorMapEncodeTiled");
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /** To its 128 bytes, as a kernel's argument; the pointer belongs to the caller's scope. */
    Pointer pointer() {
        return memory.getPointer(-memory.address() & ALIGNMENT - 1);
    }

    @Override
    public void close() {
        memory.releaseReference();
    }
}
