package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.options.ModelOptions;
import io.github.loomtorch.request.TorchException;
import io.github.loomtorch.torch.gpt2.HostSampler;
import io.github.loomtorch.torch.natives.TensorScope;
import java.nio.FloatBuffer;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * GPT-2 on any device that libtorch knows: the TorchScript program operator by operator, sampling and scoring on the
 * host. Confined to the engine thread.
 */
public final class TorchScriptGpt2 extends LibtorchGpt2 {
    /** Rows of logits at once, so that a prefill that wants all its positions takes little memory. */
    private static final int HEAD_ROWS = 128;

    private final HostSampler sampler;
    private List<Chunk> launched = List.of();

    public TorchScriptGpt2(TorchScriptProgram program, ModelOptions options) {
        super(program, options);
        if (options.int8Weights() && program.device().is_cuda()) {
            throw new TorchException("int8Weights on a GPU needs the kernels made for it, got " + program.deviceName()
                    + " without them");
        }
        sampler = new HostSampler(vocabSize());
    }

    @Override
    public void wordStarts(boolean[] table) {
        sampler.wordStarts(table);
    }

    @Override
    public void launch(List<Chunk> chunks) {
        launched = chunks;
    }

    @Override
    public void await() {
        program.configureThread();
        if (options.deterministic()) { // each by itself: the matrix products of a batch may round otherwise
            launched.forEach(chunk -> run(List.of(chunk)));
            return;
        }
        int decodes = decodes(launched);
        run(launched.subList(0, decodes));
        run(launched.subList(decodes, launched.size()));
    }

    /** Computes chunks that all have one token, or all have more. */
    private void run(List<Chunk> chunks) {
        if (chunks.isEmpty()) {
            return;
        }
        boolean decode = chunks.getFirst().count() == 1;
        try (TensorScope scope = new TensorScope()) {
            if (decode) {
                takeDecoded(chunks, program.decode(chunks));
            } else {
                takePrefilled(chunks, program.prefill(chunks));
            }
        } catch (RuntimeException e) {
            throw failure(decode ? "decode" : "prefill", chunks.size(), e);
        }
    }

    /** {@code logits} [B, VP], a row for each chunk, wanted or not. */
    private void takeDecoded(List<Chunk> chunks, Tensor logits) {
        Rows rows = new Rows(logits);
        for (int i = 0; i < chunks.size(); i++) {
            for (WantedPosition wanted : chunks.get(i).wantedPositions()) {
                sampler.take(chunks.get(i), wanted, rows.row(i));
            }
        }
    }

    /** {@code hidden} [M, C], a row for each wanted position. */
    private void takePrefilled(List<Chunk> chunks, Tensor hidden) {
        Iterator<Chunk> owners = chunks.stream()
                .flatMap(chunk -> Collections.nCopies(chunk.wantedPositions().size(), chunk).stream())
                .iterator();
        Iterator<WantedPosition> wanted = chunks.stream()
                .flatMap(chunk -> chunk.wantedPositions().stream())
                .iterator();
        for (long first = 0; first < hidden.size(0); first += HEAD_ROWS) {
            try (TensorScope scope = new TensorScope()) {
                long count = Math.min(HEAD_ROWS, hidden.size(0) - first);
                Rows rows = new Rows(program.head(hidden.narrow(0, first, count)));
                for (int i = 0; i < count; i++) {
                    sampler.take(owners.next(), wanted.next(), rows.row(i));
                }
            }
        }
    }

    /** Logits [M, VP] on the host. */
    private static final class Rows {
        private final long length;
        private final FloatPointer values;

        Rows(Tensor logits) {
            Tensor host = logits.to(ScalarType.Float).cpu().contiguous();
            length = host.size(1);
            values = host.data_ptr_float();
        }

        FloatBuffer row(long index) {
            return values.position(index * length).limit((index + 1) * length).asBuffer();
        }
    }
}
