package io.github.loomtorch.torch;

import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.cudart.CUtensorMap;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What the copy engine of a GPU of compute capability 9.0 is told of matrices, in device memory: it then copies boxes of them to shared
 * memory in the layout of {@code wide.cu}. Confined to the engine thread.
 */
final class TensorMaps implements AutoCloseable {
    private static final int BYTES = 128; // of one map
    private static final int ALIGNMENT = 64; // that the driver asks for
    private static final int BOX_COLUMNS = 64; // 128 bytes, the span of the swizzle

    private final Tensor memory; // [most, 128] uint8
    private final int elementType;
    private final CUstream_st stream;
    private int count;

    /** Room for so many maps of matrices in this dtype, of 16 bits. */
    TensorMaps(int most, Device device, ScalarType dtype, CUstream_st stream) {
        this.stream = stream;
        elementType = dtype == ScalarType.BFloat16 ? cudart.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : cudart.CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
        TensorOptions bytes = new TensorOptions(ScalarType.Byte).device(new DeviceOptional(device));
        memory = torch.empty(new long[] {most, BYTES}, bytes, null).retainReference();
    }

    /**
     * Describes a matrix.
     *
     * @param matrix [rows, columns], contiguous, columns divisible by 8; its memory must outlive this
     * @param boxRows rows that are copied at once, at most 256
     * @return address of the map on the device
     */
    long add(Tensor matrix, int boxRows) {
        long rows = matrix.size(0);
        long columns = matrix.size(1);
        try (PointerScope scope = new PointerScope()) {
            BytePointer room = new BytePointer(BYTES + ALIGNMENT);
            CUtensorMap map = new CUtensorMap(room.getPointer(-room.address() & ALIGNMENT - 1));
            Cuda.check(
                    cudart.cuTensorMapEncodeTiled(
                            map,
                            elementType,
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
            long offset = (long) BYTES * count++;
            Cuda.check(
                    cudart.cudaMemcpyAsync( // from pageable memory: read at once
                            new BytePointer(memory.data_ptr()).getPointer(offset), map, BYTES, cudart.cudaMemcpyHostToDevice, stream),
                    "copying a tensor map");
            return memory.data_ptr().address() + offset;
        }
    }

    @Override
    public void close() {
        memory.releaseReference();
    }
}
