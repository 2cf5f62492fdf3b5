package io.github.loomtorch.torch;

import io.github.loomtorch.engine.Chunk;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.util.List;
import java.util.function.ToIntFunction;
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
 * The rows of a step ({@link StepInput}), in pinned host memory and on the device, copied in one piece, and their results, which the GPU
 * writes into pinned host memory. The addresses never change, so that a graph can hold them. Confined to the engine thread.
 */
final class StepRows implements AutoCloseable {
    private final int rowSize;
    private final int pageSize;
    private final CUstream_st stream;
    private final Pointer hostInput;
    private final Pointer hostResults;
    private final IntBuffer input;
    private final IntBuffer results;
    private final Tensor deviceInput; // [rows, rowSize] int32
    private int filled;

    StepRows(int rows, int rowSize, int pageSize, Device device, CUstream_st stream) {
        this.rowSize = rowSize;
        this.pageSize = pageSize;
        this.stream = stream;
        TensorOptions options = new TensorOptions(ScalarType.Int).device(new DeviceOptional(device));
        deviceInput = torch.zeros(new long[] {rows, rowSize}, options).retainReference();
        hostInput = pinned(4L * rows * rowSize);
        hostResults = pinned(4L * rows * StepInput.RESULT);
        input = ints(hostInput, rows * rowSize);
        results = ints(hostResults, rows * StepInput.RESULT);
        for (int row = 0; row < rows; row++) {
            StepInput.clear(input, row * rowSize);
        }
    }

    private static Pointer pinned(long bytes) {
        Pointer memory = new Pointer();
        Cuda.check(cudart.cudaHostAlloc(memory, bytes, cudart.cudaHostAllocMapped), "cudaHostAlloc");
        return memory;
    }

    private static IntBuffer ints(Pointer memory, int count) {
        return new BytePointer(memory).capacity(4L * count).asByteBuffer().order(ByteOrder.nativeOrder()).asIntBuffer();
    }

    /** Fills a row for each token of the chunks, in order, and makes those that were filled before padding. */
    void fill(List<Chunk> chunks, ToIntFunction<Chunk> flags) {
        int row = 0;
        for (int i = 0; i < chunks.size(); i++) {
            Chunk chunk = chunks.get(i);
            int chunkFlags = flags.applyAsInt(chunk);
            for (int position = chunk.start(); position < chunk.end(); position++) {
                StepInput.put(input, row++ * rowSize, chunk, position, pageSize, chunkFlags);
            }
        }
        pad(row);
    }

    /** Fills a row for the last token of each chunk. */
    void fillLast(List<Chunk> chunks, ToIntFunction<Chunk> flags) {
        for (int i = 0; i < chunks.size(); i++) {
            Chunk chunk = chunks.get(i);
            StepInput.put(input, i * rowSize, chunk, chunk.end() - 1, pageSize, flags.applyAsInt(chunk));
        }
        pad(chunks.size());
    }

    /** Fills the rows of the step after that of {@code before}, whose rows are those chunks: see {@link StepInput#putNext}. */
    void fillNext(StepRows before, List<Chunk> chunks) {
        for (int row = 0; row < chunks.size(); row++) {
            StepInput.putNext(input, row * rowSize, before.input, row * rowSize, rowSize, chunks.get(row).sequence());
        }
        pad(chunks.size());
    }

    /** Names the tokens of rows that {@link #fillNext} filled, one for each chunk. */
    void putTokens(List<Chunk> chunks) {
        for (int row = 0; row < chunks.size(); row++) {
            Chunk chunk = chunks.get(row);
            input.put(row * rowSize + StepInput.TOKEN, chunk.sequence().tokens()[chunk.start()]);
        }
    }

    /** Whether a row that {@link #fillNext} filled is right for a chunk: for its position, slot and pages. */
    boolean isFor(int row, Chunk chunk) {
        int at = row * rowSize;
        if (input.get(at + StepInput.POSITION) != chunk.start() || input.get(at + StepInput.SLOT) != chunk.sequence().slot()) {
            return false;
        }
        for (int page = 0; page <= chunk.start() / pageSize; page++) {
            if (input.get(at + StepInput.PAGES + page) != chunk.sequence().page(page)) {
                return false;
            }
        }
        return true;
    }

    /** Fills rows with the last token of as many sequences of {@code length} tokens, each with pages of its own as far as there are. */
    void fillMadeUp(int rows, int length, int pageCount) {
        int pages = Math.ceilDiv(length, pageSize);
        for (int row = 0; row < rows; row++) {
            StepInput.putMadeUp(input, row * rowSize, row, length, pages, pageCount);
        }
        pad(rows);
    }

    private void pad(int from) {
        for (int row = from; row < filled; row++) {
            StepInput.clear(input, row * rowSize);
        }
        filled = from;
    }

    /** Copies the first rows to the device. */
    void upload(int rows) {
        Cuda.check(
                cudart.cudaMemcpyAsync(deviceInput.data_ptr(), hostInput, 4L * rows * rowSize, cudart.cudaMemcpyHostToDevice, stream),
                "copying a step's input");
    }

    /** One int of a row's results, valid once the kernel that wrote it is done. */
    int result(int row, int index) {
        return results.get(row * StepInput.RESULT + index);
    }

    long inputAddress() {
        return deviceInput.data_ptr().address();
    }

    /** Of host memory, [rows, RESULT] int32, which a kernel can write. */
    long resultsAddress() {
        return hostResults.address();
    }

    @Override
    public void close() {
        cudart.cudaFreeHost(hostInput);
        cudart.cudaFreeHost(hostResults);
        deviceInput.releaseReference();
    }
}
