package io.github.loomtorch.torch.program;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.UnusableLogitsException;
import io.github.loomtorch.sampling.Sampler;
import java.util.OptionalInt;
import org.bytedeco.javacpp.FloatPointer;

/** Samples and scores from logits in host memory by the reference {@link Sampler}. Confined to the engine thread. */
final class HostSampler {
    private final Sampler sampler;
    private final float[] row;
    private boolean[] wordStarts = {};

    HostSampler(int vocabSize) {
        sampler = new Sampler(vocabSize);
        row = new float[vocabSize];
    }

    void wordStarts(boolean[] table) {
        wordStarts = table;
    }

    /** Yields what is wanted at a position; fails the chunk if the logits are unusable. {@code logits} [V] float32. */
    void take(Chunk chunk, WantedPosition wanted, FloatPointer logits) {
        logits.get(row);
        Sequence sequence = chunk.sequence();
        SamplingParams params = sequence.sampling();
        try {
            if (wanted.isScored()) {
                wanted.scored(sampler.score(
                        row, wanted.targetId(), params.promptScoring().orElseThrow(), wordStarts));
                return;
            }
            int length = wanted.position() + 1;
            int token = sampler.sample(
                    row,
                    params,
                    sequence.seed(),
                    sequence.tokens(),
                    sequence.promptLength(),
                    length,
                    sequence.bannedIds(length));
            OptionalInt top = params.topLogprobs();
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
