package io.github.loomtorch.torch;

import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.util.function.Consumer;
import org.bytedeco.cuda.cudart.CUevent_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Brings the input of prefills ({@link PrefillShape}) to the device, each in one piece, from pinned host memory, so that the host goes on
 * while it is copied. Confined to the engine thread.
 */
final class PrefillInput implements AutoCloseable {
    private final CUstream_st stream;
    private final TensorOptions ints;
    private final Staging[] stagings = {new Staging(), new Staging()}; // in turn: the copy from one may still be waiting for its step
    private int next;

    PrefillInput(Device device, CUstream_st stream) {
        this.stream = stream;
        ints = new TensorOptions(ScalarType.Int).device(new DeviceOptional(device)).retainReference();
    }

    /** Room on the device for so many ints, [count] int32, owned by the caller's scope. */
    Tensor room(int count) {
        return torch.empty(new long[] {count}, ints, null);
    }

    /** Copies {@code count} ints, which {@code fill} puts into a buffer, to the beginning of {@code target}. */
    void upload(int count, Consumer<IntBuffer> fill, Tensor target) {
        Staging staging = stagings[next];
        next = 1 - next;
        fill.accept(staging.room(count));
        Cuda.check(
                cudart.cudaMemcpyAsync(target.data_ptr(), staging.memory, 4L * count, cudart.cudaMemcpyHostToDevice, stream),
                "copying a prefill's input");
        Cuda.check(cudart.cudaEventRecord(staging.copied, stream), "cudaEventRecord");
    }

    /** Pinned memory that grows, and when it was last read. */
    private static final class Staging {
        private final Pointer memory = new Pointer();
        private final CUevent_st copied = new CUevent_st();
        private IntBuffer buffer = IntBuffer.allocate(0);

        Staging() {
            Cuda.check(cudart.cudaEventCreateWithFlags(copied, cudart.cudaEventDisableTiming), "cudaEventCreateWithFlags");
        }

        /** At least so many ints, which nobody reads. */
        IntBuffer room(int count) {
            Cuda.check(cudart.cudaEventSynchronize(copied), "cudaEventSynchronize");
            if (buffer.capacity() < count) {
                free();
                Cuda.check(cudart.cudaHostAlloc(memory, 4L * count, cudart.cudaHostAllocDefault), "cudaHostAlloc");
                buffer = new BytePointer(memory).capacity(4L * count).asByteBuffer().order(ByteOrder.nativeOrder()).asIntBuffer();
            }
            return buffer;
        }

        void free() {
            buffer = IntBuffer.allocate(0);
            if (!memory.isNull()) {
                cudart.cudaFreeHost(memory);
                memory.setNull();
            }
        }
    }

    @Override
    public void close() {
        for (Staging staging : stagings) {
            staging.free();
            cudart.cudaEventDestroy(staging.copied);
        }
        ints.releaseReference();
    }
}
