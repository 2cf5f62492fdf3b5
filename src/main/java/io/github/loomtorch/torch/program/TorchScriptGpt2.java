package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.natives.TensorScope;
import java.util.List;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * GPT-2 on any device that libtorch knows: the TorchScript program operator by operator, sampling on the host. Confined
 * to the engine thread.
 */
public final class TorchScriptGpt2 extends Gpt2 {
    private final HostSampler sampler;
    private List<Chunk> launched = List.of();

    public TorchScriptGpt2(TorchScriptProgram program, ModelOptions options) {
        super(program, options);
        if (options.int8Weights()) {
            throw new TorchException("int8Weights needs a GPU and the kernels made for it, got " + program.deviceName()
                    + " without them");
        }
        sampler = new HostSampler(program.config().vocabSize());
    }

    @Override
    public void launch(List<Chunk> chunks) {
        launched = chunks;
    }

    @Override
    public void await() {
        program.configureThread();
        if (options.deterministic()) { // each by itself: the matrix products of a batch may round otherwise
            for (Chunk chunk : launched) {
                run(
                        chunk.count() == 1 ? "decode" : "prefill",
                        List.of(chunk),
                        chunk.count() == 1 ? program::decode : program::prefill);
            }
            return;
        }
        int decodes = decodes(launched);
        List<Chunk> decoding = launched.subList(0, decodes);
        List<Chunk> prefilling = launched.subList(decodes, launched.size());
        if (!decoding.isEmpty()) {
            run("decode", decoding, program::decode);
        }
        if (!prefilling.isEmpty()) {
            run("prefill", prefilling, program::prefill);
        }
    }

    private interface Forward {
        Tensor apply(List<Chunk> chunks);
    }

    private void run(String phase, List<Chunk> chunks, Forward forward) {
        try (TensorScope scope = new TensorScope()) {
            Tensor logits = forward.apply(chunks).to(ScalarType.Float).cpu().contiguous(); // [M, VP]
            long rows = logits.size(0);
            FloatPointer values = logits.data_ptr_float();
            int row = 0;
            for (Chunk chunk : chunks) {
                for (WantedPosition wanted : chunk.wantedPositions()) {
                    sampler.sample(chunk, wanted, values.position(row * logits.size(1)));
                }
                if (!chunk.wantedPositions().isEmpty() || rows == chunks.size()) {
                    row++;
                }
            }
        } catch (RuntimeException e) {
            throw failure(phase, chunks.size(), e);
        }
    }
}
