package io.github.loomtorch.torch.gpt2;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import io.github.loomtorch.engine.WantedPosition;
import io.github.loomtorch.request.SamplingParams;
import io.github.loomtorch.request.UnusableLogitsException;
import io.github.loomtorch.sampling.Sampler;
import java.nio.FloatBuffer;
import java.util.OptionalInt;

/** Samples and scores from logits in host memory by the reference {@link Sampler}. Confined to the engine thread. */
public final class HostSampler {
    private final Sampler sampler;
    private final float[] row;
    private boolean[] wordStarts = {};

    public HostSampler(int vocabSize) {
        sampler = new Sampler(vocabSize);
        row = new float[vocabSize];
    }

    /** See {@link io.github.loomtorch.engine.CausalLm#wordStarts}. */
    public void wordStarts(boolean[] table) {
        wordStarts = table;
    }

    /**
     * Yields what is wanted at a position; fails the chunk if the logits are unusable.
     *
     * @param logits [V] from the buffer's position on, which does not change
     */
    public void take(Chunk chunk, WantedPosition wanted, FloatBuffer logits) {
        logits.get(logits.position(), row);
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
