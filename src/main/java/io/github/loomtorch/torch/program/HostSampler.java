package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.request.UnusableLogitsException;
import io.github.loomtorch.sampling.Sampler;
import java.util.OptionalInt;
import org.bytedeco.javacpp.FloatPointer;

/** Samples chunks from logits in host memory by the reference {@link Sampler}. Confined to the engine thread. */
final class HostSampler {
    private final Sampler sampler;
    private final float[] row;

    HostSampler(int vocabSize) {
        sampler = new Sampler(vocabSize);
        row = new float[vocabSize];
    }

    /**
     * Samples the token after a wanted position; fails the chunk if the logits are unusable. {@code logits} [V]
     * float32.
     */
    void sample(Chunk chunk, WantedPosition wanted, FloatPointer logits) {
        logits.get(row);
        Sequence sequence = chunk.sequence();
        try {
            int token = sampler.sample(
                    row,
                    sequence.sampling(),
                    sequence.seed(),
                    sequence.tokens(),
                    sequence.promptLength(),
                    sequence.length());
            OptionalInt top = sequence.sampling().topLogprobs();
            if (top.isEmpty()) {
                wanted.sampled(token);
            } else {
                wanted.sampled(token, sampler.logprobs(row, token, top.getAsInt()));
            }
        } catch (UnusableLogitsException e) {
            chunk.failed(e);
        }
    }
}
