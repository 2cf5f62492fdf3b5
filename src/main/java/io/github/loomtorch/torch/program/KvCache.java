package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.torch.natives.Libtorch;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The keys and values of all sequences, one tensor {@code [L, 2, R, C]}. Row {@code page * pageSize + i} is token
 * {@code i} of a page. One page more than sequences can own stands behind them: its rows are always zero and are what a
 * shorter sequence of a batch reads where it has no token.
 */
public final class KvCache {
    private final Gpt2Config config;
    private final int pageSize;
    private final int pageCount;
    private final int elementBytes;
    private final Tensor tensor;

    public KvCache(Gpt2Config config, int pageSize, int pageCount, Device device, ScalarType dtype) {
        this.config = config;
        this.pageSize = pageSize;
        this.pageCount = pageCount;
        elementBytes = Libtorch.sizeBytes(dtype);
        tensor = torch.empty(
                new long[] {config.layerCount(), 2, rows(), config.hiddenSize()},
                new TensorOptions(dtype).device(new DeviceOptional(device)),
                null);
        tensor.narrow(2, zeroRow(), pageSize)
                .zero_(); // the rest is not touched, so on a CPU it takes no memory, until it is written
    }

    /** Pages of one sequence as long as the context allows. */
    public static int pagesPerSequence(Gpt2Config config, int pageSize) {
        return Math.ceilDiv(config.contextLength(), pageSize);
    }

    public static long bytesPerPage(Gpt2Config config, int pageSize, ScalarType dtype) {
        return 2L * config.layerCount() * pageSize * config.hiddenSize() * Libtorch.sizeBytes(dtype);
    }

    private long rows() {
        return (pageCount + 1L) * pageSize;
    }

    /** Tokens in one page. */
    public int pageSize() {
        return pageSize;
    }

    public int pageCount() {
        return pageCount;
    }

    public Tensor tensor() {
        return tensor;
    }

    /** On the device. */
    public long keysAddress(int layer) {
        return address(2L * layer);
    }

    /** On the device. */
    public long valuesAddress(int layer) {
        return address(2L * layer + 1);
    }

    private long address(long plane) {
        return tensor.data_ptr().address() + plane * rows() * config.hiddenSize() * elementBytes;
    }

    /** The row of one of a sequence's tokens. */
    public long row(Sequence sequence, int position) {
        return row(sequence, position, pageSize);
    }

    /** The same for a cache with pages of that size. */
    public static long row(Sequence sequence, int position, int pageSize) {
        return (long) sequence.page(position / pageSize) * pageSize + position % pageSize;
    }

    /** A row that is always zero. */
    public long zeroRow() {
        return (long) pageCount * pageSize;
    }
}
