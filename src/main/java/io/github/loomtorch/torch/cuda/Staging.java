package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.torch.natives.Cuda;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.function.Consumer;
import org.bytedeco.cuda.cudart.CUevent_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.Pointer;

/**
 * Uploads from the host to the device in the order of the stream, while the host goes on, through pinned buffers that
 * are reused once they have been read. Confined to the engine thread.
 */
final class Staging implements AutoCloseable {
    private static final int MAX_BUFFERS = 16; // with as many copies in flight, the next waits for the first
    private static final long MIN_BYTES = 64 << 10;

    private final CUstream_st stream;
    private final Deque<Buffer> buffers = new ArrayDeque<>(); // the one used last at the end

    Staging(CUstream_st stream) {
        this.stream = stream;
    }

    /** Copies {@code size} bytes, which {@code fill} writes to a buffer of at least that size. */
    void upload(Pointer target, long size, Consumer<ByteBuffer> fill) {
        Buffer buffer = buffer(size);
        fill.accept(buffer.memory.bytes());
        buffer.memory.copyTo(target, 0, size, stream);
        Cuda.check(cudart.cudaEventRecord(buffer.copied, stream), "cudaEventRecord");
    }

    /** A buffer of at least that size that is not being read. */
    private Buffer buffer(long size) {
        Buffer oldest = buffers.peek();
        if (oldest != null && (buffers.size() == MAX_BUFFERS || !oldest.isBeingRead())) {
            Cuda.check(cudart.cudaEventSynchronize(oldest.copied), "cudaEventSynchronize");
            buffers.remove();
            if (oldest.memory.bytes().capacity() >= size) {
                buffers.add(oldest);
                return oldest;
            }
            oldest.close();
        }
        buffers.add(new Buffer(
                Math.max(MIN_BYTES, Long.highestOneBit(2 * size - 1)))); // a power of two, so that few are too small
        return buffers.getLast();
    }

    /** Pinned memory, and when it was last read. */
    private static final class Buffer implements AutoCloseable {
        final PinnedMemory memory;
        final CUevent_st copied = new CUevent_st();

        Buffer(long size) {
            Cuda.check(
                    cudart.cudaEventCreateWithFlags(copied, cudart.cudaEventDisableTiming), "cudaEventCreateWithFlags");
            try {
                memory = new PinnedMemory(size);
            } catch (RuntimeException e) {
                cudart.cudaEventDestroy(copied);
                throw e;
            }
        }

        boolean isBeingRead() {
            // Not cudaEventQuery, whose answer "not ready" libtorch would find later as the last error.
            return cudart.cuEventQuery(copied) == cudart.CUDA_ERROR_NOT_READY;
        }

        @Override
        public void close() {
            memory.close();
            cudart.cudaEventDestroy(copied);
        }
    }

    @Override
    public void close() {
        buffers.forEach(Buffer::close);
        buffers.clear();
    }
}
