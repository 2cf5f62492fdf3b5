package io.github.loomtorch.torch.cuda;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.model.Gpt2Config;
import io.github.loomtorch.torch.natives.TensorScope;
import io.github.loomtorch.torch.program.PrefillShape;
import io.github.loomtorch.torch.program.TorchScriptProgram;
import java.nio.IntBuffer;
import java.util.List;
import java.util.Optional;
import java.util.function.BiConsumer;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The layers of large prefills: by a recorded graph where one has room ({@link PrefillGraphs}), else kernel by kernel,
 * and without kernels for products by the program. Confined to the engine thread.
 */
final class CudaPrefill implements AutoCloseable {
    /** Most tokens of a recorded prefill: an engine's default limit for a step. */
    private static final int RECORDED_TOKENS = 2048;

    private final TorchScriptProgram program;
    private final Gpt2Config config;
    private final CudaLayers layers;
    private final Staging staging; // PrefillShape's ints, and which rows are wanted
    private PrefillGraphs graphs = new PrefillGraphs();

    CudaPrefill(TorchScriptProgram program, CudaLayers layers, CUstream_st stream) {
        this.program = program;
        this.layers = layers;
        config = program.config();
        staging = new Staging(stream);
    }

    /** Has libraries load and choose what prefills of at least so many tokens need, which would delay the first. */
    void warmUp(int tokens, Runnable synchronize) {
        if (!layers.isFused()) {
            return;
        }
        int longest = Math.min(config.contextLength(), cacheTokens());
        for (int length = tokens; length <= longest; length *= 2) {
            try (TensorScope scope = new TensorScope()) {
                layers.logits(synthetic(1, length, false));
            }
        }
        synchronize.run();
    }

    /** Records prefills of more than {@code tokens} tokens, where {@link CudaLayers#isFused()}. */
    void record(GraphRecorder recorder, int tokens, Runnable synchronize) {
        int max = Math.min(RECORDED_TOKENS, cacheTokens());
        List<Integer> tokenCounts = StepGraphs.rowCounts(max).stream()
                .filter(count -> count > tokens)
                .toList(); // padding is at most a quarter of a prefill
        List<PrefillShape> shapes = PrefillShape.recorded(tokenCounts, config.contextLength());
        graphs = new PrefillGraphs(recorder, layers, synchronize, shapes, this::room);
    }

    private int cacheTokens() {
        return program.cache().pageCount() * program.cache().pageSize();
    }

    /** Hidden states of the wanted positions of chunks, in order, [M, C]; owned by the caller's scope. */
    CudaLayers.Hidden hidden(List<Chunk> chunks) {
        if (!layers.isFused()) {
            return new CudaLayers.Hidden(program.prefill(chunks), 0);
        }
        return hidden(
                PrefillShape.of(chunks),
                (shape, buffer) -> shape.put(buffer, chunks, program.cache().pageSize()));
    }

    /**
     * Hidden states of the last tokens of synthetic prompts, or of all: to warm up and to measure, while no sequence
     * runs. The prompts are in the first rows of the cache.
     */
    CudaLayers.Hidden synthetic(int prompts, int promptLength, boolean all) {
        int wanted = all ? prompts * promptLength : prompts;
        PrefillShape shape = new PrefillShape(prompts * promptLength, prompts, promptLength, 0, promptLength, wanted);
        return hidden(shape, (room, buffer) -> {
            room.putSynthetic(buffer, prompts, promptLength, config.vocabSize());
            for (int token = 0; all && token < wanted; token++) {
                buffer.put(room.wantedAt() + token, token);
            }
        });
    }

    private CudaLayers.Hidden hidden(PrefillShape exact, BiConsumer<PrefillShape, IntBuffer> put) {
        Optional<PrefillGraphs.Recorded> recorded = graphs.forShape(exact);
        PrefillShape shape = recorded.map(PrefillGraphs.Recorded::shape).orElse(exact);
        Tensor input = recorded.map(PrefillGraphs.Recorded::input).orElseGet(() -> room(exact.ints()));
        staging.upload(input.data_ptr(), 4L * shape.ints(), bytes -> put.accept(shape, bytes.asIntBuffer()));
        CudaLayers.Hidden hidden;
        if (recorded.isPresent()) {
            recorded.get().graph().launch();
            hidden = recorded.get().result();
        } else {
            hidden = layers.prefill(shape, input);
        }
        return hidden.select(input.narrow(0, shape.wantedAt(), exact.wanted()));
    }

    /** Numbers on the device, int32, owned by the caller's scope. */
    Tensor indices(int[] numbers) {
        Tensor indices = room(numbers.length);
        staging.upload(
                indices.data_ptr(),
                4L * numbers.length,
                bytes -> bytes.asIntBuffer().put(numbers));
        return indices;
    }

    /** Room on the device, [ints] int32, owned by the caller's scope. */
    private Tensor room(int ints) {
        TensorOptions options = new TensorOptions(ScalarType.Int).device(new DeviceOptional(program.device()));
        return torch.empty(new long[] {ints}, options, null);
    }

    @Override
    public void close() {
        staging.close();
    }
}
