package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.TokenLogprobs;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.sampling.LogitBias;
import io.github.loomtorch.sampling.Sampler;
import io.github.loomtorch.torch.natives.Resources;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.OptionalInt;
import java.util.function.Consumer;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Samples on the GPU, by the kernel of {@code sample.cu}: the same tokens as {@link Sampler} for the same logits. Holds
 * each slot's logit bias, token counts and last token on the device. Confined to the engine thread.
 */
final class DeviceSampler implements AutoCloseable {
    private final int vocabSize;
    private final Staging staging;
    private final Resources resources = new Resources();
    private final CudaKernels.Kernel sample;
    private final CudaKernels.Kernel sampleMany;
    private final int smCount;
    private final Tensor bias; // [slots, V] float32
    private final Tensor counts; // [slots, V] int16: 0 unseen, else 1 + occurrences in the output
    private final Tensor tokens; // [slots] int32: what was sampled there last
    private final Sequence[] biasOf; // by slot: whose bias it is ...
    private final int[][] bannedIds; // ... and which ids it bans at this place
    private final Sequence[] countsOf; // by slot: whose counts they are ...
    private final int[] counted; // ... and of how many tokens

    /**
     * Loads the kernels and makes tables for so many slots.
     *
     * @throws TorchException if the kernels cannot be loaded
     */
    DeviceSampler(int slots, Device device, CudaKernels.Loader loader) {
        KernelSet set = loader.set();
        vocabSize = set.config().vocabSize();
        smCount = set.gpu().smCount();
        staging = new Staging(loader.stream());
        resources.onClose(staging::close);
        biasOf = new Sequence[slots];
        bannedIds = new int[slots][0];
        countsOf = new Sequence[slots];
        counted = new int[slots];
        try {
            sample = kernel(loader, KernelSet.SAMPLE_THREADS);
            sampleMany = kernel(loader, KernelSet.SAMPLE_MANY_THREADS);
            bias = table(ScalarType.Float, device, slots, vocabSize);
            counts = table(ScalarType.Short, device, slots, vocabSize);
            tokens = table(ScalarType.Int, device, slots);
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    private CudaKernels.Kernel kernel(CudaKernels.Loader loader, int threads) {
        CudaKernels kernels = loader.load(loader.set().sample(threads));
        resources.onClose(kernels::close);
        return kernels.overlappingKernel("sample");
    }

    private Tensor table(ScalarType dtype, Device device, long... shape) {
        return resources.keep(torch.zeros(shape, new TensorOptions(dtype).device(new DeviceOptional(device))));
    }

    /**
     * Address of the token sampled last for each slot, [slots] int32 on the device; -1 where the logits were unusable.
     */
    long tokensAddress() {
        return tokens.data_ptr().address();
    }

    /**
     * Brings the tables of a chunk's slot up to date if a token is sampled; returns the flags that say which of them
     * apply. The counts then hold the tokens up to the first position that is sampled; rows after it add their own
     * ({@link StepInput#UNCOUNTED}).
     */
    int prepare(Chunk chunk) {
        int firstSampled = StepInput.firstSampled(chunk);
        if (firstSampled == chunk.end()) {
            return 0;
        }
        Sequence sequence = chunk.sequence();
        SamplingParams params = sequence.sampling();
        int slot = sequence.slot();
        int flags = 0;
        int[] banned = sequence.bannedIds(firstSampled + 1);
        if (LogitBias.applies(params, banned)) {
            flags |= StepInput.BIASED;
            if (biasOf[slot] != sequence || !Arrays.equals(bannedIds[slot], banned)) {
                float[] row = new float[vocabSize];
                LogitBias.add(row, params, banned);
                upload(bias, slot, Float.BYTES, bytes -> bytes.asFloatBuffer().put(row));
                biasOf[slot] = sequence;
                bannedIds[slot] = banned;
            }
        }
        if (params.repetitionPenalty() != 1 || params.presencePenalty() != 0 || params.frequencyPenalty() != 0) {
            flags |= StepInput.PENALISED;
            int counts = firstSampled + 1; // tokens
            if (countsOf[slot] == sequence && counted[slot] == firstSampled && counts == chunk.end()) {
                flags |= StepInput.COUNT_INPUT;
            } else {
                assert !chunk.isPending(); // the step before that samples it has counted all before
                short[] row = new short[vocabSize];
                for (int i = 0; i < counts; i++) {
                    int id = sequence.tokens()[i];
                    row[id] = (short) (Math.max(row[id], 1) + (i < sequence.promptLength() ? 0 : 1));
                }
                upload(
                        this.counts,
                        slot,
                        Short.BYTES,
                        bytes -> bytes.asShortBuffer().put(row));
                countsOf[slot] = sequence;
            }
            counted[slot] = counts;
        }
        return flags;
    }

    private void upload(Tensor table, int slot, int elementBytes, Consumer<ByteBuffer> fill) {
        long bytes = (long) vocabSize * elementBytes;
        staging.upload(new BytePointer(table.data_ptr()).getPointer(slot * bytes), bytes, fill);
    }

    /** Samples the first rows, which are on the device, from {@code logits} [rows, VP] dtype. */
    void launch(StepRows rows, int count, Tensor logits) {
        boolean many = count > smCount;
        (many ? sampleMany : sample)
                .launch(
                        count,
                        1,
                        1,
                        many ? KernelSet.SAMPLE_MANY_THREADS : KernelSet.SAMPLE_THREADS,
                        rows.inputAddress(),
                        logits.data_ptr().address(),
                        bias.data_ptr().address(),
                        counts.data_ptr().address(),
                        rows.resultsAddress(),
                        tokensAddress());
    }

    /** Takes the token sampled after a wanted position of a chunk from its row, once the results are on the host. */
    void take(Chunk chunk, WantedPosition wanted, StepRows.Host rows, int row) {
        int token = rows.result(row, ResultRow.TOKEN);
        if (token < 0) {
            chunk.failed(ResultRow.unusable(index -> rows.result(row, index), vocabSize));
            return;
        }
        OptionalInt top = chunk.sequence().sampling().topLogprobs();
        if (top.isEmpty()) {
            wanted.sampled(token);
        } else {
            wanted.sampled(token, logprobs(rows, row, top.getAsInt()));
        }
    }

    /** The log-probabilities that the kernel computed for a row. */
    TokenLogprobs logprobs(StepRows.Host rows, int row, int top) {
        return ResultRow.logprobs(index -> rows.result(row, index), Math.min(top, vocabSize));
    }

    @Override
    public void close() {
        resources.close();
    }
}
