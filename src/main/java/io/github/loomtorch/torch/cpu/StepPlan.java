package io.github.loomtorch.torch.cpu;

import io.github.loomtorch.engine.Chunk;
import io.github.loomtorch.engine.Sequence;
import java.util.Arrays;
import java.util.List;

/**
 * A step as the C library takes it: the number of chunks; for each its first position, its number of tokens and how
 * many of its last positions are wanted; the token ids, chunk after chunk; the pages, chunk after chunk, from the first
 * of its sequence to that of its last token. Confined to the engine thread.
 */
final class StepPlan {
    private final int pageSize;
    private int[] plan = new int[256];
    private int length;

    StepPlan(int pageSize) {
        this.pageSize = pageSize;
    }

    /** Replaces what it held. */
    void set(List<Chunk> chunks) {
        length = 0;
        put(chunks.size());
        for (Chunk chunk : chunks) {
            put(chunk.start());
            put(chunk.count());
            put(chunk.wantedPositions().size()); // from the first on all are wanted
        }
        for (Chunk chunk : chunks) {
            reserve(chunk.count());
            System.arraycopy(chunk.sequence().tokens(), chunk.start(), plan, length, chunk.count());
            length += chunk.count();
        }
        for (Chunk chunk : chunks) {
            Sequence sequence = chunk.sequence();
            int pages = Math.ceilDiv(chunk.end(), pageSize);
            for (int page = 0; page < pages; page++) {
                put(sequence.page(page));
            }
        }
    }

    private void put(int value) {
        reserve(1);
        plan[length++] = value;
    }

    private void reserve(int more) {
        if (length + more > plan.length) {
            plan = Arrays.copyOf(plan, Math.max(length + more, 2 * plan.length));
        }
    }

    /** The numbers; only the first {@link #length} count. */
    int[] array() {
        return plan;
    }

    int length() {
        return length;
    }
}
