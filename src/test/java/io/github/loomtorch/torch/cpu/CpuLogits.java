package io.github.loomtorch.torch.cpu;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.torch.gpt2.Gpt2;
import java.nio.FloatBuffer;
import java.util.List;

/** Looks at the logits of a model that runs by the C library. */
public final class CpuLogits {
    private CpuLogits() {}

    /** Computes chunks, and returns the logits of their wanted positions, each [V]. */
    public static float[][] of(Gpt2 model, List<Chunk> chunks) {
        CpuGpt2 gpt2 = (CpuGpt2) model;
        StepPlan plan = new StepPlan(gpt2.pageSize());
        plan.set(chunks);
        int rows = gpt2.step(plan.array(), plan.length());
        float[][] logits = new float[rows][gpt2.vocabSize()];
        for (int i = 0; i < rows; i++) {
            FloatBuffer row = gpt2.logits(i, rows);
            row.get(row.position(), logits[i]);
        }
        return logits;
    }
}
