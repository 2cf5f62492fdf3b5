package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.torch.natives.Resources;
import java.nio.IntBuffer;
import java.util.List;
import java.util.Optional;
import java.util.function.ToIntFunction;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Input rows of a step ({@link StepInput}) in device memory, preceded by the {@link AttentionPlan}, and their pinned
 * host copies: plan and rows are uploaded by one copy; results ({@link ResultRow}) are written to host memory by the
 * kernel. There is a set of these for each of two steps in flight. The addresses on the device, and of all results,
 * never change, so that a graph can hold them: a row says where its results go. Confined to the engine thread.
 */
final class StepRows implements AutoCloseable {
    private final int maxRows;
    private final int rowSize;
    private final int pageSize;
    private final Optional<AttentionPlan> plan;
    private final CUstream_st stream;
    private final Pointer deviceInput; // int32: room for the plan of maxRows rows, then [maxRows, rowSize]
    private final PinnedMemory hostResults;
    private final IntBuffer results; // [2 maxRows, ResultRow.SIZE]
    private final List<Host> hosts;
    private final Resources resources = new Resources();

    /** With a plan of each step's attention before its rows, if {@code plan} is present. */
    StepRows(int maxRows, int rowSize, int pageSize, Optional<AttentionPlan> plan, Device device, CUstream_st stream) {
        this.maxRows = maxRows;
        this.rowSize = rowSize;
        this.pageSize = pageSize;
        this.plan = plan;
        this.stream = stream;
        TensorOptions options = new TensorOptions(ScalarType.Int).device(new DeviceOptional(device));
        // Zeros are padding, also as a plan: until the first upload.
        deviceInput = resources
                .keep(torch.zeros(new long[] {planSize(maxRows) + maxRows * rowSize}, options))
                .data_ptr();
        try {
            hostResults = pinned(2L * maxRows * ResultRow.SIZE * Integer.BYTES);
            results = hostResults.bytes().asIntBuffer();
            hosts = List.of(new Host(0), new Host(maxRows));
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    private PinnedMemory pinned(long size) {
        PinnedMemory memory = new PinnedMemory(size);
        resources.onClose(memory::close);
        return memory;
    }

    /** The host memory of one of the two steps in flight. */
    Host host(int step) {
        return hosts.get(step);
    }

    /** The rows of one step in flight, and their results. */
    final class Host {
        private final int firstResult; // row of the results
        private final PinnedMemory memory;
        private final IntBuffer plans; // a step's plan is at the end
        private final IntBuffer input; // [maxRows, rowSize], behind it
        private int filled;

        private Host(int firstResult) {
            this.firstResult = firstResult;
            int planSize = planSize(maxRows);
            memory = pinned((long) Integer.BYTES * (planSize + maxRows * rowSize));
            plans = memory.bytes().asIntBuffer().slice(0, planSize);
            input = memory.bytes().asIntBuffer().slice(planSize, maxRows * rowSize);
            for (int row = 0; row < maxRows; row++) {
                StepInput.clear(input, row * rowSize);
                input.put(row * rowSize + StepInput.RESULT_ROW, firstResult + row);
            }
        }

        /** Fills a row for each token of the chunks, in order; rows filled before become padding. */
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

        /** Fills a row for each position of the chunks after which a token is sampled. */
        void fillSampled(List<Chunk> chunks, ToIntFunction<Chunk> flags) {
            int row = 0;
            for (Chunk chunk : chunks) {
                int chunkFlags = flags.applyAsInt(chunk);
                for (int position = StepInput.firstSampled(chunk); position < chunk.end(); position++) {
                    StepInput.put(input, row++ * rowSize, chunk, position, pageSize, chunkFlags);
                }
            }
            pad(row);
        }

        /**
         * Fills rows with the last token of as many sequences of {@code length} tokens, each with pages of its own as
         * far as there are.
         */
        void fillSynthetic(int rows, int length, int pageCount) {
            int pages = Math.ceilDiv(length, pageSize);
            for (int row = 0; row < rows; row++) {
                StepInput.putSynthetic(input, row * rowSize, row, length, pages, pageCount);
            }
            pad(rows);
        }

        private void pad(int from) {
            for (int row = from; row < filled; row++) {
                StepInput.clear(input, row * rowSize);
            }
            filled = from;
        }

        /**
         * Copies the first rows to the device, once all before on the stream is done.
         *
         * @param planned whether the step's attention follows the plan, which is made and copied then
         */
        void upload(int rows, boolean planned) {
            int size = planned ? planSize(rows) : 0;
            if (planned) {
                plan.orElseThrow().put(plans.slice(plans.capacity() - size, size), input, rowSize, rows);
            }
            memory.copyTo(
                    deviceInput,
                    (long) Integer.BYTES * (planSize(maxRows) - size),
                    (long) Integer.BYTES * (size + rows * rowSize),
                    stream);
        }

        /** One int of a row's results, valid once the kernel that wrote it is done. */
        int result(int row, int index) {
            return results.get((firstResult + row) * ResultRow.SIZE + index);
        }
    }

    /** Ints. */
    private int planSize(int rows) {
        return plan.map(p -> AttentionPlan.ITEM * p.capacity(rows)).orElse(0);
    }

    /** Address of the first row on the device; the plan is before it. */
    long inputAddress() {
        return deviceInput.address() + (long) Integer.BYTES * planSize(maxRows);
    }

    /** Address of host memory, [2 maxRows, ResultRow.SIZE] int32, which a kernel can write. */
    long resultsAddress() {
        return hostResults.address();
    }

    @Override
    public void close() {
        resources.close();
    }
}
