package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.request.PromptScoring;
import io.github.loomtorch.torch.natives.Resources;
import java.nio.IntBuffer;
import java.util.Optional;
import java.util.function.Consumer;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Scores on the GPU, by the kernel of {@code score.cu}. The head computes the logits of {@link #BLOCK_ROWS} hidden
 * states at a time, in float32 where there are kernels for products, so that the logits of all rows are never in memory
 * together. In deterministic mode the scores come from the very logits that are sampled from, so that they are equal to
 * what sampling reports. Confined to the engine thread.
 */
final class CudaScorer implements AutoCloseable {
    /** Rows whose logits are in memory at once: 100 MB for GPT-2's vocabulary. */
    static final int BLOCK_ROWS = 512;

    private final CudaLayers layers;
    private final int vocabSize;
    private final CUstream_st stream;
    private final CudaKernels.Kernel score;
    private final boolean wide;
    private final TensorOptions ints;
    private final Staging staging;
    private final Tensor wordStarts; // [VP / 32] int32, a bit for each id
    private final Resources resources = new Resources();

    /**
     * Loads the kernel.
     *
     * @param deterministic whether scores are of the logits that are sampled from
     */
    CudaScorer(CudaLayers layers, Device device, CudaKernels.Loader loader, boolean deterministic) {
        this.layers = layers;
        KernelSet set = loader.set();
        vocabSize = set.config().vocabSize();
        stream = loader.stream();
        wide = layers.isFused() && !deterministic;
        staging = new Staging(stream);
        resources.onClose(staging::close);
        try {
            CudaKernels kernels = loader.load(set.score(wide));
            resources.onClose(kernels::close);
            score = kernels.kernel("score");
            ints = resources.keep(new TensorOptions(ScalarType.Int).device(new DeviceOptional(device)));
            wordStarts = resources.keep(torch.zeros(new long[] {set.config().paddedVocabSize() / 32}, ints));
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    /**
     * Whether logits are computed again in float32, from hidden states; else those that are sampled from are scored.
     */
    boolean isWide() {
        return wide;
    }

    /** Sets which ids begin a word, [V]. */
    void wordStarts(boolean[] table) {
        int[] bits = new int[(int) wordStarts.size(0)];
        for (int id = 0; id < table.length; id++) {
            bits[id / 32] |= table[id] ? 1 << id % 32 : 0;
        }
        staging.upload(
                wordStarts.data_ptr(),
                (long) Integer.BYTES * bits.length,
                bytes -> bytes.asIntBuffer().put(bits));
    }

    /** The scores of one of the two steps in flight, with the host memory for its results. */
    final class Batch {
        private final ScoreRows rows = new ScoreRows();
        private Optional<PinnedMemory> memory = Optional.empty();

        /** What is scored. */
        ScoreRows rows() {
            return rows;
        }

        boolean isEmpty() {
            return rows.count() == 0;
        }

        /** Gives each position its score, once the results are on the host. */
        void take() {
            memory.ifPresent(results -> rows.take(results.bytes().asIntBuffer(), vocabSize));
        }

        /** Room for results; what was there before has been taken. */
        private PinnedMemory memory(long bytes) {
            if (memory.filter(own -> own.bytes().capacity() >= bytes).isEmpty()) {
                close();
                memory = Optional.of(new PinnedMemory(Long.highestOneBit(2 * bytes - 1)));
            }
            return memory.get();
        }

        void close() {
            memory.ifPresent(PinnedMemory::close);
            memory = Optional.empty();
        }
    }

    /** A batch, closed with this. */
    Batch batch() {
        Batch batch = new Batch();
        resources.onClose(batch::close);
        return batch;
    }

    /** Scores from logits, in the model's type, of all sources. */
    void launchLogits(Batch batch, long logits) {
        int count = batch.rows.count();
        try (PointerScope scope = new PointerScope()) {
            Tensor input = upload(count * ScoreInput.SIZE, batch.rows::put);
            Tensor results = torch.empty(new long[] {(long) count * batch.rows.stride()}, ints, null);
            launch(count, address(input, 0), logits, address(results, 0), batch.rows.stride());
            download(batch, results);
        }
    }

    /** Scores from the hidden states of all sources, before the last norm. */
    void launchHidden(Batch batch, CudaLayers.Hidden hidden) {
        int count = batch.rows.count();
        try (PointerScope scope = new PointerScope()) {
            Tensor sources = upload(count, batch.rows::putSources);
            Tensor input = upload(count * ScoreInput.SIZE, ints -> batch.rows.putBlocks(ints, BLOCK_ROWS));
            download(batch, launchBlocks(hidden, sources, input, batch.rows.stride()));
        }
    }

    /**
     * Scores the first {@code count} hidden states, row i with the target i modulo V: to measure and to test.
     *
     * @return the results, owned by the caller's scope
     */
    Tensor launchSynthetic(CudaLayers.Hidden hidden, int count, PromptScoring scoring) {
        Tensor sources = upload(count, buffer -> {
            for (int row = 0; row < count; row++) {
                buffer.put(row);
            }
        });
        Tensor input = upload(count * ScoreInput.SIZE, buffer -> {
            for (int row = 0; row < count; row++) {
                ScoreRows.put(buffer, row % BLOCK_ROWS, row % vocabSize, scoring);
            }
        });
        return launchBlocks(hidden, sources, input, ResultRow.size(scoring.top()));
    }

    /** The results, [count, stride], on the device. */
    private Tensor launchBlocks(CudaLayers.Hidden hidden, Tensor sources, Tensor input, int stride) {
        int count = (int) sources.size(0);
        Tensor results = torch.empty(new long[] {(long) count * stride}, ints, null);
        for (int first = 0; first < count; first += BLOCK_ROWS) {
            int rows = Math.min(BLOCK_ROWS, count - first);
            try (PointerScope scope = new PointerScope()) {
                Tensor logits = layers.scoreLogits(hidden.select(sources.narrow(0, first, rows)));
                launch(
                        rows,
                        address(input, (long) first * ScoreInput.SIZE),
                        address(logits, 0),
                        address(results, (long) first * stride),
                        stride);
            }
        }
        return results;
    }

    private void launch(int rows, long input, long logits, long results, int stride) {
        score.launch(rows, 1, 1, KernelSet.SCORE_THREADS, input, logits, address(wordStarts, 0), results, stride);
    }

    private Tensor upload(int count, Consumer<IntBuffer> fill) {
        Tensor target = torch.empty(new long[] {count}, ints, null);
        staging.upload(target.data_ptr(), (long) Integer.BYTES * count, bytes -> fill.accept(bytes.asIntBuffer()));
        return target;
    }

    private void download(Batch batch, Tensor results) {
        long bytes = Integer.BYTES * results.size(0);
        batch.memory(bytes).copyFrom(results.data_ptr(), bytes, stream);
    }

    private static long address(Tensor tensor, long index) {
        return tensor.data_ptr().address() + index * Integer.BYTES;
    }

    @Override
    public void close() {
        resources.close();
    }
}
