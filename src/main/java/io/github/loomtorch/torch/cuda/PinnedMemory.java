package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.natives.Cuda;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;

/**
 * Host memory that the GPU reads and writes by itself, so that the host need not wait for a copy. Confined to the
 * engine thread.
 */
final class PinnedMemory implements AutoCloseable {
    private final Pointer memory = new Pointer();
    private final ByteBuffer bytes;

    PinnedMemory(long size) {
        Cuda.check(cudart.cudaHostAlloc(memory, size, cudart.cudaHostAllocMapped), "cudaHostAlloc");
        bytes = new BytePointer(memory).capacity(size).asByteBuffer().order(ByteOrder.nativeOrder());
    }

    /** All of it, in the order of the machine; not to be used after {@link #close()}. */
    ByteBuffer bytes() {
        return bytes;
    }

    /** Where kernels find it. */
    long address() {
        return memory.address();
    }

    /**
     * Copies the bytes from {@code begin} on to the same place of device memory, once all before on the stream is done.
     */
    void copyTo(Pointer device, long begin, long size, CUstream_st stream) {
        BytePointer to = new BytePointer(device).getPointer(begin);
        BytePointer from = new BytePointer(memory).getPointer(begin);
        Cuda.check(
                cudart.cudaMemcpyAsync(to, from, size, cudart.cudaMemcpyHostToDevice, stream),
                "cudaMemcpyAsync to the device");
    }

    /** Copies bytes of device memory to the beginning, once all before on the stream is done. */
    void copyFrom(Pointer device, long size, CUstream_st stream) {
        Cuda.check(
                cudart.cudaMemcpyAsync(memory, device, size, cudart.cudaMemcpyDeviceToHost, stream),
                "cudaMemcpyAsync from the device");
    }

    @Override
    public void close() {
        cudart.cudaFreeHost(memory);
    }
}
