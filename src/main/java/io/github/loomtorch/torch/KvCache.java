package io.github.loomtorch.torch;

import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.model.Gpt2Config;
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
final class KvCache {
    private final Gpt2Config config;
    private final int pageSize;
    private final int pageCount;
    private final int elementBytes;
    private final Tensor tensor;

    KvCache(Gpt2Config config, int pageSize, int pageCount, Device device, ScalarType dtype) {
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
    static int pagesPerSequence(Gpt2Config config, int pageSize) {
        return Math.ceilDiv(config.contextLength(), pageSize);
    }

    static long bytesPerPage(Gpt2Config config, int pageSize, ScalarType dtype) {
        return 2L * config.layerCount() * pageSize * config.hiddenSize() * Libtorch.sizeBytes(dtype);
    }

    private long rows() {
        return (pageCount + 1L) * pageSize;
    }

    /** Tokens in one page. */
    int pageSize() {
        return pageSize;
    }

    int pageCount() {
        return pageCount;
    }

    Tensor tensor() {
        return tensor;
    }

    /** On the device. */
    long keysAddress(int layer) {
        return address(2L * layer);
    }

    /** On the device. */
    long valuesAddress(int layer) {
        return address(2L * layer + 1);
    }

    private long address(long plane) {
        return tensor.data_ptr().address() + plane * rows() * config.hiddenSize() * elementBytes;
    }

    /** The row of one of a sequence's tokens. */
    long row(Sequence sequence, int position) {
        return row(sequence, position, pageSize);
    }

    /** The same for a cache with pages of that size. */
    static long row(Sequence sequence, int position, int pageSize) {
        return (long) sequence.page(position / pageSize) * pageSize + position % pageSize;
    }

    /** A row that is always zero. */
    long zeroRow() {
        return (long) pageCount * pageSize;
    }
}
