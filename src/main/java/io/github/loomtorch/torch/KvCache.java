package io.github.loomtorch.torch;

import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.model.Gpt2Config;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The keys and values of all sequences, one tensor {@code [L, 2, R, C]}; the only class that knows its layout. Row
 * {@code page * PAGE_SIZE + i} is token {@code i} of a page. One page more than sequences can own stands behind them: its rows are always
 * zero and are what a shorter sequence of a batch reads where it has no token.
 */
final class KvCache {
    /** Tokens in one page. */
    static final int PAGE_SIZE = 16;

    private final Tensor tensor;
    private final int pageCount;

    KvCache(Gpt2Config config, int pageCount, Device device, ScalarType dtype) {
        this.pageCount = pageCount;
        long rows = (pageCount + 1L) * PAGE_SIZE;
        TensorOptions options = new TensorOptions(dtype).device(new org.bytedeco.pytorch.DeviceOptional(device));
        tensor = torch.zeros(new long[] {config.layerCount(), 2, rows, config.hiddenSize()}, options);
    }

    /** Pages for so many sequences, each as long as the context allows. */
    static int pagesFor(int sequences, int contextLength) {
        return sequences * ((contextLength + PAGE_SIZE - 1) / PAGE_SIZE);
    }

    int pageCount() {
        return pageCount;
    }

    Tensor tensor() {
        return tensor;
    }

    /** The row of one of a sequence's tokens. */
    static long row(Sequence sequence, int position) {
        return (long) sequence.page(position / PAGE_SIZE) * PAGE_SIZE + position % PAGE_SIZE;
    }

    /** A row that is always zero. */
    long zeroRow() {
        return (long) pageCount * PAGE_SIZE;
    }
}
