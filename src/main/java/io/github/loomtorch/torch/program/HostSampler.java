package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.sampling.Sampler;
import org.bytedeco.javacpp.FloatPointer;

/** Samples chunks from logits in host memory by the reference {@link Sampler}. Confined to the engine thread. */
final class HostSampler {
    private final Sampler sampler;
    private final float[] row;

    HostSampler(int vocabSize) {
        sampler = new Sampler(vocabSize);
        row = new float[vocabSize];
    }

    /** Gives the chunk its token; or its failure, if the logits are unusable. {@code logits} [V] float32. */
    void sample(Chunk chunk, FloatPointer logits) {
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
            int top = sequence.sampling().topLogprobs();
            if (top < 0) {
                chunk.sampled(token);
            } else {
                chunk.sampled(token, sampler.logprobs(row, token, top));
            }
        } catch (ArithmeticException e) {
            chunk.failed(e);
        }
    }
}
